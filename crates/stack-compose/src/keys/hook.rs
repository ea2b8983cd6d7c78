//! What `pre_start`, `post_start`, `pre_stop` and `develop.watch.exec` run.

use std::collections::BTreeMap;

use stack_model::Hook;

use super::forms::parse_words;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Step;
use crate::shape::common::{BOOL, COMMAND, TEXT, VARIABLES};
use crate::shape::{Field, List, Object, Shape};
use crate::yaml::{Kind, Mapping, Node};

/// A command inside the container.
pub(super) const HOOK: Shape = Shape::Object(
    &Object::new(&[
        Field::new("command", "The program and its arguments.", &COMMAND).always(),
        Field::new("user", "Its user.", &TEXT),
        Field::new("privileged", "With all rights.", &BOOL),
        Field::new("working_dir", "Its working directory.", &TEXT),
        Field::new("environment", "Its variables, over those of the service.", &VARIABLES),
    ])
    .required(&["command"]),
);

/// Several of them, in order.
pub(super) const HOOKS: Shape = Shape::List(List { item: &HOOK, unique: false });

/// A container that runs before those of the service.
pub(super) const STEPS: Shape = Shape::List(List {
    item: &Shape::Object(&Object::new(&[
        Field::new("command", "The program and its arguments.", &COMMAND).always(),
        Field::new("image", "Its image; that of the service by default.", &TEXT),
        Field::new("user", "Its user.", &TEXT),
        Field::new("privileged", "With all rights.", &BOOL),
        Field::new("working_dir", "Its working directory.", &TEXT),
        Field::new("environment", "Its variables, over those of the service.", &VARIABLES),
        Field::new("per_replica", "Once for each container instead of once for the service.", &BOOL),
    ])),
    unique: false,
});

/// The hooks of `post_start` and `pre_stop`.
pub(super) fn parse_hooks(node: &Node, cx: &mut Cx<'_>) -> Vec<Hook> {
    let hooks = items(node).iter().filter_map(|item| {
        let hook = parse_hook(item, cx)?;
        if hook.command.is_empty() {
            let problem = Problem::error(Code::InvalidValue, item.span, "a hook without a `command` does nothing");
            cx.push(problem.help("write `command: [program, argument]`"));
            return None;
        }
        Some(hook)
    });
    hooks.collect()
}

/// The containers of `pre_start`.
pub(super) fn parse_steps(node: &Node, cx: &mut Cx<'_>) -> Vec<Step> {
    let steps = items(node).iter().filter_map(|item| {
        let fields = item.as_mapping()?;
        let image = text(fields, "image", cx);
        Some(Step { span: item.span, hook: parse_hook(item, cx)?, image })
    });
    steps.collect()
}

fn items(node: &Node) -> &[Node] {
    match &node.kind {
        Kind::Sequence(items) => items,
        Kind::Scalar(_) | Kind::Mapping(_) => &[],
    }
}

fn parse_hook(node: &Node, cx: &mut Cx<'_>) -> Option<Hook> {
    let fields = node.as_mapping()?;
    let command = fields.get("command").and_then(|entry| parse_words(&entry.value, "`command`", cx));
    Some(Hook {
        command: command.unwrap_or_default(),
        user: text(fields, "user", cx),
        privileged: fields.get("privileged").and_then(|entry| cx.boolean(&entry.value, "`privileged`")) == Some(true),
        working_dir: text(fields, "working_dir", cx),
        environment: fields.get("environment").map_or_else(BTreeMap::new, |entry| environment(&entry.value, cx)),
    })
}

fn text(fields: &Mapping, key: &str, cx: &mut Cx<'_>) -> Option<String> {
    let text = cx.text(&fields.get(key)?.value, &format!("`{key}`"))?;
    Some(text.value).filter(|text| !text.is_empty())
}

/// A name without a value takes it from the project's variables, as under the service.
fn environment(node: &Node, cx: &mut Cx<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, entry) in node.as_mapping().into_iter().flatten() {
        let Some(value) = cx.any_text(&entry.value, &format!("`{name}` of `environment`")) else { continue };
        if let Some(value) = value.or_else(|| cx.variables.get(name)) {
            variables.insert(name.to_string(), value);
        }
    }
    variables
}
