//! `extends`: another service that this one begins from. `crate::extends` does it.

use super::ServiceKey;
use crate::context::Cx;
use crate::shape::common::TEXT;
use crate::shape::{At, Field, Forms, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("extends", "Another service that this one begins from.", &EXTENDS);

const EXTENDS: Shape = Shape::Forms(Forms::new(&LONG, &[&TEXT], expand).at_once());
const LONG: Shape = Shape::Object(
    &Object::new(&[
        Field::new("file", "File with the other service; this one by default.", &TEXT),
        Field::new("service", "Name of the other service.", &TEXT),
    ])
    .required(&["service"])
    .closed(),
);

#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    Some(if node.as_text().is_some() { Node::mapping([("service", node)], span) } else { node })
}
