//! The JSON Schema of the language, out of the same tables that files are read with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::shape::{Field, Forms, Leaf, Names, Object, Shape};
use crate::toplevel::FILE;

/// Dialect of the schema.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of a Compose file, for editors. It speaks of a file as it stands: a value may be `${…}` where a number is
/// meant.
pub fn schema() -> Value {
    let mut root = object(&FILE);
    if let Value::Object(root) = &mut root {
        let mut head = Map::new();
        head.insert("$schema".to_owned(), Value::from(DIALECT));
        head.insert("title".to_owned(), Value::from("Compose file"));
        head.insert("description".to_owned(), Value::from("The services of a project, and what they share."));
        head.append(root);
        *root = head;
    }
    share(&mut root);
    root
}

/// Shorter schemas are repeated: a reference would not be easier to read.
const WORTH_SHARING: usize = 100;

/// Puts what stands in several places under `$defs`, once.
fn share(root: &mut Value) {
    let mut seen = BTreeMap::new();
    count(root, &mut seen);
    seen.retain(|text, times| *times > 1 && text.len() > WORTH_SHARING);
    let mut shared = Shared { seen, names: BTreeMap::new(), definitions: BTreeMap::new() };
    if let Value::Object(root) = root {
        root.iter_mut().for_each(|(key, value)| shared.below(key, value));
        root.insert("$defs".to_owned(), Value::Object(shared.definitions.into_iter().collect()));
    }
}

