//! `network_mode`: no network of its own (`host`), or nothing but loopback (`none`).

use crate::shape::common::TEXT;
use stack_model::{self as model, NetworkMode, NetworkName, ServiceName};

use super::{Lowering, ServiceKey, peer};
use crate::context::Cx;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{NetworkSource, Service};
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "network_mode",
    "Instead of networks of its own: `none`, `host`, `service:NAME`, `container:NAME`.",
    &TEXT,
)
.parse(parse)
.check(check)
.lower(lower);

/// The network of services that ask for docker's own bridge: one of the project's, which is as far from others.
pub(crate) const BRIDGE: &str = "bridge";

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(text) = cx.text(node, "`network_mode`") else { return };
    let mode = match (text.value.as_str(), peer::parse(&text.value)) {
        ("", _) => return,
        ("host", _) => NetworkSource::Host,
        ("none", _) => NetworkSource::None,
        ("bridge" | "default", _) => NetworkSource::Bridge,
        (_, Some(peer)) => NetworkSource::Of(peer),
        (_, None) => {
            let message = format!("`{}` is not a network mode", text.value);
            let problem = Problem::error(Code::InvalidValue, text.span, message);
            let problem = problem.reason(
                "the modes are `host`, `none`, `bridge`, `service:NAME` and `container:NAME`; networks are named under \
                 `networks`",
            );
            return cx.push(problem.nearest(text.span, nearest(&text.value, ["host", "none", "bridge"])));
        }
    };
    service.network_mode = Some(Spanned::new(mode, text.span));
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    let Some(mode) = &service.network_mode else { return };
    if let Some(peer) = mode.value.peer() {
        peer::check(peer, mode.span, "network", project, report);
    }
    let word = match &mode.value {
        NetworkSource::Bridge => return,
        NetworkSource::Host => "host".to_owned(),
        NetworkSource::None => "none".to_owned(),
        NetworkSource::Of(peer) => peer.to_string(),
    };
    if let Some(port) = service.ports.first() {
        let message = format!("`ports` have no effect with `network_mode: {word}`");
        let problem = Problem::warning(Code::ConflictingKeys, port.span, message);
        report.push(problem.also(mode.span, "the container has no network of its own").help("remove `ports`"));
    }
}

fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    let mode = |service: &'_ Service| service.network_mode.as_ref().map(|mode| mode.value.clone());
    let leader = peer::last(from.project, from.service, |service| service.network_mode.as_ref()?.value.peer());
    to.container.network = match mode(leader.unwrap_or(from.service)) {
        Some(NetworkSource::Host) => NetworkMode::Host,
        Some(NetworkSource::None) if leader.is_none() => NetworkMode::None,
        Some(NetworkSource::Bridge) if leader.is_none() => {
            let attachment = model::Attachment { mac: from.service.mac_address, ..model::Attachment::default() };
            NetworkMode::Attached([(NetworkName::from(BRIDGE), attachment)].into())
        }
        _ => match leader {
            Some(leader) => NetworkMode::Service(ServiceName::new(&leader.name)),
            None => return,
        },
    };
    if let NetworkMode::Service(name) = &to.container.network {
        let origin = from.service.network_mode.as_ref().map_or(from.service.span, |mode| mode.span);
        peer::follow(from, to, &name.clone(), true, origin);
    }
}

#[cfg(test)]
mod tests {
    use stack_model::NetworkMode;

    use crate::testing::{Files, errors, service, warnings};

    #[test]
    fn host_and_none_are_lowered() {
        assert_eq!(service("network_mode: host").container.network, NetworkMode::Host);
        assert_eq!(service("network_mode: none").container.network, NetworkMode::None);
    }

    #[test]
    fn the_network_of_another_service_is_lowered_to_whose_it_is() {
        let text = "services:\n  a: {image: i, network_mode: 'service:b'}\n  b: {image: i, network_mode: 'container:p-c-1'}\n  \
                    c: {image: i}\n  d: {image: i, network_mode: bridge}\n  e: {image: i, network_mode: 'service:h'}\n  \
                    h: {image: i, network_mode: host}\n";
        let desired = Files::new(text).desired();
        let mode = |name: &str| desired.services[name].container.network.clone();
        assert_eq!(mode("a"), NetworkMode::Service("c".into()));
        assert_eq!(mode("b"), NetworkMode::Service("c".into()));
        assert!(desired.services["b"].depends_on["c"].restart);
        assert_eq!(mode("e"), NetworkMode::Host);
        assert!(desired.networks.contains_key("bridge"));
        assert!(matches!(mode("d"), NetworkMode::Attached(map) if map.contains_key("bridge")));
    }

    #[test]
    fn the_rest_is_refused() {
        assert_eq!(errors("network_mode: service:b"), ["4:27 service `a` depends on undefined service `b`"]);
        assert_eq!(
            errors("network_mode: container:other"),
            ["4:19 the network of `other`, which is no container of this project, is not supported yet; name a \
              service of this project instead"]
        );
        assert_eq!(errors("network_mode: hots"), ["4:19 `hots` is not a network mode; did you mean `host`?"]);
    }

    #[test]
    fn it_excludes_networks_and_ports() {
        assert_eq!(
            errors("network_mode: host\nnetworks: [default]"),
            ["4:19 service `a` declares mutually exclusive `network_mode` and `networks`; remove one of them"]
        );
        assert_eq!(
            warnings("network_mode: host\nports: ['80:80']"),
            ["5:13 `ports` have no effect with `network_mode: host`; remove `ports`"]
        );
    }
}
