//! `include`: other projects that this one takes in. `crate::include` does it.

use crate::context::Cx;
use crate::shape::common::{ONE_OR_TEXTS, TEXT, TEXT_OR_NUMBER};
use crate::shape::{At, Field, Forms, List, Object, Shape};
use crate::yaml::{Kind, Node};

pub(super) const INCLUDES: Shape = Shape::List(List { item: &Shape::Nullable(&INCLUDE), unique: false });
const INCLUDE: Shape = Shape::Forms(Forms::new(&LONG, &[&TEXT], expand));
const LONG: Shape = Shape::Object(&Object::new(FIELDS).closed().ignoring());
const FIELDS: &[Field] = &[
    Field::new("path", "Its files; later ones override earlier ones.", &ONE_OR_TEXTS),
    Field::new("project_directory", "Where its relative paths begin.", &TEXT_OR_NUMBER),
    Field::new("env_file", "Files with its variables, instead of its `.env`.", &ONE_OR_TEXTS),
];

#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(mut node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    if node.as_text().is_some() {
        return Some(Node::mapping([("path", node)], span));
    }
    // Docker compose takes these three in capitals, too.
    if let Kind::Mapping(fields) = &mut node.kind {
        for Field { name: key, .. } in FIELDS {
            if fields.contains_key(*key) {
                continue;
            }
            let other = fields.keys().position(|name| name.eq_ignore_ascii_case(key));
            if let Some((_, entry)) = other.and_then(|index| fields.shift_remove_index(index)) {
                fields.insert((*key).into(), entry);
            }
        }
    }
    Some(node)
}
