//! Single values.

use super::At;
use crate::context::Cx;
use crate::decode::shorten;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::yaml::{Node, Value};

/// What a single value may be.
#[derive(Debug)]
pub(crate) enum Leaf {
    /// A text. Numbers and booleans must be quoted.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text of a certain form.
    Like(&'static Like),
    /// A boolean, also as a text.
    Bool,
    /// A boolean and nothing else: no variable can give it.
    PlainBool,
    /// A whole number in a range, also as a text.
    Int(i64, i64),
    /// A whole number that no variable can give.
    PlainInt,
    /// A limit of getrlimit(2): a whole number, also as a text.
    Limit,
    /// The same, which no variable can give.
    PlainLimit,
    /// A number, also as a text.
    Number,
    /// Bytes, as a number or with a unit.
    Bytes,
    /// Bytes with a unit, in quotes where it has none.
    QuotedBytes,
    /// Numbers with units of time.
    Duration,
    /// Permission bits, shown as a text in octal.
    Mode,
    /// Permission bits, shown as a number.
    ModeNumber,
    /// A text or a number, shown as a text.
    TextOrNumber,
    /// A text or a boolean, shown as a text.
    TextOrBool,
    /// `all` or a number.
    Devices,
    /// Any single value or null.
    Scalar,
    /// The same, where null is the empty text.
    Label,
    /// A text, a number or null, shown as a text.
    Option,
    /// What docker compose judges only when it reads the finished project.
    Late(&'static Leaf),
}

/// A text of a certain form.
#[derive(Debug)]
pub(crate) struct Like {
    pub(crate) matches: fn(&str) -> bool,
    /// What such a text is called: `a container name`.
    pub(crate) called: &'static str,
    /// For the schema.
    pub(crate) pattern: &'static str,
    /// What the value must be, for the message.
    pub(crate) wanted: &'static str,
    /// Words to look for the nearest of.
    pub(crate) words: &'static [&'static str],
}

impl Leaf {
    /// Checks the value and gives it its type.
    pub(super) fn canonical(&self, node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
        if cx.templates && self.is_late() && node.as_text().is_some() {
            return Some(node);
        }
        let (span, tag) = (node.span, node.tag);
        let typed = |node: Node| Some(Node { tag, ..node });
        match self {
            Self::Late(leaf) => leaf.canonical(node, at, cx),
            Self::Text => cx.is_text(&node, at).then_some(node),
            Self::Choice(words) => cx.is_choice(&node, words, at).then_some(node),
            Self::Like(like) => cx.is_like(&node, like, at).then_some(node),
            Self::Bool => typed(Node::boolean(cx.boolean(&node, &at.to_string())?, span)),
            Self::PlainBool => {
                let fits = |value| matches!(value, Value::Bool(_));
                cx.is_one_of(&node, "`true` or `false`", at, fits).then_some(node)
            }
            Self::PlainInt | Self::PlainLimit => {
                let fits = |value| matches!(value, Value::Int(_) | Value::Float(_));
                if !cx.is_one_of(&node, "a whole number", at, fits) {
                    return None;
                }
                let number = cx.integer(&node, &at.to_string(), i64::MIN..=i64::MAX)?.value;
                typed(Node::scalar(Value::Int(number), number.to_string(), span))
            }
            Self::Limit if cx.templates && !cx.is_one_of(&node, "a whole number", at, |value| value != Value::Text) => {
                None
            }
            Self::Int(..) | Self::Limit => {
                let (least, most) =
                    if let Self::Int(least, most) = self { (*least, *most) } else { (i64::MIN, i64::MAX) };
                let number = cx.integer(&node, &at.to_string(), least..=most)?.value;
                typed(Node::scalar(Value::Int(number), number.to_string(), span))
            }
            Self::Number => {
                let number = cx.number(&node, &at.to_string())?;
                typed(Node::scalar(Value::Float(number), number.to_string(), span))
            }
            Self::Bytes => (is_unlimited(&node) || cx.bytes(&node, &at.to_string()).is_some()).then_some(node),
            Self::QuotedBytes if node.as_scalar().is_some_and(|scalar| matches!(scalar.value, Value::Int(_))) => {
                let text = node.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
                let problem = Problem::error(Code::WrongType, node.span, format!("`{text}` is not a size"));
                let problem = problem.reason("the unit is missing, and a number of bytes stands in quotes");
                cx.push(problem.nearest(node.span, Some(&format!("{text}m"))));
                None
            }
            Self::QuotedBytes => (cx.is_text(&node, at) && cx.bytes(&node, &at.to_string()).is_some()).then_some(node),
            Self::Duration => cx.duration(&node, &at.to_string()).is_some().then_some(node),
            Self::ModeNumber if node.as_text().is_some() => {
                cx.wrong_type(&node, &at.to_string(), "a number");
                None
            }
            Self::Mode | Self::ModeNumber => cx.mode(&node, &at.to_string()).is_some().then_some(node),
            Self::TextOrNumber => {
                let fits = |value| matches!(value, Value::Text | Value::Int(_) | Value::Float(_));
                cx.is_one_of(&node, "text or a number", at, fits).then_some(node)
            }
            Self::Option => {
                let fits = |value| !matches!(value, Value::Bool(_) | Value::Time);
                cx.is_one_of(&node, "text or a number", at, fits).then_some(node)
            }
            Self::TextOrBool => {
                let fits = |value| matches!(value, Value::Text | Value::Bool(_));
                cx.is_one_of(&node, "text, `true` or `false`", at, fits).then_some(node)
            }
            Self::Devices if node.as_text() == Some("all") => Some(node),
            Self::Devices => {
                let number = cx.integer(&node, &at.to_string(), -1..=i64::MAX)?.value;
                typed(Node::scalar(Value::Int(number), number.to_string(), span))
            }
            Self::Scalar | Self::Label => {
                let fits = |value| value != Value::Time;
                cx.is_one_of(&node, "a single value", at, fits).then_some(node)
            }
        }
    }
}

/// The same value as a text.
pub(super) fn as_text(node: Node) -> Node {
    match node.as_scalar() {
        Some(scalar) if scalar.value != Value::Text => {
            Node { tag: node.tag, ..Node::text(scalar.value.printed(&scalar.text), node.span) }
        }
        _ => node,
    }
}

impl Leaf {
    /// Interpolation, or reading the value when everything else is done, is what makes such a value of a text: without
    /// interpolation any text may stand here. The others are judged as they are written.
    fn is_late(&self) -> bool {
        match self {
            Self::Bool | Self::Int(..) | Self::Number | Self::Bytes | Self::Mode => true,
            Self::Late(_) | Self::QuotedBytes | Self::Duration | Self::Devices | Self::ModeNumber => true,
            Self::Text | Self::TextOrNumber | Self::TextOrBool | Self::Scalar | Self::Label | Self::Option => false,
            Self::Choice(_) | Self::Like(_) | Self::PlainBool | Self::PlainInt | Self::PlainLimit | Self::Limit => {
                false
            }
        }
    }
}

impl Leaf {
    /// Interpolation makes the value of this text, and fails where it cannot.
    pub(super) fn is_cast_of(&self, node: &Node) -> bool {
        matches!(self, Self::Bool | Self::Int(..) | Self::Number | Self::Limit | Self::PlainLimit)
            && node.as_text().is_some()
    }
}

/// `-1`, where a size says "without limit". In quotes it is a size like any other, and none is negative.
fn is_unlimited(node: &Node) -> bool {
    node.as_scalar().is_some_and(|scalar| scalar.value == Value::Int(-1))
}

impl Cx<'_> {
    /// Interpolation was not asked for, and this waits for it.
    pub(crate) fn is_template(&self, node: &Node) -> bool {
        self.templates && node.as_text().is_some_and(|text| text.contains('$'))
    }

