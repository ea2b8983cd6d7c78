//! Short forms to long ones, texts to what they mean, and every mistake of shape.

use super::{At, Forms, Leaf, List, MapOf, Names, Object, Shape, leaf};
use crate::context::Cx;
use crate::keys::file_name_key;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::text::Span;
use crate::yaml::{Entry, Kind, Mapping, Node, Tag};

/// The long form of `node`; what is wrong is reported and left out.
pub(crate) fn canonical(node: Node, shape: &'static Shape, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    // `!reset` means the key, whatever stands there.
    if node.tag == Tag::Reset {
        return Some(node);
    }
    if cx.lenient && waits(&node, shape) {
        return Some(node);
    }
    match shape {
        Shape::Any => Some(node),
        Shape::Nullable(shape) => {
            if node.is_null() {
                Some(node)
            } else {
                canonical(node, shape, at, cx)
            }
        }
        Shape::Forms(forms) => forms_canonical(node, forms, at, cx),
        Shape::Either(..) => canonical_either(node, shape, at, cx),
        Shape::Leaf(leaf) => leaf_canonical(node, leaf, at, cx),
        Shape::List(list) => list_canonical(node, list, at, cx),
        Shape::Map(map) => map_canonical(node, map, at, cx),
        Shape::Object(object) => object_canonical(node, object, at, cx),
    }
}

fn forms_canonical(node: Node, forms: &'static Forms, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    if forms.late && cx.templates {
        // Only its mistakes are looked for.
        let copy = (forms.expand)(node.clone(), at, cx)?;
        if !cx.is_template(&copy) {
            canonical(copy, forms.long, at, cx)?;
        }
        return Some(node);
    }
    let tag = node.tag;
    let written = (cx.lenient && !forms.at_once && !is_list(&node)).then(|| node.clone());
    let node = match written {
        // It may be replaced before anyone takes it.
        Some(written) => match cx.tentatively(|cx| (forms.expand)(node, at, cx)) {
            Some(node) => node,
            None => return Some(written),
        },
        None => (forms.expand)(node, at, cx)?,
    };
    // What interpolation has not filled in yet has no long form.
    if cx.is_template(&node) && !forms.at_once && !matches!(forms.long.long(), Shape::Leaf(_)) {
        return Some(node);
    }
    if cx.lenient && forms.at_once && waits(&node, forms.long.long()) {
        return strictly(cx, |cx| canonical(node, forms.long, at, cx));
    }
    canonical(Node { tag, ..node }, forms.long, at, cx)
}

fn leaf_canonical(node: Node, leaf: &Leaf, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    if cx.lenient && !leaf.is_cast_of(&node) {
        let typed = cx.tentatively(|cx| leaf.canonical(node.clone(), at, cx));
        return Some(typed.unwrap_or(node));
    }
    let written = cx.templates.then(|| node.clone());
    let typed = leaf.canonical(node, at, cx)?;
    // This one becomes a text at once.
    let is_text = matches!(leaf, Leaf::TextOrBool);
    Some(match written {
        Some(node) if is_text => leaf::as_text(node),
        Some(node) => node,
        None => typed,
    })
}

fn list_canonical(node: Node, list: &'static List, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let Node { kind: Kind::Sequence(items), span, tag } = node else {
        cx.wrong_type(&node, &at.to_string(), "a list");
        return None;
    };
    let item_at = at.item();
    let each = |item: Node| {
        // A short form among long ones waits for interpolation.
        if cx.templates && item.as_scalar().is_some() && matches!(list.item, Shape::Object(_)) {
            return Some(item);
        }
        // What must differ is compared at once.
        if list.unique {
            return strictly(cx, |cx| canonical(item, list.item, &item_at, cx));
        }
        canonical(item, list.item, &item_at, cx)
    };
    let items = items.into_iter().filter_map(each).collect();
    Some(Node { tag, ..Node::sequence(items, span) })
}

fn map_canonical(node: Node, map: &'static MapOf, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let Node { kind: Kind::Mapping(mapping), span, tag } = node else {
        cx.wrong_type(&node, &at.to_string(), "a mapping");
        return None;
    };
    let mut result = Mapping::with_capacity(mapping.len());
    for (name, entry) in mapping {
        if map.keys == Names::Resource && !cx.lenient {
            check_name(&name, entry.key, at, cx);
        }
        let at = at.named(map.entry, &name);
        let entry = field(entry, map.value, &at, cx);
        result.insert(name, entry);
    }
    Some(Node { kind: Kind::Mapping(result), span, tag })
}

/// Names of services and of what they use.
pub(crate) fn check_name(name: &str, place: Span, at: &At<'_>, cx: &mut Cx<'_>) {
    if !file_name_key(name) {
        let problem = Problem::error(Code::InvalidName, place, format!("`{name}` is not a name for an entry of {at}"));
        let problem = problem.reason("it must match `[a-zA-Z0-9._-]+`");
        cx.push(problem.help("use letters, digits, `.`, `_` and `-` only; variables are not filled in there"));
    }
}

/// Whether a value of a file that others extend is left as it is written. Docker compose judges only what is taken from
/// there, and only when it is: here what it has to understand before, to fill in variables and to merge, is judged.
fn waits(node: &Node, shape: &Shape) -> bool {
    match shape {
        Shape::List(_) => !is_list(node),
        Shape::Map(_) | Shape::Object(_) => node.as_mapping().is_none(),
        Shape::Any | Shape::Leaf(_) | Shape::Nullable(_) | Shape::Forms(_) | Shape::Either(..) => false,
    }
}

