//! `networks`: which networks a service is on, under which further names and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use indexmap::IndexMap;
use ipnet::IpNet;
use stack_model::{self as model, NetworkMode, NetworkName};

use super::ServiceKey;
use super::forms::{itself, mac_address, references};
use super::key::Lowering;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::project::{Network, Project};
use crate::report::{Code, Problem, Report};
use crate::service::{Attachment, Service};
use crate::shape::common::{PLAIN_INT, TEXT, TEXT_OR_NUMBER, TEXTS, free};
use crate::shape::{Field, Forms, MapOf, Merge, Names, Object, Shape};
use crate::text::{Span, Spanned};
use crate::yaml::{Entry, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("networks", "Networks that the service is on.", &NETWORKS).parse(parse).check(check).lower(lower);

const NETWORKS: Shape = Shape::Forms(Forms::new(&MAP, &[&TEXTS], |node, at, cx| references(node, at, cx, Node::null)));
const MAP: Shape =
    Shape::Map(MapOf { value: &NETWORK, keys: Names::Reference, entry: "", merge: Merge::Deep, listed: false });
const NETWORK: Shape = Shape::Nullable(&ATTACHMENT);
const DRIVER_OPTIONS: Shape = free(&TEXT_OR_NUMBER);
const ATTACHMENT: Shape = Shape::Object(&Object::new(&[
    Field::new("aliases", "Further names on this network.", &TEXTS).merge(Merge::Unique(itself)),
    Field::new("driver_opts", "Options of the network's driver.", &DRIVER_OPTIONS),
    Field::new("gw_priority", "The network with the highest one has the default gateway.", &PLAIN_INT),
    Field::new("interface_name", "Name of the interface inside the container.", &TEXT),
    Field::new("ipv4_address", "A fixed IPv4 address.", &TEXT),
    Field::new("ipv6_address", "A fixed IPv6 address.", &TEXT),
    Field::new("link_local_ips", "Link-local addresses.", &TEXTS).merge(Merge::Unique(itself)),
    Field::new("mac_address", "A fixed MAC address.", &TEXT),
    Field::new("priority", "Networks with a higher one are joined first.", &PLAIN_INT),
]));

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(mapping) = node.as_mapping() else { return };
    let attachments = mapping.iter().map(|(name, entry)| (name.to_string(), attachment(entry, cx)));
    service.networks = Some(attachments.collect::<IndexMap<_, _>>());
}

fn attachment(entry: &Entry, cx: &mut Cx<'_>) -> Attachment {
    let mut attachment = Attachment { span: entry.key, ..Attachment::default() };
    if entry.value.is_null() {
        return attachment;
    }
    let Some(fields) = entry.value.as_mapping() else { return attachment };
    if let Some(aliases) = fields.get("aliases").filter(|entry| !entry.value.is_null()) {
        let aliases = cx.texts(&aliases.value, "`aliases`").unwrap_or_default();
        attachment.aliases = aliases.into_iter().map(|alias| alias.value).collect();
    }
    if let Some(address) = fields.get("ipv4_address").and_then(|entry| cx.text(&entry.value, "`ipv4_address`")) {
        match address.value.parse() {
            Ok(parsed) => attachment.ipv4_address = Some(address.map(|_| parsed)),
            Err(_) => {
                let message = format!("`{}` is not an IPv4 address", address.value);
                cx.push(
                    Problem::error(Code::InvalidValue, address.span, message).help("write four numbers: `10.0.0.2`"),
                );
            }
        }
    }
    if let Some(address) = fields.get("ipv6_address").and_then(|entry| cx.text(&entry.value, "`ipv6_address`")) {
        match address.value.parse() {
            Ok(parsed) => attachment.ipv6_address = Some(address.map(|_| parsed)),
            Err(_) => {
                let message = format!("`{}` is not an IPv6 address", address.value);
                cx.push(Problem::error(Code::InvalidValue, address.span, message).help("write one such as `fd00::2`"));
            }
        }
    }
    if let Some(entry) = fields.get("mac_address").filter(|entry| !entry.value.is_null()) {
        attachment.mac_address = mac_address(&entry.value, cx);
    }
    for (key, number) in [("gw_priority", &mut attachment.gw_priority), ("priority", &mut attachment.priority)] {
        if let Some(entry) = fields.get(key).filter(|entry| !entry.value.is_null()) {
            let read = cx.integer(&entry.value, &format!("`{key}`"), i64::from(i32::MIN)..=i64::from(i32::MAX));
            *number = read.map_or(0, |read| read.value);
        }
    }
    attachment.interface_name = fields.get("interface_name").and_then(|entry| interface_name(&entry.value, cx));
    for (name, entry) in fields.get("driver_opts").and_then(|entry| entry.value.as_mapping()).into_iter().flatten() {
        if &**name == INTERFACE_OPTION {
            attachment.interface_name = attachment.interface_name.or_else(|| interface_name(&entry.value, cx));
            continue;
        }
        let problem = Problem::warning(Code::NoEffect, entry.key, format!("the option `{name}` has no effect"));
        cx.push(problem.nearest(entry.key, nearest(name, [INTERFACE_OPTION])).when_run());
    }
    if let Some(list) = fields.get("link_local_ips").filter(|entry| !entry.value.is_null()) {
        for text in cx.texts(&list.value, "`link_local_ips`").unwrap_or_default() {
            match text.value.parse::<Ipv4Addr>() {
                Ok(address) if address.is_link_local() => attachment.link_local.push(address),
                Ok(_) | Err(_) => {
                    let message = format!("`{}` is not a link-local IPv4 address", text.value);
                    let problem = Problem::error(Code::InvalidValue, text.span, message);
                    cx.push(problem.help("write one of 169.254.0.0/16"));
                }
            }
        }
    }
    attachment
}

