//! `sysctls`: kernel parameters.

use super::ServiceKey;
use super::forms::labels_of;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{NamespaceSource, NetworkSource, Service};
use crate::shape::common::LABELS;
use crate::text::Span;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("sysctls", "Kernel parameters of the container's namespaces.", &LABELS)
        .parse(|node, service, cx| {
            service.sysctls = labels_of(node, "`sysctls`", cx);
        })
        .check(check)
        .lower(|from, to| to.container.sysctls = from.service.sysctls.clone().into_iter().collect());

/// Parameters of an IPC namespace (ipc_namespaces(7)).
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// All others belong to the whole machine: a container that set them would change it for everyone.
fn check(service: &Service, _: &Project, report: &mut Report) {
    for name in service.sysctls.keys() {
        let plain = name.replace('/', ".");
        let is_net = plain.starts_with("net.");
        let of_ipc = OF_IPC.contains(&plain.as_str()) || plain.starts_with("fs.mqueue.");
        let path = format!("sysctls.{name}");
        let found = service.origins.iter().find(|(origin, _)| *origin == path);
        let span = found.map_or(service.span, |(_, span): &(String, Span)| *span);
        let is_host = service.network_mode.as_ref().is_some_and(|mode| mode.value == NetworkSource::Host);
        let ipc_of_host = service.ipc.as_ref().is_some_and(|ipc| ipc.value == NamespaceSource::Host);
        let shared = match (is_net, of_ipc) {
            (true, _) if is_host => Some(("on the network of the host", "a network")),
            (_, true) if ipc_of_host => Some(("in the IPC namespace of the host", "one")),
            _ => None,
        };
        if let Some((place, own)) = shared {
            let message = format!("`{name}` cannot be set {place}");
            let problem = Problem::error(Code::ConflictingKeys, span, message);
            report.push(problem.help(format!("remove it, or give the service {own} of its own")).when_run());
        } else if !is_net && !of_ipc {
            let message = format!("`{name}` is no parameter of a container");
            let problem = Problem::error(Code::InvalidValue, span, message);
            let problem = problem.reason("it would change the whole machine; docker refuses it as well");
            report.push(problem.help(format!("set it on the host: `sysctl -w {name}=…`")).when_run());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn both_forms_are_lowered() {
        let sysctls = service("sysctls: {net.core.somaxconn: 1024}").container.sysctls;
        assert_eq!(sysctls["net.core.somaxconn"], "1024");
        assert_eq!(service("sysctls: ['kernel.shmmax=1']").container.sysctls["kernel.shmmax"], "1");
    }

    #[test]
    fn what_belongs_to_the_machine_is_refused() {
        assert_eq!(
            errors("sysctls: {vm.swappiness: 1}"),
            ["4:30 `vm.swappiness` is no parameter of a container; set it on the host: `sysctl -w vm.swappiness=…`"]
        );
        assert_eq!(
            errors("network_mode: host\nsysctls: {net.ipv4.ip_forward: 1}"),
            ["5:36 `net.ipv4.ip_forward` cannot be set on the network of the host; remove it, or give the service a \
              network of its own"]
        );
    }
}
