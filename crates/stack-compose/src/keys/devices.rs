//! `devices`: devices of the host, `HOST[:CONTAINER[:rwm]]`.

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::shape::common::{TEXT, TEXTS};
use crate::shape::{At, Field, Forms, List, Merge, Object, Shape};
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("devices", "Devices of the host: `HOST[:CONTAINER[:rwm]]`.", &DEVICES)
        .merge(Merge::Unique(|node| node.get("target").and_then(Node::as_text).map(str::to_owned)));

const DEVICES: Shape = Shape::Forms(Forms { long: &LIST, short: &[&TEXTS], expand });
const LIST: Shape = Shape::List(List { item: &DEVICE, unique: false });
const DEVICE: Shape = Shape::Object(
    &Object::new(&[
        Field::new("source", "Path on the host.", &TEXT),
        Field::new("target", "Path in the container; the same by default.", &TEXT),
        Field::new("permissions", "Some of `r`, `w` and `m`; all by default.", &TEXT),
    ])
    .required(&["source"]),
);

fn expand(mut node: Node, _: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    if let Kind::Sequence(items) = &mut node.kind {
        for item in items.iter_mut().filter(|item| item.as_text().is_some()) {
            *item = device(item, cx)?;
        }
    }
    Some(node)
}

fn device(item: &Node, cx: &mut Cx<'_>) -> Option<Node> {
    let text = item.as_text().unwrap_or_default();
    let mut parts = Vec::new();
    let mut at = 0;
    for part in text.split(':') {
        parts.push(item.slice(at..at + part.len()));
        at += part.len() + 1;
    }
    let all = || Node::text("rwm", item.span);
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (source.clone(), source.clone(), all()),
        [source, target] => (source.clone(), target.clone(), all()),
        [source, target, permissions] => (source.clone(), target.clone(), permissions.clone()),
        _ => {
            let message = format!("`{text}` has too many colons for a device");
            let problem = Problem::error(Code::InvalidValue, item.span, message);
            cx.push(problem.help("write `host:container:rwm`, or the long form"));
            return None;
        }
    };
    Some(Node::mapping([("source", source), ("target", target), ("permissions", permissions)], item.span))
}
