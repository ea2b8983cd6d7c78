//! `pid`: the PID namespace.

use super::ServiceKey;
use super::forms::host_namespace;
use crate::shape::Shape;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pid", "PID namespace: `host`, `service:NAME` or `container:NAME`.", &Shape::Nullable(&TEXT))
        .parse(|node, service, cx| service.host_namespaces.pid = host_namespace(node, "pid", &[], cx))
        .lower(|from, to| to.container.host_namespaces.pid = from.service.host_namespaces.pid);

#[cfg(test)]
mod tests {
    use stack_model::HostNamespaces;

    use crate::testing::{errors, service};

    #[test]
    fn namespaces_of_the_host_are_lowered() {
        let shared = |text: &str| service(text).container.host_namespaces;
        assert_eq!(shared("pid: ''\nipc: private\ncgroup: private"), HostNamespaces::default());
        let all = HostNamespaces { pid: true, ipc: true, uts: true, cgroup: true };
        assert_eq!(shared("pid: host\nipc: host\nuts: host\ncgroup: host"), all);
        assert_eq!(shared("ipc: shareable"), HostNamespaces::default());
    }

    #[test]
    fn those_of_others_are_refused_and_so_is_nonsense() {
        assert_eq!(
            errors("pid: container:other"),
            ["4:10 `pid: container:other` is not supported yet; write `host`, or remove it"]
        );
        assert_eq!(errors("uts: hots"), ["4:10 `hots` is no value of `uts`; did you mean `host`?"]);
    }

    #[test]
    fn parameters_of_a_namespace_of_the_host_are_refused() {
        let found = errors("ipc: host\nsysctls: {kernel.shmmax: 1}");
        assert!(found[0].contains("`kernel.shmmax` cannot be set in the IPC namespace of the host"), "{found:?}");
    }
}
