//! `dns`: name servers.

use super::ServiceKey;
use super::forms::{before_equals, one_or_list};
use crate::context::Cx;
use crate::shape::common::{TEXT, TEXTS};
use crate::shape::{At, Forms, Merge, Shape};
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("dns", "Name servers, instead of those of the host.", &DNS).merge(Merge::Unique(before_equals));

const DNS: Shape = Shape::Forms(Forms { long: &TEXTS, short: &[&TEXT], expand });

/// A variable that is not set gives an empty text, which is no server.
fn expand(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let mut list = one_or_list(node, at, cx)?;
    if let Kind::Sequence(items) = &mut list.kind {
        items.retain(|item| !item.is_null() && item.as_text() != Some(""));
    }
    Some(list)
}
