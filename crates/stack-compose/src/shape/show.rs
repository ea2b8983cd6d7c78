//! A canonical tree as `stack config` shows it.

use std::sync::Arc;

use serde_json::{Map, Number, Value, json};

use super::{Field, Leaf, Object, Shape, Shown};
use crate::natural::natural;
use crate::units::{octal, parse_bytes, parse_duration, print_duration};
use crate::yaml::{Entry, Kind, Mapping, Node, Value as Yaml, rfc3339, unsigned};

/// What the result is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As docker compose writes JSON: without `x-*` below the root.
    Json,
    /// To be read again.
    Yaml,
}

/// The value in a form of output.
pub(crate) fn show(node: &Node, shape: &'static Shape, form: Form) -> Value {
    match (shape.of(node), &node.kind) {
        // Docker compose takes a limit of zero for one with two numbers, and leaves zeros out of JSON.
        (Shape::Leaf(Leaf::Limit | Leaf::PlainLimit), Kind::Scalar(scalar)) if scalar.value == Yaml::Int(0) => {
            match form {
                Form::Json => Value::Object(Map::new()),
                Form::Yaml => json!({ "soft": 0, "hard": 0 }),
            }
        }
        (Shape::Leaf(leaf), Kind::Scalar(_)) => leaf_value(node, leaf),
        (Shape::List(list), Kind::Sequence(items)) => items.iter().map(|item| show(item, list.item, form)).collect(),
        (Shape::Map(map), Kind::Mapping(entries)) if map.listed => {
            let printed = |value: &Node| value.as_scalar().map(|scalar| scalar.value.printed(&scalar.text));
            let item = |(name, value): (&str, &Node)| match printed(value).filter(|text| !text.is_empty()) {
                Some(text) => format!("{name}={text}"),
                None => name.to_owned(),
            };
            let mut items: Vec<String> = entries.iter().map(|(name, entry)| item((name, &entry.value))).collect();
            items.sort_unstable();
            Value::from(items)
        }
        (Shape::Map(map), Kind::Mapping(entries)) => by_name(entries, form)
            .map(|(name, entry)| (name.to_string(), show(&entry.value, map.value, form)))
            .collect(),
        (Shape::Object(object), Kind::Mapping(entries)) => Value::Object(show_object(entries, object, form)),
        _ => plain(node, form),
    }
}

/// The fields of an object that are to be shown.
pub(crate) fn show_object(entries: &Mapping, object: &'static Object, form: Form) -> Map<String, Value> {
    let mut shown = Map::new();
    for field in object.fields {
        match (entries.get(field.name), field.shown) {
            (_, Shown::Never) | (None, Shown::Filled | Shown::Present | Shown::PresentInYaml) => {}
            (Some(entry), shown_when) => {
                let value = show(&entry.value, field.shape, form);
                let says_something = match shown_when {
                    Shown::Filled => says_something(&value, field.shape),
                    Shown::Always => form == Form::Json || !is_nothing(&value, field.shape),
                    Shown::PresentInYaml => form == Form::Yaml || says_something(&value, field.shape),
                    Shown::Present | Shown::Never => true,
                };
                if says_something {
                    shown.insert(name(field, form), value);
                }
            }
            (None, Shown::Always) => {
                let value = nothing(field.shape);
                // Docker compose leaves what is empty out of YAML, and cannot from JSON.
                if form == Form::Json || matches!(field.shape.long(), Shape::Map(_)) {
                    shown.insert(name(field, form), value);
                }
            }
        }
    }
    if form == Form::Yaml {
        let own = by_name(entries, form).filter(|(name, _)| name.starts_with("x-"));
        shown.extend(own.map(|(name, entry)| (name.to_string(), plain(&entry.value, form))));
    }
    shown
}

fn name(field: &Field, form: Form) -> String {
    if form == Form::Json { field.json } else { field.name }.to_owned()
}