fn strictly<T>(cx: &mut Cx<'_>, judge: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let lenient = std::mem::replace(&mut cx.lenient, false);
    let judged = judge(cx);
    cx.lenient = lenient;
    judged
}

fn is_list(node: &Node) -> bool {
    matches!(node.kind, Kind::Sequence(_))
}

fn canonical_either(node: Node, shape: &'static Shape, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let Shape::Either(single, collection) = shape else { return Some(node) };
    let shape = if node.as_scalar().is_some() { single } else { collection };
    canonical(node, shape, at, cx)
}

fn object_canonical(node: Node, object: &'static Object, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let Node { kind: Kind::Mapping(mapping), span, tag } = node else {
        cx.wrong_type(&node, &at.to_string(), "a mapping");
        return None;
    };
    let mut result = Mapping::with_capacity(mapping.len());
    for (name, entry) in mapping {
        if object.extensions && name.starts_with("x-") {
            result.insert(name, entry);
            continue;
        }
        let Some(known) = object.field(&name) else {
            if cx.lenient {
                result.insert(name, entry);
            } else if entry.value.tag != Tag::Reset {
                unknown_key(&name, &entry, object, at, cx);
            }
            continue;
        };
        let entry = field(entry, known.shape, &at.key(&name), cx);
        result.insert(name, entry);
    }
    Some(Node { kind: Kind::Mapping(result), span, tag })
}

/// A null may be laid over something, where it says nothing: it is judged when everything is merged.
fn field(entry: Entry, shape: &'static Shape, at: &At<'_>, cx: &mut Cx<'_>) -> Entry {
    if entry.value.is_null() {
        return entry;
    }
    let Entry { key, value } = entry;
    let span = value.span;
    let broken = || Node { tag: Tag::Broken, ..Node::null(span) };
    Entry { key, value: canonical(value, shape, at, cx).unwrap_or_else(broken) }
}

fn unknown_key(name: &str, entry: &Entry, object: &Object, at: &At<'_>, cx: &mut Cx<'_>) {
    let problem = if object.ignores {
        let message = format!("unknown key `{name}` in {at}: it has no effect");
        Problem::warning(Code::UnknownKey, entry.key, message)
    } else {
        Problem::error(Code::UnknownKey, entry.key, format!("unknown key `{name}` in {at}"))
    };
    let place = at.to_string();
    if let Some(help) = misplaced(name, &place) {
        return cx.push(problem.help(help));
    }
    let synonym = SYNONYMS.iter().find(|(word, _)| *word == name).map(|(_, key)| *key);
    let near = nearest(name, object.fields.iter().map(|field| field.name));
    let near = near.or(synonym.filter(|key| object.field(key).is_some()));
    if near.is_some() {
        return cx.push(problem.nearest(entry.key, near));
    }
    let section = ["services", "networks", "volumes", "secrets", "configs"];
    cx.push(if section.iter().any(|section| place == format!("service `{section}`")) {
        problem.help("is this the top-level key? Then it stands at the beginning of the line, not below `services:`")
    } else if place == "the project" && entry.value.as_mapping().is_some() {
        problem.help("a service stands under `services:`; keys of your own begin with `x-`")
    } else if object.fields.len() <= FEW_KEYS {
        let keys = object.fields.iter().map(|field| format!("`{}`", field.name)).collect::<Vec<_>>().join(", ");
        problem.help(format!("the keys here are {keys}"))
    } else {
        problem.help("remove it, or let it begin with `x-` if it is your own")
    });
}

/// So many keys can be listed in a message.
const FEW_KEYS: usize = 12;

/// Words for the same from elsewhere.
const SYNONYMS: [(&str, &str); 11] = [
    ("src", "source"),
    ("dst", "target"),
    ("dest", "target"),
    ("destination", "target"),
    ("host", "published"),
    ("container", "target"),
    ("path", "file"),
    ("readonly", "read_only"),
    ("retry", "retries"),
    ("value", "content"),
    ("cmd", "command"),
];

/// What people know from elsewhere, and where it stands in the Compose language.
fn misplaced(name: &str, place: &str) -> Option<&'static str> {
    let service = place.starts_with("service ");
    Some(match name {
        "replicas" if service => "write it under `deploy:`, or use `scale`",
        "restart_policy" | "resources" | "placement" if service => "write it under `deploy:`",
        "limits" | "reservations" if service => "write it under `deploy: resources:`",
        "memory" if service => "write `mem_limit`, or `memory` under `deploy: resources: limits:`",
        "cpu" if service => "write `cpus`",
        "context" | "dockerfile" | "args" if service => "write it under `build:`",
        "test" | "interval" | "timeout" | "retries" if service => "write it under `healthcheck:`",
        "network" if service => "write `networks:` with a list",
        "env" if service => "write `environment:`",
        "net" if service => "write `network_mode`",
        "log_driver" | "log_opt" if service => "write it under `logging:`",
        "volume_driver" if service => "write `driver` under the volume in the top-level `volumes:`",
        "max-size" | "max-file" if place == "`logging`" => "write it under `options:`",
        "image" | "build" | "ports" | "command" | "environment" if place == "the project" => {
            "this belongs to a service: write it under `services:` and the name of a service, indented"
        }
        _ => return None,
    })
}
