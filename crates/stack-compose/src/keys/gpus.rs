//! `gpus`: graphics processors, `all` or a list.

use super::ServiceKey;
use crate::context::Cx;
use crate::shape::common::{LABELS, TEXT, TEXTS};
use crate::shape::{At, Field, Forms, Leaf, List, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("gpus", "Graphics processors: `all` or a list.", &GPUS);

const GPUS: Shape = Shape::Forms(Forms::new(&REQUESTS, &[&ALL], expand).at_once());
const ALL: Shape = Shape::Leaf(Leaf::Choice(&["all"]));

/// Requests for devices.
pub(super) const REQUESTS: Shape = Shape::List(List { item: &REQUEST, unique: false });
const REQUEST: Shape = Shape::Object(&Object::new(&[
    Field::new("capabilities", "What the device must be able to do, such as `gpu`.", &TEXTS),
    Field::new("driver", "Driver, such as `nvidia`.", &TEXT),
    Field::new("count", "How many, or `all`.", &Shape::Leaf(Leaf::Devices)),
    Field::new("device_ids", "Which ones.", &TEXTS),
    Field::new("options", "Options of the driver.", &LABELS),
]));

#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    let all = node.as_text() == Some("all");
    Some(if all { Node::sequence(vec![Node::mapping([("count", node)], span)], span) } else { node })
}
