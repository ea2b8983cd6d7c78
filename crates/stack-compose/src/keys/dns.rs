//! `dns`: name servers.

use super::ServiceKey;
use super::forms::{before_equals, one_or_list};
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::{TEXT, TEXTS};
use crate::shape::{At, Forms, Merge, Shape};
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey = ServiceKey::new("dns", "Name servers, instead of those of the host.", &DNS)
    .merge(Merge::Unique(before_equals))
    .parse(parse)
    .lower(|from, to| to.container.dns.servers.clone_from(&from.service.dns));

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for server in cx.texts(node, "`dns`").unwrap_or_default() {
        match server.value.trim().parse() {
            Ok(address) => service.dns.push(address),
            Err(_) => {
                let message = format!("`{}` is not an address", server.value);
                let problem = Problem::error(Code::InvalidValue, server.span, message);
                let problem = problem.reason("a name would have to be resolved before there is a resolver");
                cx.push(problem.help("write the address of a name server, such as `9.9.9.9`").when_run());
            }
        }
    }
}

const DNS: Shape = Shape::Forms(Forms::new(&TEXTS, &[&TEXT], expand));

/// A variable that is not set gives an empty text, which is no server.
fn expand(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let mut list = one_or_list(node, at, cx)?;
    if let Kind::Sequence(items) = &mut list.kind {
        items.retain(|item| !item.is_null() && item.as_text() != Some(""));
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn servers_domains_and_options_are_lowered() {
        let dns = service("dns: 9.9.9.9\ndns_search: [a.test, b.test]\ndns_opt: ['ndots:2']").container.dns;
        assert_eq!(dns.servers, ["9.9.9.9".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!((dns.search.join(" "), dns.options.join(" ")), ("a.test b.test".to_owned(), "ndots:2".to_owned()));
        assert!(service("dns: ['fd00::1', '']").container.dns.servers[0].is_ipv6());
    }

    #[test]
    fn a_server_is_an_address() {
        assert_eq!(
            errors("dns: [dns.test]"),
            ["4:11 `dns.test` is not an address; write the address of a name server, such as `9.9.9.9`"]
        );
    }
}
