//! `service:NAME` and `container:NAME`: another container of the project that something is shared with.

use stack_model::{self as model, ServiceName};

use super::Lowering;
use crate::decode::not_yet;
use crate::project::Project;
use crate::report::Report;
use crate::service::{Peer, Service};
use crate::text::Span;

/// The peer that a text names.
pub(super) fn parse(text: &str) -> Option<Peer> {
    match text.split_once(':')? {
        (_, "") => None,
        ("service", name) => Some(Peer::Service(name.to_owned())),
        ("container", name) => Some(Peer::Container(name.to_owned())),
        _ => None,
    }
}

/// The service whose first container it is.
pub(super) fn find<'p>(project: &'p Project, peer: &Peer) -> Option<&'p Service> {
    match peer {
        Peer::Service(name) => project.services.get(name),
        Peer::Container(name) => project.services.values().find(|service| match &service.container_name {
            Some(own) => own.value == *name,
            None => format!("{}-{}-1", project.name, service.name) == *name,
        }),
    }
}

/// Reports a container that is none of the project's. That a service is not there is said where dependencies are checked.
pub(super) fn check(peer: &Peer, span: Span, what: &str, project: &Project, report: &mut Report) {
    if let (Peer::Container(name), None) = (peer, find(project, peer)) {
        let problem = not_yet(span, &format!("the {what} of `{name}`, which is no container of this project,"));
        report.push(problem.help("name a service of this project instead").when_run());
    }
}

/// Whose it is in the end: whoever shares with a service that itself shares with another one shares with that one.
pub(super) fn last<'p>(
    project: &'p Project,
    service: &Service,
    peer_of: impl Fn(&Service) -> Option<&Peer>,
) -> Option<&'p Service> {
    let mut leader = find(project, peer_of(service)?)?;
    // Longer chains are cycles, which are reported elsewhere.
    for _ in 0..project.services.len() {
        let Some(next) = peer_of(leader).and_then(|peer| find(project, peer)) else { break };
        leader = next;
    }
    Some(leader)
}

/// Starts after the service whose it is, and again when that one is.
pub(super) fn follow(from: &Lowering<'_>, to: &mut model::Service, name: &ServiceName, span: Span) {
    let dependency = model::Dependency {
        condition: model::Condition::Started,
        restart: true,
        required: true,
        origin: from.project.names.origin(span),
    };
    to.depends_on.entry(name.clone()).or_insert(dependency);
}