/// What docker calls `interface_name` among the options of its driver.
const INTERFACE_OPTION: &str = "com.docker.network.endpoint.ifname";

/// The kernel takes 15 bytes (`dev_valid_name`, net/core/dev.c).
const INTERFACE_BYTES: usize = 15;

pub(crate) fn interface_name(node: &Node, cx: &mut Cx<'_>) -> Option<String> {
    let name = cx.text(node, "`interface_name`").filter(|name| !name.value.is_empty())?;
    let letters = name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !letters || name.value.len() > INTERFACE_BYTES || matches!(name.value.as_str(), "." | ".." | "lo") {
        let message = format!("`{}` is not the name of an interface", name.value);
        let problem = Problem::error(Code::InvalidName, name.span, message);
        cx.push(problem.help(format!("use at most {INTERFACE_BYTES} letters, digits, `_`, `-` and `.`")));
        return None;
    }
    Some(name.value)
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    for (name, attachment) in service.networks.iter().flatten() {
        let Some(network) = project.networks.get(name) else {
            let message = format!("service `{}` refers to undefined network `{name}`", service.name);
            let problem = Problem::error(Code::UndefinedReference, attachment.span, message);
            let near = nearest(name, project.networks.keys().map(String::as_str));
            let problem = problem.help(format!("declare it: add `{name}:` under the top-level `networks:`"));
            report.push(problem.nearest(attachment.span, near));
            continue;
        };
        if let Some(address) = &attachment.ipv6_address {
            check_address6(service, name, address, network, report);
        }
        let fixed = attachment.ipv4_address.as_ref();
        // Which addresses somebody else's network has shows when it is there.
        let Some(address) = fixed.filter(|_| !network.external) else { continue };
        check_address(service, name, address, network, report);
    }
}

fn check_address(service: &Service, name: &str, address: &Spanned<Ipv4Addr>, network: &Network, report: &mut Report) {
    let problem = match &network.subnet {
        None => Some(
            Problem::error(
                Code::MissingKey,
                address.span,
                format!("a fixed address on `{name}` needs a subnet of its own"),
            )
            .reason("`stack` picks the subnet otherwise, and it may not hold the address")
            .help(format!("add `ipam: {{config: [{{subnet: …}}]}}` to the network `{name}`")),
        ),
        Some(subnet) => misfit(service, name, (address.value.into(), address.span), (subnet.value.into(), subnet.span)),
    };
    problem.into_iter().for_each(|problem| report.push(problem.when_run()));
}

fn check_address6(service: &Service, name: &str, address: &Spanned<Ipv6Addr>, network: &Network, report: &mut Report) {
    let problem = match &network.subnet6 {
        _ if network.external => None,
        None => Some(
            Problem::error(
                Code::MissingKey,
                address.span,
                format!("a fixed IPv6 address on `{name}` needs a subnet of its own"),
            )
            .help(format!("add `enable_ipv6: true` and `ipam: {{config: [{{subnet: …}}]}}` to the network `{name}`")),
        ),
        Some(subnet) => misfit(service, name, (address.value.into(), address.span), (subnet.value.into(), subnet.span)),
    };
    problem.into_iter().for_each(|problem| report.push(problem.when_run()));
}

/// Why a service cannot have a fixed address in a subnet of its network.
fn misfit(
    service: &Service,
    name: &str,
    (address, span): (IpAddr, Span),
    (subnet, subnet_span): (IpNet, Span),
) -> Option<Problem> {
    if !subnet.contains(&address) {
        let message = format!("the address {address} is not in the subnet {subnet} of `{name}`");
        return Some(Problem::error(Code::InvalidValue, span, message).also(subnet_span, "the subnet"));
    }
    let replicas = service.replicas().value;
    (replicas > 1).then(|| {
        let message = format!("one fixed address for {replicas} containers");
        Problem::error(Code::ConflictingKeys, span, message).help("remove the address, or ask for one container")
    })
}

