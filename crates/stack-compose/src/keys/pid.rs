//! `pid`: the PID namespace.

use super::{ServiceKey, peer};
use crate::shape::Shape;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pid", "PID namespace: `host`, `service:NAME` or `container:NAME`.", &Shape::Nullable(&TEXT))
        .parse(|node, service, cx| service.pid = peer::parse_namespace(node, "pid", &[], cx))
        .check(|service, project, report| {
            if let Some(pid) = &service.pid
                && let Some(peer) = pid.value.peer()
            {
                peer::check(peer, pid.span, "processes", project, report);
            }
        })
        .lower(|from, to| {
            to.container.namespaces.pid = peer::lower_namespace(from, to, |service| service.pid.as_ref())
        });

#[cfg(test)]
mod tests {
    use stack_model::{Namespace, Namespaces};

    use crate::testing::{Files, errors, service};

    #[test]
    fn namespaces_of_the_host_are_lowered() {
        let shared = |text: &str| service(text).container.namespaces;
        assert_eq!(shared("pid: ''\nipc: private\ncgroup: private"), Namespaces::default());
        let all =
            Namespaces { pid: Namespace::Host, ipc: Namespace::Host, uts: true, cgroup: true, without_shm: false };
        assert_eq!(shared("pid: host\nipc: host\nuts: host\ncgroup: host"), all);
        assert_eq!(shared("ipc: shareable"), Namespaces::default());
        assert_eq!(shared("ipc: none"), Namespaces { without_shm: true, ..Namespaces::default() });
    }

    #[test]
    fn those_of_another_container_are_lowered_to_whose_they_are() {
        let text = "services:\n  a: {image: i, pid: 'service:b', ipc: 'container:p-c-1'}\n  b: {image: i, pid: \
                    'container:mine'}\n  c: {image: i, ipc: shareable, pid: 'service:d'}\n  d: {image: i, pid: host}\n  \
                    e: {image: i, container_name: mine}\n";
        let desired = Files::new(text).desired();
        let of = |name: &str| desired.services[name].container.namespaces.clone();
        assert_eq!((of("a").pid, of("a").ipc), (Namespace::Service("e".into()), Namespace::Service("c".into())));
        assert_eq!((of("b").pid, of("c").pid), (Namespace::Service("e".into()), Namespace::Host));
        let waits = &desired.services["a"].depends_on;
        assert!(["e", "c"].iter().all(|name| waits[*name].restart), "{waits:?}");
    }

    #[test]
    fn those_of_strangers_are_refused_and_so_is_nonsense() {
        assert_eq!(
            errors("pid: container:other"),
            [
                "4:10 the processes of `other`, which is no container of this project, is not supported yet; name a service \
                 of this project instead"
            ]
        );
        assert_eq!(errors("pid: service:b"), ["4:18 service `a` depends on undefined service `b`"]);
        assert_eq!(errors("pid: hots"), ["4:10 `hots` is no value of `pid`; did you mean `host`?"]);
        assert_eq!(errors("uts: hots"), ["4:10 `hots` is no value of `uts`; did you mean `host`?"]);
        assert_eq!(errors("ipc: privat"), ["4:10 `privat` is no value of `ipc`; did you mean `private`?"]);
    }

    #[test]
    fn who_keeps_its_ipc_to_itself_cannot_be_joined() {
        let text =
            |word: &str| format!("services:\n  a: {{image: i, ipc: 'service:b'}}\n  b: {{image: i, ipc: {word}}}\n");
        for word in ["private", "none"] {
            assert_eq!(
                Files::new(&text(word)).errors(),
                [format!("2:22 `b` does not share its IPC: it has `ipc: {word}`; give `b` `ipc: shareable`")]
            );
        }
        assert!(Files::new(&text("shareable")).errors().is_empty());
    }

    #[test]
    fn parameters_of_a_namespace_of_the_host_are_refused() {
        let found = errors("ipc: host\nsysctls: {kernel.shmmax: 1}");
        assert!(found[0].contains("`kernel.shmmax` cannot be set in the IPC namespace of the host"), "{found:?}");
    }
}
