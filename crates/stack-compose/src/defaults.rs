//! What the file leaves out, filled in on the merged tree.

use indexmap::map::Entry as Slot;
use stack_model::ProjectName;

use crate::context::Cx;
use crate::keys::tidy;
use crate::text::Span;
use crate::yaml::{Entry, Kind, Mapping, Node, Value};

/// Defaults inside short lists and objects.
pub(crate) fn set(root: &mut Node) {
    for_services(root, |_, fields, _| {
        with(fields, "build", |build| {
            let Kind::Mapping(build) = &mut build.kind else { return };
            default(build, "context", |span| Node::text(".", span));
        });
        each(fields, "secrets", |item| {
            let Some(source) = item.get("source").and_then(Node::as_text).map(str::to_owned) else { return };
            let Kind::Mapping(item) = &mut item.kind else { return };
            default(item, "target", |span| Node::text(format!("/run/secrets/{source}"), span));
        });
        each(fields, "ports", |item| {
            let Kind::Mapping(item) = &mut item.kind else { return };
            default(item, "protocol", |span| Node::text("tcp", span));
            default(item, "mode", |span| Node::text("ingress", span));
        });
        with(fields, "depends_on", |dependencies| {
            let Kind::Mapping(dependencies) = &mut dependencies.kind else { return };
            for entry in dependencies.values_mut() {
                if let Kind::Mapping(dependency) = &mut entry.value.kind {
                    default(dependency, "required", |span| Node::boolean(true, span));
                }
            }
        });
        each(fields, "gpus", all_devices);
        let path = ["deploy", "resources", "reservations"];
        within(fields, &path, |reservations| each(reservations, "devices", all_devices));
    });
}

fn all_devices(item: &mut Node) {
    let Kind::Mapping(item) = &mut item.kind else { return };
    if !item.contains_key("device_ids") {
        default(item, "count", |span| Node::text("all", span));
    }
}

/// Names without value take that of the project's variables, where there is one.
pub(crate) fn pass_variables(root: &mut Node, cx: &Cx<'_>) {
    // That is interpolation too.
    if cx.templates {
        return;
    }
    for_services(root, |_, fields, _| {
        with(fields, "environment", |environment| pass(environment, &|name| cx.variables.get(name), true));
    });
}

/// The same for one mapping, or for a list of `KEY` and `KEY=VALUE`; `keep` those that have none.
fn pass(names: &mut Node, lookup: &dyn Fn(&str) -> Option<String>, keep: bool) {
    match &mut names.kind {
        Kind::Mapping(names) => names.retain(|name, entry| {
            let value = if entry.value.is_null() { lookup(name) } else { return true };
            match value {
                Some(value) => entry.value = Node::text(value, entry.value.span),
                None => return keep,
            }
            true
        }),
        Kind::Sequence(items) => items.retain_mut(|item| {
            let Some(name) = item.as_text().filter(|text| !text.contains('=')) else { return true };
            match lookup(name) {
                Some(value) => *item = Node::text(format!("{name}={value}"), item.span),
                None => return keep,
            }
            true
        }),
        Kind::Scalar(_) => {}
    }
}

