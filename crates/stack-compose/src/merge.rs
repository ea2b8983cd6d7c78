//! Several files to one: rules 1.8 of the Compose language, on canonical trees.

use std::collections::HashMap;

use crate::keys::{Merge, service_key};
use crate::report::{Code, Problem, Report};
use crate::yaml::{Entry, Kind, Mapping, Node, Tag};

/// Subnets of a network are told apart by their address.
const NETWORK: Merge = Merge::Fields(&[(
    "ipam",
    Merge::Fields(&[("config", Merge::Unique(|node| node.get("subnet").and_then(Node::as_text).map(str::to_owned)))]),
)]);

/// Lays `over` on top of `base`: the root of one file over that of the files before it.
pub(crate) fn merge_root(base: &mut Node, over: Node, report: &mut Report) {
    let over_span = over.span;
    match (&mut base.kind, over.kind) {
        (Kind::Mapping(base), Kind::Mapping(over)) => merge_mapping(base, over, report, |name| match name {
            "services" => Rule::Services,
            "networks" => Rule::Plain(Merge::Each(&NETWORK)),
            _ => Rule::Plain(Merge::Deep),
        }),
        _ => report.push(types_differ(over_span, base)),
    }
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
    node.tag = Tag::None;
}

enum Rule {
    /// The mapping of all services.
    Services,
    /// One service: each key has its own rule.
    Service,
    Plain(Merge),
}

fn merge_mapping(base: &mut Mapping, over: Mapping, report: &mut Report, rule: impl Fn(&str) -> Rule) {
    for (name, entry) in over {
        match base.get_mut(&name) {
            None => {
                base.insert(name, entry);
            }
            Some(old) => merge_entry(old, entry, rule(&name), report),
        }
    }
}

fn merge_entry(base: &mut Entry, over: Entry, rule: Rule, report: &mut Report) {
    let replaces = over.value.tag != Tag::None || base.value.is_null();
    let rule = match rule {
        Rule::Plain(Merge::Replace) => Rule::Plain(Merge::Replace),
        _ if replaces => Rule::Plain(Merge::Replace),
        // A null says nothing new.
        _ if over.value.is_null() => return,
        rule => rule,
    };
    let over_span = over.value.span;
    match (rule, &mut base.value.kind, over.value.kind) {
        (Rule::Plain(Merge::Replace), _, kind) => {
            *base = Entry { key: over.key, value: Node { kind, span: over_span, tag: over.value.tag } };
        }
        (Rule::Services, Kind::Mapping(base), Kind::Mapping(over)) => {
            merge_mapping(base, over, report, |_| Rule::Service);
        }
        (Rule::Service, Kind::Mapping(base), Kind::Mapping(over)) => merge_mapping(base, over, report, |name| {
            Rule::Plain(service_key(name).map_or(Merge::Deep, |key| key.merge))
        }),
        (Rule::Plain(rule), Kind::Mapping(base), Kind::Mapping(over)) => {
            merge_mapping(base, over, report, |name| Rule::Plain(below(rule, name)));
        }
        (Rule::Plain(Merge::Unique(identity)), Kind::Sequence(base), Kind::Sequence(over)) => {
            merge_unique(base, over, identity);
        }
        (Rule::Plain(_), Kind::Sequence(base), Kind::Sequence(over)) => base.extend(over),
        (Rule::Plain(_), Kind::Scalar(_), kind @ Kind::Scalar(_)) => {
            *base = Entry { key: over.key, value: Node { kind, span: over_span, tag: Tag::None } };
        }
        _ => report.push(types_differ(over_span, &base.value)),
    }
}

fn below(rule: Merge, name: &str) -> Merge {
    match rule {
        Merge::Fields(fields) => fields.iter().find(|(field, _)| *field == name).map_or(Merge::Deep, |(_, rule)| *rule),
        Merge::Each(rule) => *rule,
        Merge::Deep | Merge::Replace | Merge::Unique(_) => Merge::Deep,
    }
}

fn merge_unique(base: &mut Vec<Node>, over: Vec<Node>, identity: fn(&Node) -> Option<String>) {
    let places = base.iter().enumerate().filter_map(|(index, node)| Some((identity(node)?, index)));
    let places: HashMap<String, usize> = places.collect();
    for node in over {
        match identity(&node).and_then(|identity| places.get(&identity)) {
            Some(index) => base[*index] = node,
            None => base.push(node),
        }
    }
}

fn types_differ(over: crate::text::Span, base: &Node) -> Problem {
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
        assert_eq!(messages, ["compose.override.yaml:2:16: this cannot be merged over a list"]);
    }
}
