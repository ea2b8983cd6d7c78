//! What may stand where: one description of the whole Compose language. Reading, merging, showing and the JSON Schema
//! all walk the same tables, so that they cannot disagree.

mod at;
mod canonical;
mod complete;
mod leaf;
mod merge;
mod show;

use crate::context::Cx;
use crate::yaml::Node;

pub(crate) use at::At;
pub(crate) use canonical::{canonical, check_name};
pub(crate) use complete::complete;
pub(crate) use leaf::{Leaf, Like};
pub(crate) use merge::{Trail, merge, settle, unify};
pub(crate) use show::{Form, by_name, plain, show};

/// What a value may be, in its long form unless it says otherwise.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Anything at all.
    Any,
    /// A single value.
    Leaf(Leaf),
    /// A list.
    List(List),
    /// A mapping with names that the user chooses.
    Map(MapOf),
    /// A mapping with fixed keys.
    Object(&'static Object),
    /// The same, or null, which has a meaning of its own.
    Nullable(&'static Shape),
    /// Short forms that become the long one.
    Forms(Forms),
    /// A single value, or a collection; neither becomes the other.
    Either(&'static Shape, &'static Shape),
}

/// A list of equal things.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) item: &'static Shape,
    /// The same item twice is a mistake.
    pub(crate) unique: bool,
}

/// A mapping with names that the user chooses.
#[derive(Debug)]
pub(crate) struct MapOf {
    pub(crate) value: &'static Shape,
    pub(crate) keys: Names,
    /// What one of them is called: `service`; empty for `` `name` of `key` ``.
    pub(crate) entry: &'static str,
    /// How the values of two files become one.
    pub(crate) merge: Merge,
    /// Shown as a list of `KEY` and `KEY=VALUE`.
    pub(crate) listed: bool,
}

/// Which names a [`MapOf`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any text.
    Free,
    /// `^[a-zA-Z0-9._-]+$`.
    Resource,
    /// The same in a mapping. What only refers to something may be a list too, where docker compose looks it up and
    /// judges nothing.
    Reference,
    /// `^[a-z]+$`; others are taken for nothing, as docker compose does.
    Lower,
}

/// Short forms.
#[derive(Debug)]
pub(crate) struct Forms {
    pub(crate) long: &'static Shape,
    /// Only for the schema.
    pub(crate) short: &'static [&'static Shape],
    /// Short to long; a long form comes back as it is. `None` after a problem was reported.
    pub(crate) expand: fn(Node, &At<'_>, &mut Cx<'_>) -> Option<Node>,
    /// Docker compose makes it long only for the typed project: without interpolation it is shown as it is written.
    pub(crate) late: bool,
    /// Docker compose makes it long before it judges anything.
    pub(crate) at_once: bool,
}

impl Forms {
    pub(crate) const fn new(
        long: &'static Shape,
        short: &'static [&'static Shape],
        expand: fn(Node, &At<'_>, &mut Cx<'_>) -> Option<Node>,
    ) -> Self {
        Self { long, short, expand, late: false, at_once: false }
    }

    pub(crate) const fn late(self) -> Self {
        Self { late: true, ..self }
    }

    pub(crate) const fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }
}

/// A mapping with fixed keys.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fields: &'static [Field],
    /// Keys that must be there.
    pub(crate) required: &'static [&'static str],
    /// `x-*` may stand here.
    pub(crate) extensions: bool,
    /// Docker compose reads nothing but these keys: another one is without effect, and no mistake.
    pub(crate) ignores: bool,
}

/// Tables of more keys are sorted.
const LONG_TABLE: usize = 32;

impl Object {
    /// With `x-*` and nothing required.
    pub(crate) const fn new(fields: &'static [Field]) -> Self {
        Self { fields, required: &[], extensions: true, ignores: false }
    }

    pub(crate) const fn required(self, required: &'static [&'static str]) -> Self {
        Self { required, ..self }
    }

    pub(crate) const fn closed(self) -> Self {
        Self { extensions: false, ..self }
    }

    pub(crate) const fn ignoring(self) -> Self {
        Self { ignores: true, ..self }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        // The table of services is sorted and long, the others are neither.
        if self.fields.len() > LONG_TABLE {
            let found = self.fields.binary_search_by(|field| field.name.cmp(name));
            return found.ok().map(|index| &self.fields[index]);
        }
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A key of an [`Object`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// One sentence for editors.
    pub(crate) doc: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) merge: Merge,
    pub(crate) shown: Shown,
    /// Its name in JSON.
    pub(crate) json: &'static str,
}

impl Field {
    pub(crate) const fn new(name: &'static str, doc: &'static str, shape: &'static Shape) -> Self {
        Self { name, doc, shape, merge: Merge::Deep, shown: Shown::Filled, json: name }
    }

    pub(crate) const fn merge(self, merge: Merge) -> Self {
        Self { merge, ..self }
    }

    /// Shown even where it is zero, false or empty.
    pub(crate) const fn present(self) -> Self {
        Self { shown: Shown::Present, ..self }
    }

    /// Shown even where it is zero, but not in JSON.
    pub(crate) const fn present_in_yaml(self) -> Self {
        Self { shown: Shown::PresentInYaml, ..self }
    }

    /// Shown even where the file does not have it.
    pub(crate) const fn always(self) -> Self {
        Self { shown: Shown::Always, ..self }
    }

    /// Docker compose calls it otherwise in JSON.
    pub(crate) const fn json(self, json: &'static str) -> Self {
        Self { json, ..self }
    }

    /// Not a part of the result.
    pub(crate) const fn hidden(self) -> Self {
        Self { shown: Shown::Never, ..self }
    }
}