/// The networks, dependencies and names that the file implies.
pub(crate) fn imply(root: &mut Node, project: &ProjectName, cx: &Cx<'_>) {
    let mut default_network = None;
    for_services(root, |_, fields, at| {
        if fields.get("pull_policy").and_then(|entry| entry.value.as_text()) == Some("if_not_present")
            && let Some(entry) = fields.get_mut("pull_policy")
        {
            entry.value = Node::text("missing", entry.value.span);
        }
        with(fields, "build", |build| imply_build(build, cx));
        if joins_default(fields, at) {
            default_network = default_network.or(Some(at));
        }
        imply_dependencies(fields, at);
        each(fields, "volumes", |volume| {
            if let Kind::Mapping(volume) = &mut volume.kind {
                with(volume, "target", tidy);
            }
        });
    });
    let Kind::Mapping(fields) = &mut root.kind else { return };
    if let Some(at) = default_network {
        let networks = fields.entry("networks".into()).or_insert_with(|| empty(at));
        if networks.value.is_null() {
            networks.value = empty(at).value;
        }
        if let Kind::Mapping(networks) = &mut networks.value.kind {
            networks.entry("default".into()).or_insert_with(|| Entry { key: at, value: Node::null(at) });
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        with(fields, section, |section| name_entries(section, project));
    }
}

fn empty(span: Span) -> Entry {
    Entry { key: span, value: Node { kind: Kind::Mapping(Mapping::new()), span, tag: crate::yaml::Tag::None } }
}

fn imply_build(build: &mut Node, cx: &Cx<'_>) {
    let Kind::Mapping(build) = &mut build.kind else { return };
    if !build.contains_key("dockerfile_inline") {
        default(build, "dockerfile", |span| Node::text("Dockerfile", span));
    }
    with(build, "args", |args| pass(args, &|name| cx.variables.get(name).filter(|_| !cx.templates), false));
}

/// Puts a service that names no network on the default one.
fn joins_default(fields: &mut Mapping, at: Span) -> bool {
    if fields.contains_key("provider") || fields.contains_key("network_mode") {
        return false;
    }
    let entry = fields.entry("networks".into()).or_insert_with(|| empty(at));
    let Kind::Mapping(networks) = &mut entry.value.kind else { return false };
    if networks.is_empty() {
        networks.insert("default".into(), Entry { key: at, value: Node::null(at) });
    }
    networks.contains_key("default")
}

fn imply_dependencies(fields: &mut Mapping, _: Span) {
    let mut implied: Vec<(String, Span, bool)> = Vec::new();
    each(fields, "links", |link| {
        let text = link.as_text().unwrap_or_default();
        let name = text.split_once(':').filter(|(_, alias)| !alias.contains(':')).map_or(text, |(name, _)| name);
        implied.push((name.to_owned(), link.part(0..name.len()), true));
    });
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(entry) = fields.get(key) else { continue };
        if let Some(name) = entry.value.as_text().and_then(|text| text.strip_prefix("service:")) {
            let start = "service:".len();
            implied.push((name.to_owned(), entry.value.part(start..start + name.len()), true));
        }
    }
    each(fields, "volumes_from", |from| {
        let text = from.as_text().unwrap_or_default();
        if !text.starts_with("container:") {
            let name = text.split(':').next().unwrap_or(text);
            implied.push((name.to_owned(), from.part(0..name.len()), false));
        }
    });
    for (name, span, restart) in implied {
        let dependencies = fields.entry("depends_on".into()).or_insert_with(|| empty(span));
        let Kind::Mapping(dependencies) = &mut dependencies.value.kind else { continue };
        if let Slot::Vacant(slot) = dependencies.entry(name.as_str().into()) {
            let fields = [
                ("condition", Node::text("service_started", span)),
                ("restart", Node::boolean(restart, span)),
                ("required", Node::boolean(true, span)),
            ];
            slot.insert(Entry { key: span, value: Node::mapping(fields, span) });
        }
    }
}

/// Docker compose keeps hosts by name and shows them in order.
fn sort_hosts(fields: &mut Mapping) {
    with(fields, "extra_hosts", |hosts| {
        if let Kind::Sequence(hosts) = &mut hosts.kind {
            hosts.sort_by(|one, other| one.as_text().cmp(&other.as_text()));
        }
    });
}

/// `scale` counts where `deploy` does not say how many, and is shown there too.
pub(crate) fn repeat_scale(root: &mut Node) {
    for_services(root, |_, fields, _| {
        let Some(scale) = fields.get("scale").map(|entry| entry.value.clone()) else { return };
        with(fields, "deploy", |deploy| {
            if let Kind::Mapping(deploy) = &mut deploy.kind {
                deploy.entry("replicas".into()).or_insert_with(|| Entry { key: scale.span, value: scale });
            }
        });
    });
}

/// An entry of a section without a value is one without fields, and hosts have an order.
pub(crate) fn fill_typed(root: &mut Node) {
    for_services(root, |_, fields, _| {
        sort_hosts(fields);
        with(fields, "build", |build| {
            if let Kind::Mapping(build) = &mut build.kind {
                sort_hosts(build);
            }
        });
    });
    let Kind::Mapping(fields) = &mut root.kind else { return };
    for section in ["networks", "volumes", "configs", "secrets"] {
        with(fields, section, |section| {
            let Kind::Mapping(entries) = &mut section.kind else { return };
            for entry in entries.values_mut().filter(|entry| entry.value.is_null()) {
                entry.value.kind = Kind::Mapping(Mapping::new());
            }
        });
    }
}

