//! `ipc`: the IPC namespace.

use super::ServiceKey;
use super::peer;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{NamespaceSource, Service};
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "ipc",
    "IPC namespace: `shareable`, `private`, `host`, `none`, `service:NAME` or `container:NAME`.",
    &TEXT,
)
.parse(|node, service, cx| service.ipc = peer::parse_namespace(node, "ipc", &OWN, cx))
.check(check)
.lower(|from, to| {
    to.container.namespaces.ipc = peer::lower_namespace(from, to, |service| service.ipc.as_ref());
    to.container.namespaces.without_shm =
        from.service.ipc.as_ref().is_some_and(|ipc| ipc.value == NamespaceSource::Bare);
});

/// Words for a namespace of its own.
const OWN: [(&str, NamespaceSource); 3] =
    [("private", NamespaceSource::Private), ("shareable", NamespaceSource::Shareable), ("none", NamespaceSource::Bare)];

/// Docker lets others in only where that is said. What does not say anything can be joined here: of which kind it is by
/// default is up to the settings of Docker's daemon.
fn check(service: &Service, project: &Project, report: &mut Report) {
    let Some((ipc, peer)) = service.ipc.as_ref().and_then(|ipc| Some((ipc, ipc.value.peer()?))) else { return };
    peer::check(peer, ipc.span, "IPC", project, report);
    let Some(leader) = peer::find(project, peer) else { return };
    let Some(own) = &leader.ipc else { return };
    let closed = OWN.iter().find(|(_, source)| *source == own.value && *source != NamespaceSource::Shareable);
    if let Some((word, _)) = closed {
        let name = &leader.name;
        let message = format!("`{name}` does not share its IPC: it has `ipc: {word}`");
        let problem = Problem::error(Code::ConflictingKeys, ipc.span, message).also(own.span, "this keeps others out");
        report.push(problem.help(format!("give `{name}` `ipc: shareable`")).when_run());
    }
}
