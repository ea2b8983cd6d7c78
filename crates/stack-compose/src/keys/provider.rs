//! `provider`: a program outside the project that makes the service.

use super::ServiceKey;
use crate::context::Cx;
use crate::shape::common::{SCALAR, TEXT, free};
use crate::shape::{At, Field, Forms, List, Object, Shape};
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("provider", "A program outside the project that makes the service.", &PROVIDER);

const PROVIDER: Shape = Shape::Object(
    &Object::new(&[Field::new("type", "The program.", &TEXT), Field::new("options", "Its options.", &OPTIONS)])
        .required(&["type"]),
);
const OPTIONS: Shape = free(&VALUES);
const VALUES: Shape = Shape::Forms(Forms::new(&LIST, &[&SCALAR], expand).late());
const LIST: Shape = Shape::List(List { item: &SCALAR, unique: false });

#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    Some(if matches!(node.kind, Kind::Scalar(_)) { Node::sequence(vec![node], span) } else { node })
}
