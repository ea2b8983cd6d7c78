//! Rules of docker compose that concern several keys: first those of one tree, then those of the whole project.

use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::toplevel::section;
use crate::yaml::{Entry, Mapping, Node, Value};

/// What can be judged before anything is named or filled in.
pub(crate) fn shapes(root: &Node, cx: &mut Cx<'_>) {
    let Some(root) = root.as_mapping() else { return };
    for (name, entry) in section(root, "volumes") {
        external_alone(name, entry, cx);
    }
    for (name, entry) in section(root, "secrets") {
        one_source(("secrets", name), entry, &["file", "environment"], cx);
    }
    for (name, entry) in section(root, "configs") {
        one_source(("configs", name), entry, &["file", "environment", "content"], cx);
    }
    for (_, entry) in section(root, "services") {
        if let Some(service) = entry.value.as_mapping() {
            devices(service, cx);
            if cx.resolve_paths {
                binds(service, cx);
            }
        }
    }
}

fn is_true(fields: &Mapping, key: &str) -> bool {
    let scalar = fields.get(key).and_then(|entry| entry.value.as_scalar());
    scalar.is_some_and(|scalar| scalar.value == Value::Bool(true))
}

/// What is made elsewhere has nothing here but its name.
fn external_alone(name: &str, entry: &Entry, cx: &mut Cx<'_>) {
    let Some(fields) = entry.value.as_mapping().filter(|fields| is_true(fields, "external")) else { return };
    let others = fields.iter().filter(|(key, _)| !matches!(&***key, "name" | "external") && !key.starts_with("x-"));
    for (key, other) in others {
        let message = format!("volume `{name}` is external, so `{key}` cannot be given");
        let problem = Problem::error(Code::ConflictingKeys, other.key, message);
        let problem = problem.reason("it is made elsewhere: nothing but its `name` can be given");
        cx.push(problem.help("remove this key, or remove `external`"));
    }
}

fn one_source((kind, name): (&str, &str), entry: &Entry, keys: &[&str], cx: &mut Cx<'_>) {
    let Some(fields) = entry.value.as_mapping() else { return };
    let given: Vec<&Entry> = keys.iter().filter_map(|key| fields.get(*key)).collect();
    let all = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    if let [first, second, ..] = given.as_slice() {
        let message = format!("`{name}` of `{kind}` has several sources");
        let problem = Problem::error(Code::ConflictingKeys, second.key, message).also(first.key, "the first one");
        cx.push(problem.help(format!("keep one of {all}")));
    }
    if given.is_empty() && !fields.contains_key("driver") && !fields.contains_key("external") {
        let problem = Problem::error(Code::MissingKey, entry.key, format!("`{name}` of `{kind}` has no source"));
        cx.push(problem.help(format!("write one of {all}, or `external: true`")));
    }
}

/// A path can be made absolute only where there is one.
fn binds(service: &Mapping, cx: &mut Cx<'_>) {
    for item in service.get("volumes").and_then(|entry| as_items(&entry.value)).into_iter().flatten() {
        if item.get("type").and_then(Node::as_text) == Some("bind") && item.get("source").is_none() {
            let problem = Problem::error(Code::MissingKey, item.span, "a mount of type `bind` needs `source`");
            cx.push(problem.help("write `source:` with the path on this machine"));
        }
    }
}

fn devices(service: &Mapping, cx: &mut Cx<'_>) {
    let reservations = service.get("deploy").and_then(|deploy| deploy.value.get("resources"));
    let reserved = reservations.and_then(|resources| resources.get("reservations")?.get("devices"));
    let gpus = service.get("gpus").map(|entry| &entry.value);
    for (list, needs_kind) in [(reserved, true), (gpus, false)] {
        let Some(items) = list.and_then(as_items) else { continue };
        for item in items {
            let Some(fields) = item.as_mapping() else { continue };
            if let (Some(count), Some(ids)) = (fields.get("count"), fields.get("device_ids")) {
                let message = "`count` and `device_ids` cannot be given together";
                let problem = Problem::error(Code::ConflictingKeys, ids.key, message).also(count.key, "the count");
                cx.push(problem.help("remove one of them"));
            }
            if needs_kind && !fields.contains_key("capabilities") {
                let problem = Problem::error(Code::MissingKey, item.span, "a device needs `capabilities`");
                cx.push(problem.help("write `capabilities: [gpu]`"));
            }
        }
    }
}

fn as_items(node: &Node) -> Option<&[Node]> {
    match &node.kind {
        crate::yaml::Kind::Sequence(items) => Some(items),
        crate::yaml::Kind::Scalar(_) | crate::yaml::Kind::Mapping(_) => None,
    }
}
