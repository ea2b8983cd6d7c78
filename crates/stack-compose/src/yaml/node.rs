//! The tree.

use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::text::{Span, narrow};

/// A value of the file with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// A scalar's token; the first token of a collection.
    pub(crate) span: Span,
    pub(crate) tag: Tag,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Mapping),
}

/// Keys in the order of the file.
pub(crate) type Mapping = IndexMap<Arc<str>, Entry>;

/// What stands under a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The place of the key itself.
    pub(crate) key: Span,
    pub(crate) value: Node,
}

/// Merge instructions of the Compose language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    #[default]
    None,
    /// `!reset`: take the key away.
    Reset,
    /// `!override`: replace instead of merging.
    Override,
    /// From the old form of a name: what it is laid over may not say something else.
    Agreeing,
    /// What stands here was reported already, and is not missing.
    Broken,
}

/// A leaf.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) value: Value,
    /// The text after YAML's own escapes.
    pub(crate) text: Arc<str>,
    pub(crate) layout: Layout,
}

/// What a leaf means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A date without quotes: no key of the Compose language takes one.
    Time,
    Text,
}

/// How the characters of [`Scalar::text`] lie in the file, so that a caret can stand inside a value.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// Escapes or folds lie between: only the whole token has a place.
    Opaque,
    /// Byte for byte, from this offset of the file on, all on the token's line.
    Verbatim(u32),
    /// The result of interpolation.
    Pieces(Arc<[Piece]>),
}

/// A stretch of an interpolated value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Where it ends in the value, in bytes.
    pub(crate) end: u32,
    /// Where it comes from: literal text, or the `${…}` that made it.
    pub(crate) span: Span,
    /// The characters are those of the file.
    pub(crate) literal: bool,
}

impl Node {
    /// A value that stands for something written shorter.
    pub(crate) fn scalar(value: Value, text: impl Into<Arc<str>>, span: Span) -> Self {
        let scalar = Scalar { value, text: text.into(), layout: Layout::Opaque };
        Self { kind: Kind::Scalar(scalar), span, tag: Tag::None }
    }

    pub(crate) fn text(text: impl Into<Arc<str>>, span: Span) -> Self {
        Self::scalar(Value::Text, text, span)
    }

    pub(crate) fn null(span: Span) -> Self {
        Self::scalar(Value::Null, "", span)
    }

    pub(crate) fn boolean(value: bool, span: Span) -> Self {
        Self::scalar(Value::Bool(value), if value { "true" } else { "false" }, span)
    }

    pub(crate) fn mapping<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>, span: Span) -> Self {
        let entry = |(key, value): (&str, Self)| (Arc::from(key), Entry { key: value.span, value });
        Self { kind: Kind::Mapping(entries.into_iter().map(entry).collect()), span, tag: Tag::None }
    }

    pub(crate) fn sequence(items: Vec<Self>, span: Span) -> Self {
        Self { kind: Kind::Sequence(items), span, tag: Tag::None }
    }

    /// How many nodes it has, itself counted.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::Sequence(items) => items.iter().map(Self::count).sum(),
            Kind::Mapping(fields) => fields.values().map(|entry| entry.value.count()).sum(),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.value == Value::Null)
    }

    /// The same values, wherever they stand and in whatever order keys are.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Scalar(one), Kind::Scalar(other)) => {
                one.value == other.value && (one.value != Value::Text || one.text == other.text)
            }
            (Kind::Sequence(one), Kind::Sequence(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.says_the_same(other))
            }
            (Kind::Mapping(one), Kind::Mapping(other)) => {
                let same = |(name, entry): (&Arc<str>, &Entry)| {
                    other.get(name).is_some_and(|other| entry.value.says_the_same(&other.value))
                };
                one.len() == other.len() && one.iter().all(same)
            }
            _ => false,
        }
    }

    pub(crate) fn as_mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            Kind::Mapping(mapping) => Some(mapping),
            Kind::Scalar(_) | Kind::Sequence(_) => None,
        }
    }

    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            Kind::Mapping(_) | Kind::Sequence(_) => None,
        }
    }

    /// The text of a leaf that is text and nothing else.
    pub(crate) fn as_text(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.value == Value::Text).map(|scalar| &*scalar.text)
    }

    /// The value under a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?.get(key).map(|entry| &entry.value)
    }

    /// The place of bytes `range` of a leaf's text, as narrow as it is known.
    pub(crate) fn part(&self, range: Range<usize>) -> Span {
        let Some(scalar) = self.as_scalar() else { return self.span };
        match &scalar.layout {
            Layout::Opaque => self.span,
            Layout::Verbatim(offset) => verbatim(&scalar.text, self.span, *offset, range),
            Layout::Pieces(pieces) => in_pieces(&scalar.text, pieces, range).unwrap_or(self.span),
        }
    }

    /// A new leaf made of a part of this one.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let text = self.as_scalar().and_then(|scalar| scalar.text.get(range.clone())).unwrap_or_default();
        let span = self.part(range);
        let mut node = Self::text(text, span);
        if let (Kind::Scalar(scalar), true) = (&mut node.kind, (span.end - span.start) as usize == text.len()) {
            scalar.layout = Layout::Verbatim(span.start);
        }
        node
    }
}

fn verbatim(text: &str, token: Span, offset: u32, range: Range<usize>) -> Span {
    let (Some(before), Some(inside)) = (text.get(..range.start), text.get(range)) else { return token };
    let start = offset + narrow(before.len());
    // The quote before the text, if there is one, is one column wide.
    let column = token.column + (offset - token.start) + narrow(before.chars().count());
    Span { start, end: start + narrow(inside.len()), column, ..token }
}

fn in_pieces(text: &str, pieces: &[Piece], range: Range<usize>) -> Option<Span> {
    let at = |position: usize| {
        let index = pieces.iter().position(|piece| piece.end as usize > position)?;
        let begin = index.checked_sub(1).map_or(0, |previous| pieces[previous].end as usize);
        Some((pieces[index], begin))
    };
    let narrow_down = |(piece, begin): (Piece, usize), part: Range<usize>| {
        if !piece.literal {
            return piece.span;
        }
        let end = part.end.min(piece.end as usize);
        let literal = text.get(begin..piece.end as usize).unwrap_or_default();
        verbatim(literal, piece.span, piece.span.start, part.start - begin..end - begin)
    };
    let first = at(range.start)?;
    let last = if range.end > range.start { at(range.end - 1)? } else { first };
    let start = narrow_down(first, range.clone());
    let end = narrow_down(last, range.start.max(last.1)..range.end);
    Some(start.to(end))
}
