//! `extra_hosts`: further names of hosts, as `name=address`.

use super::ServiceKey;
use super::forms::itself;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::shape::common::{TEXT, TEXTS, free};
use crate::shape::{At, Forms, List, Merge, Shape};
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("extra_hosts", "Further names of hosts: `name=address`.", &HOSTS).merge(Merge::Unique(itself));

pub(super) const HOSTS: Shape = Shape::Forms(Forms { long: &LIST, short: &[&BY_NAME], expand });
const LIST: Shape = Shape::List(List { item: &TEXT, unique: false });
const BY_NAME: Shape = free(&Shape::Either(&TEXT, &TEXTS));

fn expand(node: Node, _: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    let mut hosts = Vec::new();
    match node.kind {
        Kind::Mapping(entries) => {
            for (name, entry) in entries {
                let addresses = match entry.value.kind {
                    Kind::Sequence(items) => items,
                    _ => vec![entry.value],
                };
                for address in addresses {
                    let text = address.as_scalar().map(|scalar| scalar.value.printed(&scalar.text)).unwrap_or_default();
                    hosts.push(Node::text(format!("{name}={}", bare(&text)), address.span));
                }
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                hosts.extend(one(item, cx));
            }
        }
        Kind::Scalar(_) => return Some(node),
    }
    Some(Node::sequence(hosts, span))
}

/// `name=address` or `name:address`.
fn one(item: Node, cx: &mut Cx<'_>) -> Option<Node> {
    let Some(text) = item.as_text().filter(|_| !cx.is_template(&item)) else { return Some(item) };
    let Some((name, address)) = text.split_once('=').or_else(|| text.split_once(':')) else {
        let problem = Problem::error(Code::InvalidValue, item.span, format!("`{text}` has no address"));
        cx.push(problem.help("write `name=address`"));
        return None;
    };
    Some(Node::text(format!("{}={}", name.trim(), bare(address.trim())), item.span))
}

/// An address of IPv6 without its brackets.
fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}
