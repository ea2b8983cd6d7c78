//! Several files to one: rules 1.8 of the Compose language, on canonical trees.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Merge, Shape};
use crate::context::Cx;
use crate::keys::forms::before_equals;
use crate::report::{Code, Problem, Report};
use crate::text::{FileId, Span};
use crate::yaml::{Entry, Kind, Mapping, Node, Tag, Value};

/// Which value stood at a place before another file said something else, by the place of the later one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(HashMap<(FileId, u32), Span>);

impl Trail {
    fn note(&mut self, over: Span, base: Span) {
        if over.is_somewhere() && base.is_somewhere() && over != base {
            self.0.insert((over.file, over.start), base);
        }
    }

    /// The places that a value replaced, the latest first.
    pub(crate) fn before(&self, span: Span) -> Vec<Span> {
        let mut places = Vec::new();
        let mut at = span;
        // A place is replaced by one in a later file; the limit only guards against a mistake in that.
        while let Some(before) = self.0.get(&(at.file, at.start)).filter(|_| places.len() < MAX_TRAIL) {
            places.push(*before);
            at = *before;
        }
        places
    }
}

const MAX_TRAIL: usize = 100;

/// What a merge writes to.
#[derive(Debug)]
struct Merging<'a> {
    report: &'a mut Report,
    trail: &'a mut Trail,
    /// Some short forms are left as they are written.
    templates: bool,
}

/// Lays `over` on top of `base`, which have one shape.
pub(crate) fn merge(base: &mut Node, over: Node, shape: &'static Shape, cx: &mut Cx<'_>) {
    let mut merging = Merging { report: &mut cx.report, trail: &mut cx.trail, templates: cx.templates };
    value(base, over, shape, Merge::Deep, &mut merging);
}

fn value(base: &mut Node, over: Node, shape: &'static Shape, rule: Merge, merging: &mut Merging<'_>) {
    if over.tag == Tag::Agreeing && !base.is_null() && base.as_text() != over.as_text() {
        let problem = Problem::error(Code::ConflictingKeys, over.span, "an earlier file has another name for this");
        let problem = problem.also(base.span, "the other name");
        merging.report.push(problem.help("write `external: true` and one `name`"));
    }
    if over.tag != Tag::None || base.is_null() || matches!(rule, Merge::Replace) {
        return replace(base, over, merging);
    }
    // A null says nothing new.
    if over.is_null() {
        return;
    }
    if matches!(rule, Merge::Whole) {
        return replace(base, over, merging);
    }
    if let Merge::SameKey(key) = rule
        && differs(base, &over, key)
    {
        return replace(base, over, merging);
    }
    if let Shape::Forms(forms) = shape
        && forms.late
        && merging.templates
    {
        append_as_list(base, over);
        return;
    }
    let over_span = over.span;
    let shape = shape.of(base);
    match (&mut base.kind, over.kind) {
        (Kind::Mapping(base), Kind::Mapping(over)) => mapping(base, over, shape, merging),
        (Kind::Sequence(base), Kind::Sequence(over)) => sequence(base, over, (shape, rule), merging),
        (Kind::Scalar(_), kind @ (Kind::Scalar(_) | Kind::Mapping(_) | Kind::Sequence(_))) => {
            replace(base, Node { kind, span: over_span, tag: Tag::None }, merging);
        }
        _ => merging.report.push(types_differ(over_span, base)),
    }
}

/// Forms that wait for interpolation have the list in common.
fn append_as_list(base: &mut Node, over: Node) {
    let mut items = as_list(std::mem::replace(base, Node::null(over.span)));
    items.extend(as_list(over));
    *base = Node::sequence(items, base.span);
}

fn as_list(node: Node) -> Vec<Node> {
    let span = node.span;
    match node.kind {
        Kind::Sequence(items) => items,
        Kind::Scalar(scalar) => vec![Node { kind: Kind::Scalar(scalar), span, tag: Tag::None }],
        Kind::Mapping(entries) => {
            let pair = |(name, entry): (Arc<str>, Entry)| match entry.value.as_scalar() {
                Some(scalar) if scalar.value != Value::Null => {
                    Node::text(format!("{name}={}", scalar.value.printed(&scalar.text)), entry.value.span)
                }
                _ => Node::text(name, entry.key),
            };
            let mut items: Vec<Node> = entries.into_iter().map(pair).collect();
            items.sort_by(|one, other| one.as_text().cmp(&other.as_text()));
            items
        }
    }
}