    fn is_text(&mut self, node: &Node, at: &At<'_>) -> bool {
        let is_text = node.as_text().is_some();
        if !is_text {
            self.wrong_type(node, &at.to_string(), "text");
        }
        is_text
    }

    fn is_one_of(&mut self, node: &Node, wanted: &str, at: &At<'_>, test: fn(Value) -> bool) -> bool {
        let fits = node.as_scalar().is_some_and(|scalar| test(scalar.value));
        if !fits {
            self.wrong_type(node, &at.to_string(), wanted);
        }
        fits
    }

    fn is_choice(&mut self, node: &Node, words: &[&'static str], at: &At<'_>) -> bool {
        if !self.is_text(node, at) {
            return false;
        }
        let text = node.as_text().unwrap_or_default();
        if words.contains(&text) {
            return true;
        }
        let message = format!("`{}` is not a value of {at}", shorten(text));
        let problem = Problem::error(Code::InvalidValue, node.span, message);
        let all = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let near = nearest(text, words.iter().copied());
        let near = near.or_else(|| words.iter().copied().find(|word| text.len() > 3 && word.contains(text)));
        self.push(problem.reason(format!("it must be one of {all}")).nearest(node.span, near));
        false
    }

    fn is_like(&mut self, node: &Node, like: &Like, at: &At<'_>) -> bool {
        if !self.is_text(node, at) {
            return false;
        }
        let text = node.as_text().unwrap_or_default();
        if (like.matches)(text) {
            return true;
        }
        let message = format!("`{}` is not {}", shorten(text), like.called);
        let problem = Problem::error(Code::InvalidValue, node.span, message);
        let near = nearest(text, like.words.iter().copied());
        self.push(problem.reason(format!("it must be {}", like.wanted)).nearest(node.span, near));
        false
    }
}
