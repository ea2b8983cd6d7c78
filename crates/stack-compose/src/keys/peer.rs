//! `service:NAME` and `container:NAME`: another container of the project that something is shared with, such as
//! a namespace.

use stack_model::{self as model, Namespace, ServiceName};

use super::Lowering;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{NamespaceSource, Peer, Service};
use crate::text::{Span, Spanned};
use crate::yaml::Node;

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

/// Starts after the service whose it is; `restart`: and again when that one is.
pub(super) fn follow(from: &Lowering<'_>, to: &mut model::Service, name: &ServiceName, restart: bool, span: Span) {
    let dependency = model::Dependency {
        condition: model::Condition::Started,
        restart,
        required: true,
        origin: from.project.names.origin(span),
    };
    to.depends_on.entry(name.clone()).or_insert(dependency);
}

/// Whose a namespace is; `own` are the words for one of its own.
pub(super) fn parse_namespace(
    node: &Node,
    key: &str,
    own: &[(&str, NamespaceSource)],
    cx: &mut Cx<'_>,
) -> Option<Spanned<NamespaceSource>> {
    let text = if node.is_null() { None } else { cx.text(node, &format!("`{key}`")) };
    let text = text.filter(|text| !text.value.is_empty())?;
    let word = text.value.as_str();
    let source = match own.iter().find(|(name, _)| *name == word) {
        Some((_, source)) => Some(source.clone()),
        None if word == "host" => Some(NamespaceSource::Host),
        None => parse(word).map(NamespaceSource::Of),
    };
    if source.is_none() {
        let problem = Problem::error(Code::InvalidValue, text.span, format!("`{word}` is no value of `{key}`"));
        cx.push(problem.nearest(text.span, nearest(word, own.iter().map(|(name, _)| *name).chain(["host"]))));
    }
    Some(Spanned::new(source?, text.span))
}

/// Whose a namespace is, and that the container follows that one.
pub(super) fn lower_namespace(
    from: &Lowering<'_>,
    to: &mut model::Service,
    of: impl Fn(&Service) -> Option<&Spanned<NamespaceSource>>,
) -> Namespace {
    let leader = last(from.project, from.service, |service| of(service)?.value.peer());
    match (of(leader.unwrap_or(from.service)).map(|source| &source.value), leader, of(from.service)) {
        (Some(NamespaceSource::Host), ..) => Namespace::Host,
        (_, Some(leader), Some(said)) => {
            let name = ServiceName::new(&leader.name);
            follow(from, to, &name, true, said.span);
            Namespace::Service(name)
        }
        _ => Namespace::Own,
    }
}