fn replace(base: &mut Node, over: Node, merging: &mut Merging<'_>) {
    merging.trail.note(over.span, base.span);
    *base = over;
}

/// Both say something under `key`, and not the same.
fn differs(base: &Node, over: &Node, key: &str) -> bool {
    let text = |node: &Node| node.get(key).and_then(Node::as_text).map(str::to_owned);
    text(base).zip(text(over)).is_some_and(|(base, over)| base != over)
}

fn mapping(base: &mut Mapping, over: Mapping, shape: &'static Shape, merging: &mut Merging<'_>) {
    for (name, entry) in over {
        let Some(old) = base.get_mut(&name) else {
            base.insert(name, entry);
            continue;
        };
        let (shape, rule) = match shape {
            Shape::Object(object) => match object.field(&name) {
                Some(field) => (field.shape, field.merge),
                // `x-*`
                None => (&Shape::Any, Merge::Deep),
            },
            Shape::Map(map) => (map.value, map.merge),
            _ => (&Shape::Any, Merge::Deep),
        };
        let Entry { key, value: over } = entry;
        if !over.is_null() {
            old.key = key;
        }
        value(&mut old.value, over, shape, rule, merging);
    }
}

fn sequence(base: &mut Vec<Node>, over: Vec<Node>, (shape, rule): (&'static Shape, Merge), merging: &mut Merging<'_>) {
    let Merge::ByKey(identity) = rule else {
        base.extend(over);
        return;
    };
    let item = if let Shape::List(list) = shape { list.item } else { &Shape::Any };
    let before = std::mem::take(base);
    for node in over {
        let key = identity(&node);
        match before.iter().find(|old| key.is_some() && identity(old) == key) {
            Some(old) => {
                let mut old = old.clone();
                value(&mut old, node, item, Merge::Deep, merging);
                base.push(old);
            }
            None => base.push(node),
        }
    }
}

/// In lists of things with an identity a later one takes the place of an earlier one.
pub(crate) fn unify(node: &mut Node, shape: &'static Shape, rule: Merge, trail: &mut Trail) {
    match (shape.of(node), &mut node.kind) {
        (Shape::List(list), Kind::Sequence(items)) => {
            if let Merge::Unique(identity) = rule {
                unify_items(items, identity, trail);
            }
            if matches!(list.item, Shape::Object(_)) {
                items.iter_mut().for_each(|item| unify(item, list.item, Merge::Deep, trail));
            }
        }
        // A list that waits for interpolation, of what becomes a mapping.
        (Shape::Map(_), Kind::Sequence(items)) => unify_items(items, before_equals, trail),
        // Leaves have nothing below them: most mappings are of texts.
        (Shape::Map(map), Kind::Mapping(entries)) if !matches!(map.value.long(), Shape::Leaf(_)) => {
            entries.values_mut().for_each(|entry| unify(&mut entry.value, map.value, map.merge, trail));
        }
        (Shape::Object(object), Kind::Mapping(entries)) => {
            for (name, entry) in entries.iter_mut() {
                if matches!(entry.value.kind, Kind::Scalar(_)) {
                    continue;
                }
                if let Some(field) = object.field(name) {
                    unify(&mut entry.value, field.shape, field.merge, trail);
                }
            }
        }
        _ => {}
    }
}

fn unify_items(items: &mut Vec<Node>, identity: fn(&Node) -> Option<String>, trail: &mut Trail) {
    if items.len() < 2 {
        return;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut unique: Vec<Node> = Vec::with_capacity(items.len());
    for node in std::mem::take(items) {
        let Some(key) = identity(&node) else {
            unique.push(node);
            continue;
        };
        match places.get(&key) {
            Some(place) => {
                trail.note(node.span, unique[*place].span);
                unique[*place] = node;
            }
            None => {
                places.insert(key, unique.len());
                unique.push(node);
            }
        }
    }
    *items = unique;
}

/// Takes `!reset` keys away and forgets the tags: what is left is the result.
pub(crate) fn settle(node: &mut Node) {
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(settle);
        }
        Kind::Mapping(mapping) => {
            mapping.retain(|_, entry| entry.value.tag != Tag::Reset);
            mapping.values_mut().for_each(|entry| settle(&mut entry.value));
        }
    }
    if node.tag != Tag::Broken {
        node.tag = Tag::None;
    }
}

