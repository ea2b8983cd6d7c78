//! `volumes_from`: volumes of another container.

use stack_model::{self as model, ServiceName};

use super::ServiceKey;
use super::key::Lowering;
use super::peer;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Peer, Service, VolumesFrom};
use crate::shape::common::TEXTS;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "volumes_from",
    "Mount the volumes of a service or container: `SERVICE[:ro]`, `container:NAME[:ro]`.",
    &TEXTS,
)
.parse(parse)
.check(check)
.lower(lower);

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`volumes_from`").unwrap_or_default() {
        let Some(text) = cx.text(item, "an item of `volumes_from`").filter(|text| !text.value.is_empty()) else {
            continue;
        };
        let (make, rest): (fn(String) -> Peer, _) = match text.value.strip_prefix("container:") {
            Some(rest) => (Peer::Container, rest),
            None => (Peer::Service, text.value.as_str()),
        };
        let (name, read_only) = match rest.split_once(':') {
            None | Some((_, "rw")) => (rest.split(':').next().unwrap_or(rest), false),
            Some((name, "ro")) => (name, true),
            Some((_, mode)) => {
                let span = item.part(text.value.len() - mode.len()..text.value.len());
                let problem = Problem::error(Code::InvalidValue, span, format!("`{mode}` is neither `ro` nor `rw`"));
                cx.push(problem.nearest(span, nearest(mode, ["ro", "rw"])));
                continue;
            }
        };
        let from = VolumesFrom { peer: make(name.to_owned()), read_only };
        service.volumes_from.push(Spanned::new(from, text.span));
    }
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    for from in &service.volumes_from {
        peer::check(&from.value.peer, from.span, "volumes", project, report);
    }
}

fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    for shared in &from.service.volumes_from {
        let Some(source) = peer::find(from.project, &shared.value.peer) else { continue };
        let service = ServiceName::new(&source.name);
        peer::follow(from, to, &service, false, shared.span);
        to.container.volumes_from.push(model::VolumesFrom { service, read_only: shared.value.read_only });
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Files, errors};

    #[test]
    fn services_and_their_containers_are_lowered_and_waited_for() {
        let text = "services:\n  a: {image: i, volumes_from: [b, 'container:mine:ro']}\n  b: {image: i}\n  \
                    c: {image: i, container_name: mine}\n";
        let service = Files::new(text).service("a");
        let list = service.container.volumes_from.iter();
        assert_eq!(
            list.map(|from| (from.service.as_str(), from.read_only)).collect::<Vec<_>>(),
            [("b", false), ("c", true)]
        );
        assert!(service.depends_on.contains_key("b") && service.depends_on.contains_key("c"));
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(
            errors("volumes_from: ['b:rx']"),
            [
                "4:21 service `a` depends on undefined service `b`",
                "4:23 `rx` is neither `ro` nor `rw`; did you mean `ro`?",
            ]
        );
        assert_eq!(
            errors("volumes_from: ['container:x']"),
            ["4:20 the volumes of `x`, which is no container of this project, is not supported yet; name a service \
              of this project instead"]
        );
    }
}
