//! What only shows when every file is merged: keys that are missing or have no value, items that stand twice.

use super::{At, Object, Shape};
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::text::Span;
use crate::yaml::{Entry, Kind, Mapping, Node, Tag, Value};

/// Reports what the merged tree lacks, and takes keys without value away.
pub(crate) fn complete(node: &mut Node, shape: &'static Shape, at: &At<'_>, cx: &mut Cx<'_>) {
    let span = node.span;
    below(node, span, shape, at, cx);
}

/// `place` is the key, or the item itself.
fn below(node: &mut Node, place: Span, shape: &'static Shape, at: &At<'_>, cx: &mut Cx<'_>) {
    match (shape.of(node), &mut node.kind) {
        (Shape::List(list), Kind::Sequence(items)) => {
            if list.unique {
                report_repeated(items, at, cx);
            }
            let item_at = at.item();
            for item in items {
                let span = item.span;
                below(item, span, list.item, &item_at, cx);
            }
        }
        (Shape::Map(map), Kind::Mapping(mapping)) => {
            mapping.retain(|name, entry| value(entry, map.value, &at.named(map.entry, name), cx));
        }
        (Shape::Object(object), Kind::Mapping(mapping)) => fields(mapping, place, object, at, cx),
        _ => {}
    }
}

fn fields(mapping: &mut Mapping, place: Span, object: &'static Object, at: &At<'_>, cx: &mut Cx<'_>) {
    for key in object.required.iter().filter(|key| !mapping.contains_key(**key)) {
        let problem = Problem::error(Code::MissingKey, place, format!("{at} needs `{key}`"));
        let doc = object.field(key).map_or("", |field| field.doc);
        cx.push(problem.reason(format!("`{key}`: {doc}")).help(format!("add `{key}: …`")));
    }
    mapping.retain(|name, entry| match object.field(name) {
        Some(field) => value(entry, field.shape, &at.key(name), cx),
        None => true,
    });
}

/// Whether the value stays. A broken one does: it was reported, and is not missing.
fn value(entry: &mut Entry, shape: &'static Shape, at: &At<'_>, cx: &mut Cx<'_>) -> bool {
    if entry.value.tag == Tag::Broken {
        return true;
    }
    if entry.value.is_null() {
        return shape.takes_null() || refuse_null(entry.value.span, at, cx);
    }
    below(&mut entry.value, entry.key, shape, at, cx);
    true
}

fn refuse_null(span: Span, at: &At<'_>, cx: &mut Cx<'_>) -> bool {
    let problem = Problem::error(Code::WrongType, span, format!("{at} has no value"));
    cx.push(if at.to_string().starts_with("service ") {
        problem.help("write its keys below it, indented further, or remove it")
    } else {
        problem.help("give it a value or remove the key")
    });
    false
}

fn report_repeated(items: &[Node], at: &At<'_>, cx: &mut Cx<'_>) {
    let mut seen = std::collections::HashMap::new();
    for item in items {
        let Some(scalar) = item.as_scalar() else { continue };
        let quoted = matches!(scalar.value, Value::Text);
        if let Some(first) = seen.insert((&*scalar.text, quoted), item.span) {
            let problem = Problem::error(Code::RepeatedItem, item.span, format!("{at} has `{}` twice", scalar.text));
            cx.push(problem.also(first, "first written here").help("remove one of them"));
        }
    }
}