/// When `stack config` shows a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// When it says something: not an empty text or list, not zero, not false.
    Filled,
    /// When the file has it.
    Present,
    /// When the file has it, but in JSON only when it says something.
    PresentInYaml,
    /// Always; the empty object or null where the file does not have it.
    Always,
    Never,
}

/// How what two files say under one path becomes one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Merge {
    /// Mappings key by key, lists one after the other, leaves replaced. A null says nothing.
    Deep,
    /// The later one replaces the earlier one, null too.
    Replace,
    /// The later one replaces the earlier one as a whole, unless it is null.
    Whole,
    /// Lists one after the other; a later item replaces an earlier one of the same identity.
    Unique(fn(&Node) -> Option<String>),
    /// The later list says which items there are; those of an identity that the earlier one has are merged with it.
    ByKey(fn(&Node) -> Option<String>),
    /// As `Deep` unless the key says different things in both.
    SameKey(&'static str),
}

impl Shape {
    /// The shape of a value after short forms are gone.
    pub(crate) fn of(&'static self, node: &Node) -> &'static Self {
        match self {
            Self::Nullable(shape) => shape.of(node),
            Self::Forms(forms) => forms.long.of(node),
            Self::Either(single, collection) => if node.as_scalar().is_some() { single } else { collection }.of(node),
            Self::Any | Self::Leaf(_) | Self::List(_) | Self::Map(_) | Self::Object(_) => self,
        }
    }

    /// The same where no value is at hand.
    pub(crate) fn long(&'static self) -> &'static Self {
        match self {
            Self::Nullable(shape) => shape.long(),
            Self::Forms(forms) => forms.long.long(),
            Self::Any | Self::Leaf(_) | Self::List(_) | Self::Map(_) | Self::Object(_) | Self::Either(..) => self,
        }
    }

    /// Null has a meaning here.
    pub(crate) fn takes_null(&self) -> bool {
        match self {
            Self::Any | Self::Nullable(_) | Self::Leaf(Leaf::Scalar | Leaf::Label | Leaf::Option) => true,
            Self::Forms(forms) => forms.long.takes_null(),
            Self::Leaf(_) | Self::List(_) | Self::Map(_) | Self::Object(_) | Self::Either(..) => false,
        }
    }
}

/// Shapes that many keys share.
pub(crate) mod common {
    use super::{Forms, Leaf, List, MapOf, Merge, Names, Shape};
    use crate::keys::forms;

    pub(crate) const TEXT: Shape = Shape::Leaf(Leaf::Text);
    pub(crate) const BOOL: Shape = Shape::Leaf(Leaf::Bool);
    pub(crate) const PLAIN_BOOL: Shape = Shape::Leaf(Leaf::PlainBool);
    pub(crate) const PLAIN_INT: Shape = Shape::Leaf(Leaf::PlainInt);
    pub(crate) const INT: Shape = Shape::Leaf(Leaf::Int(i64::MIN, i64::MAX));
    pub(crate) const COUNT: Shape = Shape::Leaf(Leaf::Int(0, i64::MAX));
    pub(crate) const NUMBER: Shape = Shape::Leaf(Leaf::Number);
    pub(crate) const BYTES: Shape = Shape::Leaf(Leaf::Bytes);
    pub(crate) const DURATION: Shape = Shape::Leaf(Leaf::Duration);
    pub(crate) const SCALAR: Shape = Shape::Leaf(Leaf::Scalar);
    pub(crate) const TEXT_OR_NUMBER: Shape = Shape::Leaf(Leaf::TextOrNumber);
    pub(crate) const TEXT_OR_BOOL: Shape = Shape::Leaf(Leaf::TextOrBool);
    pub(crate) const TEXTS: Shape = Shape::List(List { item: &TEXT, unique: true });
    pub(crate) const ANY_TEXTS: Shape = Shape::List(List { item: &TEXT, unique: false });

    /// A text or a list of texts.
    pub(crate) const TEXT_OR_TEXTS: Shape = Shape::Forms(Forms::new(&TEXTS, &[&TEXT], forms::one_or_list).late());

    /// The same, which is a list from the beginning.
    pub(crate) const ONE_OR_TEXTS: Shape = Shape::Forms(Forms::new(&TEXTS, &[&TEXT], forms::one_or_list));

    const VALUES: Shape = replacing(&SCALAR);
    /// Variables: a mapping, or a list of `KEY=VALUE`.
    pub(crate) const VARIABLES: Shape = Shape::Forms(Forms::new(&VALUES, &[&TEXTS], forms::variables).late());

    const LABEL_VALUES: Shape = replacing(&Shape::Leaf(Leaf::Label));
    /// The same, where nothing is the empty text.
    pub(crate) const LABELS: Shape = Shape::Forms(Forms::new(&LABEL_VALUES, &[&TEXTS], forms::key_values).late());

    /// A mapping to texts, where numbers are taken as they are written.
    pub(crate) const OPTIONS: Shape = free(&Shape::Leaf(Leaf::Option));

    const WORDS: Shape = Shape::Nullable(&ANY_TEXTS);
    /// A command line: null, a text that is split as a shell would split it, or a list.
    pub(crate) const COMMAND: Shape = Shape::Forms(Forms::new(&WORDS, &[&TEXT], forms::command_words).late());

    /// A mapping with free names.
    pub(crate) const fn free(value: &'static Shape) -> Shape {
        Shape::Map(MapOf { value, keys: Names::Free, entry: "", merge: Merge::Deep, listed: false })
    }

    /// The same, where a name without value says so over an earlier value.
    const fn replacing(value: &'static Shape) -> Shape {
        Shape::Map(MapOf { value, keys: Names::Free, entry: "", merge: Merge::Replace, listed: false })
    }
}
