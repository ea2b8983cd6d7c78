//! `network_mode`: no network of its own (`host`), or nothing but loopback (`none`).

use crate::shape::common::TEXT;
use stack_model::NetworkMode;

use super::ServiceKey;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{HostOrNone, Service};
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "network_mode",
    "Instead of networks of its own: `none`, `host`, `service:NAME`, `container:NAME`.",
    &TEXT,
)
.parse(parse)
.check(check)
.lower(|from, to| match from.service.network_mode.as_ref().map(|mode| mode.value) {
    Some(HostOrNone::Host) => to.container.network = NetworkMode::Host,
    Some(HostOrNone::None) => to.container.network = NetworkMode::None,
    None => {}
});

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(text) = cx.text(node, "`network_mode`") else { return };
    let mode = match text.value.as_str() {
        "host" => HostOrNone::Host,
        "none" => HostOrNone::None,
        other => {
            let known = other == "bridge" || other.starts_with("service:") || other.starts_with("container:");
            let problem = if known {
                not_yet(text.span, &format!("`network_mode: {other}`"))
            } else {
                let message = format!("`{other}` is not a network mode");
                let problem = Problem::error(Code::InvalidValue, text.span, message);
                problem.reason("the modes are `host` and `none`; networks are named under `networks`")
            };
            let near = nearest(other, ["host", "none"]);
            return cx.push(if known { problem } else { problem.nearest(text.span, near) });
        }
    };
    service.network_mode = Some(Spanned::new(mode, text.span));
}

fn check(service: &Service, _: &Project, report: &mut Report) {
    let Some(mode) = &service.network_mode else { return };
    if let Some(port) = service.ports.first() {
        let word = if mode.value == HostOrNone::Host { "host" } else { "none" };
        let message = format!("`ports` have no effect with `network_mode: {word}`");
        let problem = Problem::warning(Code::ConflictingKeys, port.span, message);
        report.push(problem.also(mode.span, "the container has no network of its own").help("remove `ports`"));
    }
}

#[cfg(test)]
mod tests {
    use stack_model::NetworkMode;

    use crate::testing::{errors, service, warnings};

    #[test]
    fn host_and_none_are_lowered() {
        assert_eq!(service("network_mode: host").container.network, NetworkMode::Host);
        assert_eq!(service("network_mode: none").container.network, NetworkMode::None);
    }

    #[test]
    fn the_rest_is_refused() {
        let bridge = ["4:19 `network_mode: bridge` is not supported yet"];
        assert_eq!(errors("network_mode: bridge"), bridge);
        assert_eq!(
            errors("network_mode: service:b"),
            [
                "4:19 `network_mode: service:b` is not supported yet",
                "4:27 service `a` depends on undefined service `b`",
            ]
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