fn types_differ(over: Span, base: &Node) -> Problem {
    let word = |kind: &Kind| match kind {
        Kind::Scalar(_) => "a single value",
        Kind::Sequence(_) => "a list",
        Kind::Mapping(_) => "a mapping",
    };
    let message = format!("this cannot be merged over {}", word(&base.kind));
    let problem = Problem::error(Code::MergeTypes, over, message).also(base.span, "the value before");
    problem.help("use the same form in both files, or `!override` to replace it")
}

#[cfg(test)]
mod tests {
    use crate::testing::Files;

    fn rendered(over: &str) -> serde_json::Value {
        let base = "services:\n  a:\n    image: i\n    command: [x]\n    environment: {A: 1, B: 1}\n    labels: [l=1]\n    \
                    cap_add: [NET_RAW]\n    mem_limit: 1g\nnetworks:\n  default: {internal: true}\n";
        Files::new(base).with("compose.override.yaml", over).project().to_json()
    }

    #[test]
    fn mappings_merge_lists_append_and_leaves_are_replaced() {
        let config = rendered(
            "services:\n  a:\n    image: j\n    command: [y]\n    environment: ['B=2', 'C=3']\n    labels: {m: 2}\n    \
             cap_add: [NET_RAW, SYS_TIME]\n",
        );
        let service = &config["services"]["a"];
        assert_eq!(service["image"], "j");
        assert_eq!(service["command"], serde_json::json!(["y"]));
        assert_eq!(service["environment"], serde_json::json!({"A": "1", "B": "2", "C": "3"}));
        assert_eq!(service["labels"], serde_json::json!({"l": "1", "m": "2"}));
        assert_eq!(service["cap_add"], serde_json::json!(["NET_RAW", "SYS_TIME"]));
        assert_eq!(service["mem_limit"], "1073741824");
        assert_eq!(config["networks"]["default"]["internal"], true);
    }

    #[test]
    fn null_resets_only_commands_and_tags_do_what_they_say() {
        let config = rendered(
            "services:\n  a:\n    command: null\n    labels: null\n    environment: !override {Z: 1}\n    cap_add: \
             !reset []\n    mem_limit: !reset null\n",
        );
        let service = &config["services"]["a"];
        assert_eq!(service["command"], serde_json::Value::Null);
        assert_eq!(service["labels"], serde_json::json!({"l": "1"}));
        assert_eq!(service["environment"], serde_json::json!({"Z": "1"}));
        assert_eq!(service.get("cap_add"), None);
        assert_eq!(service.get("mem_limit"), None);
    }

    #[test]
    fn documents_of_one_file_merge_as_files_do() {
        let text = "services:\n  a: {image: i}\n---\nservices:\n  a: {image: j}\n  b: {image: k}\n";
        assert_eq!(Files::new(text).project().images(), ["j", "k"]);
    }

    #[test]
    fn a_file_of_comments_adds_nothing_and_alone_is_an_error() {
        let files = Files::new("services: {a: {image: i}}\n").with("compose.override.yaml", "# nothing\n");
        assert_eq!(files.project().services(), ["a"]);
        assert_eq!(
            Files::new("# nothing\n").errors(),
            ["1:1 /p/compose.yaml is empty; write at least `services:` with one service"]
        );
    }

    #[test]
    fn different_forms_do_not_merge() {
        let files = Files::new("services:\n  a: {image: i, cap_add: [NET_RAW]}\n");
        let loaded = files.with("compose.override.yaml", "services:\n  a: {cap_add: {x: y}}\n").load();
        let messages: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(messages, ["compose.override.yaml:2:16: `cap_add` must be a list, not a mapping"]);
    }
}