/// What an absent object or value is.
fn nothing(shape: &'static Shape) -> Value {
    match shape.long() {
        Shape::Object(object) if !matches!(shape, Shape::Nullable(_)) => {
            Value::Object(show_object(&Mapping::new(), object, Form::Json))
        }
        Shape::Map(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// What docker compose leaves out of YAML although it is always in JSON.
fn is_nothing(value: &Value, shape: &'static Shape) -> bool {
    value.is_null() || matches!(shape.long(), Shape::Object(_)) && value.as_object().is_some_and(Map::is_empty)
}

/// An object says something by being there, even if it is empty.
fn says_something(value: &Value, shape: &'static Shape) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => {
            let zero = matches!(shape.long(), Shape::Leaf(Leaf::Bytes | Leaf::QuotedBytes)) && text == "0"
                || matches!(shape.long(), Shape::Leaf(Leaf::Duration)) && text == "0s";
            !text.is_empty() && !zero
        }
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty() || matches!(shape.long(), Shape::Object(_)),
    }
}

fn leaf_value(node: &Node, leaf: &Leaf) -> Value {
    let Some(scalar) = node.as_scalar() else { return Value::Null };
    let printed = || scalar.value.printed(&scalar.text);
    match (leaf, scalar.value) {
        (Leaf::Late(leaf), _) => leaf_value(node, leaf),
        (Leaf::Scalar, Yaml::Null) => Value::Null,
        (Leaf::Label | Leaf::Option, Yaml::Null) => Value::from(""),
        (Leaf::Bool | Leaf::PlainBool, Yaml::Bool(value)) => Value::Bool(value),
        (Leaf::Int(..) | Leaf::PlainInt | Leaf::PlainLimit | Leaf::Limit | Leaf::Devices, Yaml::Int(number)) => {
            Value::from(number)
        }
        (Leaf::Devices, _) if &*scalar.text == "all" => Value::from(-1),
        (Leaf::Number, Yaml::Float(number)) => float(number),
        (Leaf::Bytes | Leaf::QuotedBytes, _) => match parse_bytes(&printed()) {
            Ok(bytes) => Value::from(bytes.to_string()),
            Err(_) => Value::from(printed()),
        },
        (Leaf::Duration, _) => match parse_duration(&scalar.text) {
            Ok(nanos) => Value::from(print_duration(nanos)),
            Err(_) => Value::from(printed()),
        },
        (Leaf::Mode, _) => octal(node).map_or_else(|| Value::from(printed()), |mode| Value::from(format!("0{mode:o}"))),
        (Leaf::ModeNumber, _) => octal(node).map_or_else(|| Value::from(printed()), Value::from),
        _ => Value::from(printed()),
    }
}

/// A number of single precision, as docker compose keeps them: `0.5`, `2`.
#[expect(clippy::cast_possible_truncation, reason = "docker compose keeps these numbers in 32 bits")]
fn float(number: f64) -> Value {
    let shortest = (number as f32).to_string();
    if let Ok(whole) = shortest.parse::<i64>() {
        return Value::from(whole);
    }
    shortest.parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// Names of the user's own in order; keys of the language stand in that of their table.
pub(crate) fn by_name(entries: &Mapping, form: Form) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
    let mut entries: Vec<_> = entries.iter().collect();
    match form {
        Form::Json => entries.sort_by_key(|(name, _)| *name),
        Form::Yaml => entries.sort_by(|(one, _), (other, _)| natural(one, other)),
    }
    entries.into_iter()
}

/// A tree of no known shape.
pub(crate) fn plain(node: &Node, form: Form) -> Value {
    match &node.kind {
        // Docker compose loses the difference on its way to JSON.
        Kind::Sequence(items) if items.is_empty() && form == Form::Json => Value::Null,
        Kind::Sequence(items) => items.iter().map(|item| plain(item, form)).collect(),
        Kind::Mapping(mapping) => {
            by_name(mapping, form).map(|(key, entry)| (key.to_string(), plain(&entry.value, form))).collect()
        }
        Kind::Scalar(scalar) => match scalar.value {
            Yaml::Null => Value::Null,
            Yaml::Bool(value) => Value::Bool(value),
            Yaml::Int(number) => Value::from(number),
            Yaml::Float(number) => unsigned(&scalar.text).map_or_else(|| Value::from(number), Value::from),
            Yaml::Time => Value::from(rfc3339(&scalar.text)),
            Yaml::Text => Value::from(&*scalar.text),
        },
    }
}