/// How often each schema stands somewhere, by its text.
fn count(value: &Value, seen: &mut BTreeMap<String, usize>) {
    match value {
        Value::Object(fields) => {
            if is_schema(fields) {
                *seen.entry(value.to_string()).or_default() += 1;
            }
            fields.values().for_each(|value| count(value, seen));
        }
        Value::Array(items) => items.iter().for_each(|item| count(item, seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Not a mapping of properties, and without words about one place.
fn is_schema(fields: &Map<String, Value>) -> bool {
    let says = |key: &str| fields.get(key).is_some_and(|value| value.is_string() || value.is_array());
    (says("type") || says("anyOf")) && !fields.contains_key("description")
}

struct Shared {
    seen: BTreeMap<String, usize>,
    /// The name of each definition, by its text.
    names: BTreeMap<String, String>,
    definitions: BTreeMap<String, Value>,
}

impl Shared {
    /// `key` is what leads to the value: the first one names the definition.
    fn below(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                let text = if is_schema(fields) { Value::Object(fields.clone()).to_string() } else { String::new() };
                if self.seen.contains_key(&text) {
                    let name = self.define(key, &text, value.take());
                    *value = json!({ "$ref": format!("#/$defs/{name}") });
                    return;
                }
                self.inside(key, fields);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.below(key, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Words of the dialect lead on, those of the language name what is below them.
    fn inside(&mut self, key: &str, fields: &mut Map<String, Value>) {
        const WORDS: [&str; 5] = ["properties", "patternProperties", "additionalProperties", "items", "anyOf"];
        for (inner, value) in fields {
            let word = WORDS.contains(&inner.as_str()) || inner.starts_with('^');
            self.below(if word { key } else { inner }, value);
        }
    }

    fn define(&mut self, key: &str, text: &str, value: Value) -> String {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        let taken = |name: &String| self.names.values().any(|other| other == name);
        let mut names = std::iter::once(key.to_owned()).chain((2..).map(|number| format!("{key}_{number}")));
        let name = names.find(|name| !taken(name)).unwrap_or_default();
        self.names.insert(text.to_owned(), name.clone());
        let mut value = value;
        if let Value::Object(fields) = &mut value {
            self.inside(key, fields);
        }
        self.definitions.insert(name.clone(), value);
        name
    }
}

fn object(object: &'static Object) -> Value {
    let properties: Map<String, Value> =
        object.fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if object.extensions {
        schema["patternProperties"] = json!({ "^x-": {} });
    }
    if !object.required.is_empty() {
        schema["required"] = json!(object.required);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut described = json!({ "description": field.doc });
    let shape = or_null(of(field.shape));
    match (&mut described, shape) {
        (Value::Object(described), Value::Object(shape)) => described.extend(shape),
        (_, shape) => return shape,
    }
    described
}

/// In one file of several a key may be empty, where it says nothing.
fn or_null(shape: Value) -> Value {
    match shape.as_object() {
        Some(fields) if fields.is_empty() => shape,
        _ => json!({ "anyOf": [shape, { "type": "null" }] }),
    }
}

fn of(shape: &'static Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Leaf(leaf) => of_leaf(leaf),
        Shape::List(list) => json!({ "type": "array", "items": of(list.item) }),
        Shape::Map(map) => {
            let value = or_null(of(map.value));
            match map.keys {
                Names::Free | Names::Lower => json!({ "type": "object", "additionalProperties": value }),
                Names::Resource | Names::Reference => json!({
                    "type": "object",
                    "patternProperties": { "^[a-zA-Z0-9._-]+$": value },
                    "additionalProperties": false
                }),
            }
        }
        Shape::Object(fields) => object(fields),
        Shape::Nullable(shape) => or_null(of(shape)),
        Shape::Forms(forms) => of_forms(forms),
        Shape::Either(one, other) => json!({ "anyOf": [of(one), of(other)] }),
    }
}

/// A list whose items have short forms takes both, item by item.
fn of_forms(forms: &Forms) -> Value {
    if let Shape::List(long) = forms.long {
        let items = forms.short.iter().filter_map(|shape| match shape {
            Shape::List(short) => Some(of(short.item)),
            _ => None,
        });
        let items: Vec<Value> = std::iter::once(of(long.item)).chain(items).collect();
        let list = json!({ "type": "array", "items": { "anyOf": items } });
        let others = forms.short.iter().filter(|shape| !matches!(shape, Shape::List(_))).map(|shape| of(shape));
        let others: Vec<Value> = std::iter::once(list).chain(others).collect();
        return json!({ "anyOf": others });
    }
    let all: Vec<Value> = std::iter::once(forms.long).chain(forms.short.iter().copied()).map(of).collect();
    json!({ "anyOf": all })
}

/// Beside its own type a value may be a text that interpolation turns into it.
fn of_leaf(leaf: &Leaf) -> Value {
    let template = json!({ "type": "string", "pattern": "\\$" });
    match leaf {
        Leaf::Late(leaf) => of_leaf(leaf),
        Leaf::Text | Leaf::QuotedBytes | Leaf::Duration => json!({ "type": "string" }),
        Leaf::Choice(words) => json!({ "anyOf": [{ "enum": words }, template] }),
        Leaf::Like(like) => json!({ "anyOf": [{ "type": "string", "pattern": like.pattern }, template] }),
        Leaf::PlainBool => json!({ "type": "boolean" }),
        Leaf::PlainInt | Leaf::PlainLimit | Leaf::ModeNumber => json!({ "type": "number" }),
        Leaf::Limit => json!({ "type": ["number", "string"] }),
        Leaf::Bool | Leaf::TextOrBool => json!({ "type": ["boolean", "string"] }),
        Leaf::Int(least, most) => {
            let mut number = json!({ "type": "number" });
            if *least != i64::MIN {
                number["minimum"] = json!(least);
            }
            if *most != i64::MAX {
                number["maximum"] = json!(most);
            }
            json!({ "anyOf": [number, { "type": "string" }] })
        }
        Leaf::Number | Leaf::Bytes | Leaf::Mode | Leaf::TextOrNumber | Leaf::Devices => {
            json!({ "type": ["number", "string"] })
        }
        Leaf::Scalar | Leaf::Label => json!({ "type": ["string", "number", "boolean", "null"] }),
        Leaf::Option => json!({ "type": ["string", "number", "null"] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described() {
        fn walk(value: &Value, count: &mut usize) {
            let properties = value.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                assert!(
                    property["description"].as_str().is_some_and(|text| text.ends_with('.') || text.contains('`')),
                    "{name}"
                );
                *count += 1;
            }
            match value {
                Value::Object(fields) => fields.values().for_each(|value| walk(value, count)),
                Value::Array(items) => items.iter().for_each(|value| walk(value, count)),
                _ => {}
            }
        }
        let (mut count, length) = (0, schema().to_string().len());
        assert!(length < 60_000, "definitions are shared: {length}");
        walk(&schema(), &mut count);
        assert!(count > 250, "{count}");
    }
}
