//! `extra_hosts`: further names of hosts, as `name=address`.

use std::collections::HashMap;

use stack_model::{ExtraHost, HostAddress};

use super::ServiceKey;
use super::forms::itself;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::{TEXT, TEXTS, free};
use crate::shape::{At, Forms, List, Merge, Shape};
use crate::text::Span;
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey = ServiceKey::new("extra_hosts", "Further names of hosts: `name=address`.", &HOSTS)
    .merge(Merge::Unique(itself))
    .parse(parse)
    .lower(|from, to| to.container.extra_hosts.clone_from(&from.service.extra_hosts));

/// What stands for the host, whatever its address is.
const GATEWAY: &str = "host-gateway";

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for host in cx.texts(node, "`extra_hosts`").unwrap_or_default() {
        let (name, address) = host.value.split_once('=').unwrap_or((&host.value, ""));
        let known = match address {
            GATEWAY => Some(HostAddress::Gateway),
            address => address.parse().map(HostAddress::Ip).ok(),
        };
        match known {
            Some(address) => service.extra_hosts.push(ExtraHost { name: name.to_owned(), address }),
            None => {
                let message = format!("`{address}` is not an address");
                let problem = Problem::error(Code::InvalidValue, host.span, message);
                let problem = problem.help("write an address, or `host-gateway` for this host").when_run();
                cx.push(problem);
            }
        }
    }
}

pub(super) const HOSTS: Shape = Shape::Forms(Forms::new(&LIST, &[&BY_NAME], expand).late());
const LIST: Shape = Shape::List(List { item: &TEXT, unique: false });
const BY_NAME: Shape = free(&Shape::Either(&TEXT, &TEXTS));

fn expand(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    let tag = node.tag;
    let mut hosts = Vec::new();
    match node.kind {
        Kind::Mapping(entries) => {
            for (name, entry) in entries {
                check_name(&name, entry.key, cx);
                if entry.value.is_null() {
                    let problem =
                        Problem::error(Code::WrongType, entry.key, format!("`{name}` of {at} has no address"));
                    cx.push(problem.help("write one, or `host-gateway` for this host"));
                    continue;
                }
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
            let mut seen: HashMap<String, Span> = HashMap::new();
            for item in items {
                let first = item.as_text().and_then(|text| seen.insert(text.to_owned(), item.span));
                if let Some(first) = first {
                    let message = format!("{at} has `{}` twice", item.as_text().unwrap_or_default());
                    let problem = Problem::error(Code::RepeatedItem, item.span, message);
                    cx.push(problem.also(first, "first written here").help("remove one of them"));
                }
                hosts.extend(several(item, cx));
            }
        }
        Kind::Scalar(_) => return Some(node),
    }
    Some(Node { tag, ..Node::sequence(hosts, span) })
}

/// `name=address` or `name:address`, or several addresses with commas between them.
fn several(item: Node, cx: &mut Cx<'_>) -> Vec<Node> {
    let Some(text) = item.as_text().filter(|_| !cx.is_template(&item)) else { return vec![item] };
    let Some((name, addresses)) = text.split_once('=').or_else(|| text.split_once(':')) else {
        let problem = Problem::error(Code::InvalidValue, item.span, format!("`{text}` has no address"));
        cx.push(problem.help("write `name=address`"));
        return Vec::new();
    };
    check_name(name, item.part(0..name.len()), cx);
    addresses.split(',').map(|address| Node::text(format!("{name}={}", bare(address)), item.span)).collect()
}

fn check_name(name: &str, span: Span, cx: &mut Cx<'_>) {
    if name.is_empty() || name.contains([':', '=']) {
        let problem = Problem::error(Code::InvalidName, span, format!("`{name}` is not the name of a host"));
        cx.push(problem.help("write `name=address`"));
    }
}

/// An address of IPv6 without its brackets.
fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use stack_model::HostAddress;

    use crate::testing::{errors, service};

    #[test]
    fn addresses_and_the_gateway_are_lowered() {
        let hosts = service("extra_hosts: ['db:10.0.0.7', 'six=[fd00::1]', 'host.docker.internal:host-gateway']");
        // In the order that `config` shows.
        let hosts: Vec<_> = hosts.container.extra_hosts.iter().map(|host| (host.name.as_str(), host.address)).collect();
        let ip = |text: &str| HostAddress::Ip(text.parse().unwrap());
        let expected = [("db", ip("10.0.0.7")), ("host.docker.internal", HostAddress::Gateway), ("six", ip("fd00::1"))];
        assert_eq!(hosts, expected);
    }

    #[test]
    fn a_name_is_no_address() {
        assert_eq!(
            errors("extra_hosts: ['db:other']"),
            ["4:19 `other` is not an address; write an address, or `host-gateway` for this host"]
        );
    }
}