/// Runs before `network_mode`'s: that one replaces what stands here.
fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    if from.service.network_mode.is_some() {
        return;
    }
    let attachments = from.service.networks.iter().flatten().map(|(name, attachment)| {
        let aliases = attachment.aliases.iter().cloned().collect();
        let ipv4 = attachment.ipv4_address.as_ref().map(|address| address.value);
        let (mac, interface) = (attachment.mac_address, attachment.interface_name.clone());
        let (gateway_priority, priority) = (attachment.gw_priority, attachment.priority);
        let link_local = attachment.link_local.clone();
        let ipv6 = attachment.ipv6_address.as_ref().map(|address| address.value);
        let lowered = model::Attachment { aliases, ipv4, ipv6, mac, gateway_priority, interface, priority, link_local };
        (NetworkName::new(name), lowered)
    });
    let mut attachments: std::collections::BTreeMap<_, _> = attachments.collect();
    if attachments.is_empty() {
        attachments.insert(NetworkName::from("default"), model::Attachment::default());
    }
    let main = from.service.networks.iter().flatten().map(|(name, it)| (-it.priority, name)).min();
    let main = main.map_or("default", |(_, name)| name);
    if let Some(attachment) = attachments.get_mut(main) {
        attachment.mac = attachment.mac.or(from.service.mac_address);
    }
    to.container.network = NetworkMode::Attached(attachments);
}

#[cfg(test)]
mod tests {
    use stack_model::{Attachment, NetworkMode};

    use crate::testing::{Files, project_errors, service};

    fn attached(service: &stack_model::Service) -> Vec<(String, Attachment)> {
        match &service.container.network {
            NetworkMode::Attached(networks) => networks.iter().map(|(n, a)| (n.to_string(), a.clone())).collect(),
            NetworkMode::None | NetworkMode::Host | NetworkMode::Service(_) => Vec::new(),
        }
    }

    #[test]
    fn without_any_it_is_the_default_network() {
        assert_eq!(attached(&service("")), [("default".to_owned(), Attachment::default())]);
        assert_eq!(attached(&service("networks: []")), [("default".to_owned(), Attachment::default())]);
    }

    #[test]
    fn aliases_and_addresses_are_lowered() {
        let text = "services:\n  a:\n    image: i\n    networks: {n: {aliases: [x, y], ipv4_address: 10.1.0.9}, m: }\n\
                    networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}}, m: }\n";
        let networks = attached(&Files::new(text).service("a"));
        assert_eq!(networks[0], ("m".to_owned(), Attachment::default()));
        assert_eq!(networks[1].1.aliases.iter().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(networks[1].1.ipv4.map(|address| address.to_string()).as_deref(), Some("10.1.0.9"));
    }

    #[test]
    fn addresses_of_ipv6_are_lowered_and_checked() {
        let text = |address: &str, network: &str| {
            format!(
                "services:\n  a: {{image: i, networks: {{n: {{ipv6_address: '{address}'}}}}}}\nnetworks: {{n: {{{network}}}}}\n"
            )
        };
        let six =
            "enable_ipv6: true, ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 'fd00:1::/64', gateway: 'fd00:1::9'}]}";
        let desired = Files::new(&text("fd00:1::2", six)).desired();
        let network = &desired.networks["n"];
        let wish = network.ipv6.unwrap();
        assert_eq!(wish.subnet.unwrap().to_string(), "fd00:1::/64");
        assert_eq!(wish.gateway.unwrap().to_string(), "fd00:1::9");
        assert_eq!(network.subnet.unwrap().to_string(), "10.1.0.0/24");
        assert_eq!(attached(&desired.services["a"])[0].1.ipv6.unwrap().to_string(), "fd00:1::2");
        assert_eq!(
            project_errors(&text("fd00:2::2", six)),
            ["2:46 the address fd00:2::2 is not in the subnet fd00:1::/64 of `n`"]
        );
        assert_eq!(
            project_errors(&text("fd00:1::2", "")),
            [
                "2:46 a fixed IPv6 address on `n` needs a subnet of its own; add `enable_ipv6: true` and `ipam: {config: \
              [{subnet: …}]}` to the network `n`"
            ]
        );
        assert_eq!(
            project_errors(&text("fd00:1::g", six)),
            ["2:46 `fd00:1::g` is not an IPv6 address; write one such as `fd00::2`"]
        );
    }

    #[test]
    fn references_and_addresses_are_checked() {
        assert_eq!(
            project_errors("services:\n  a: {image: i, networks: [bakc]}\nnetworks: {back: }\n"),
            ["2:28 service `a` refers to undefined network `bakc`; did you mean `back`?"]
        );
        assert_eq!(
            project_errors("services:\n  a: {image: i, networks: {n: {ipv4_address: 10.0.0.9}}}\nnetworks: {n: }\n"),
            ["2:46 a fixed address on `n` needs a subnet of its own; add `ipam: {config: [{subnet: …}]}` to the \
                 network `n`"]
        );
        assert_eq!(
            project_errors(
                "services:\n  a: {image: i, networks: {n: {ipv4_address: 10.0.0.9}}}\nnetworks: {n: {ipam: {config: \
                 [{subnet: 10.1.0.0/24}]}}}\n"
            ),
            ["2:46 the address 10.0.0.9 is not in the subnet 10.1.0.0/24 of `n`"]
        );
        assert_eq!(
            project_errors("services:\n  a: {image: i, networks: {n: {mac_address: x}}}\nnetworks: {n: }\n"),
            ["2:45 `x` is not the hardware address of an interface; write six bytes of which the first is even: \
             `02:42:ac:11:65:43`"]
        );
    }
}