/// `<project>_<key>`, or the key itself for what is made elsewhere.
fn name_entries(section: &mut Node, project: &ProjectName) {
    let Kind::Mapping(entries) = &mut section.kind else { return };
    for (key, entry) in entries.iter_mut() {
        if entry.value.is_null() {
            entry.value.kind = Kind::Mapping(Mapping::new());
        }
        let at = entry.key;
        let Kind::Mapping(fields) = &mut entry.value.kind else { continue };
        let external = fields.get("external").and_then(|entry| entry.value.as_scalar());
        let external = external.is_some_and(|scalar| scalar.value == Value::Bool(true));
        let name = if external { key.to_string() } else { format!("{project}_{key}") };
        fields.entry("name".into()).or_insert_with(|| Entry { key: at, value: Node::text(name, at) });
    }
}

/// A path inside the container without `.`, `..` and slashes too many.
pub(crate) fn clean_inside(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut parts: Vec<&str> = Vec::new();
    let rooted = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn default(fields: &mut Mapping, key: &str, make: impl FnOnce(Span) -> Node) {
    let at = fields.values().next().map_or(Span::default(), |entry| entry.key);
    if fields.get(key).is_none_or(|entry| entry.value.is_null()) {
        fields.insert(key.into(), Entry { key: at, value: make(at) });
    }
}

/// Each service with its name and the place of it.
pub(crate) fn for_services(root: &mut Node, mut change: impl FnMut(&str, &mut Mapping, Span)) {
    let Kind::Mapping(fields) = &mut root.kind else { return };
    with(fields, "services", |services| {
        let Kind::Mapping(services) = &mut services.kind else { return };
        for (name, entry) in services.iter_mut() {
            if let Kind::Mapping(fields) = &mut entry.value.kind {
                change(name, fields, entry.key);
            }
        }
    });
}

fn with(fields: &mut Mapping, key: &str, change: impl FnOnce(&mut Node)) {
    if let Some(entry) = fields.get_mut(key) {
        change(&mut entry.value);
    }
}

fn within(fields: &mut Mapping, path: &[&str], change: impl FnOnce(&mut Mapping)) {
    let Some((first, rest)) = path.split_first() else { return change(fields) };
    if let Some(Kind::Mapping(below)) = fields.get_mut(*first).map(|entry| &mut entry.value.kind) {
        within(below, rest, change);
    }
}

fn each(fields: &mut Mapping, key: &str, change: impl FnMut(&mut Node)) {
    if let Some(Kind::Sequence(items)) = fields.get_mut(key).map(|entry| &mut entry.value.kind) {
        items.iter_mut().for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::clean_inside;
    use crate::testing::Files;

    #[test]
    fn what_a_file_implies_is_shown() {
        let text = "services:\n  a: {image: i, links: ['b:x'], network_mode: 'service:c', volumes_from: ['d:ro', 'container:z']}\n  \
                    b: {build: {args: {PASSED: , GONE: , X: 1}}, pull_policy: if_not_present}\n  c: {image: i}\n  d: {image: i}\n";
        let config = Files::new(text).shown();
        let (a, b) = (&config["services"]["a"], &config["services"]["b"]);
        let restart = json!({"condition": "service_started", "required": true, "restart": true});
        let plain = json!({"condition": "service_started", "required": true});
        assert_eq!(a["depends_on"], json!({"b": restart, "c": restart, "d": plain}));
        assert_eq!(a.get("networks"), None);
        assert_eq!(
            b["build"],
            json!({"args": {"PASSED": "through", "X": "1"}, "context": "/p", "dockerfile": "Dockerfile"})
        );
        assert_eq!((&b["pull_policy"], &b["networks"]), (&json!("missing"), &json!({"default": null})));
    }

    #[test]
    fn paths_inside_containers_are_cleaned() {
        for (path, clean) in [("/a//b/./../c/", "/a/c"), ("/", "/"), ("/../a", "/a"), ("a/..", "."), ("", "")] {
            assert_eq!(clean_inside(path), clean);
        }
    }
}
