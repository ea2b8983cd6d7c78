//! `container_name`: a name of its own instead of `<project>-<service>-<n>`.

use super::ServiceKey;
use crate::context::Cx;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::Service;
use crate::shape::{Leaf, Like, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "container_name",
    "A name for the container instead of `<project>-<service>-<number>`.",
    &Shape::Leaf(Leaf::Like(&NAME)),
)
.check(check)
.parse(parse)
.lower(|from, to| to.container.container_name = from.service.container_name.clone().map(|name| name.value));

/// As docker compose has it: two good letters somewhere are enough for the file to be read.
const NAME: Like = Like {
    matches: |name| {
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && good(&pair[1]))
    },
    called: "a container name",
    pattern: "[a-zA-Z0-9][a-zA-Z0-9_.-]+",
    wanted: "of the form `[a-zA-Z0-9][a-zA-Z0-9_.-]+`",
    words: &[],
};

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(name) = cx.text(node, "`container_name`") else { return };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = name.value.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if name.value.len() < 2 || !first || !name.value.bytes().all(good) {
        let problem = Problem::error(Code::InvalidName, name.span, format!("`{}` is not a container name", name.value));
        cx.push(problem.reason("it must match `[a-zA-Z0-9][a-zA-Z0-9_.-]+`"));
        return;
    }
    service.container_name = Some(name);
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    let Some(name) = &service.container_name else { return };
    let replicas = service.replicas();
    if replicas.value > 1 {
        let message = format!("`container_name` with {} containers: the name can be given only once", replicas.value);
        let problem = Problem::error(Code::ConflictingKeys, name.span, message);
        let problem = problem.also(replicas.span, "the number of containers");
        report.push(problem.help("remove `container_name`, or ask for one container"));
    }
    let earlier = project.services.values().take_while(|other| other.name != service.name);
    let taken = earlier.filter_map(|other| other.container_name.as_ref().zip(Some(other)));
    if let Some((first, other)) = taken.into_iter().find(|(other, _)| other.value == name.value) {
        let message = format!("the container name `{}` is already in use by service `{}`", name.value, other.name);
        report.push(Problem::error(Code::ContainerNameTaken, name.span, message).also(first.span, "first used here"));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, project_errors, service};

    #[test]
    fn a_name_is_given_once() {
        assert_eq!(service("container_name: one").container.container_name.as_deref(), Some("one"));
        assert_eq!(
            errors("container_name: one\nscale: 2"),
            ["4:21 `container_name` with 2 containers: the name can be given only once; remove `container_name`, or \
              ask for one container"]
        );
        assert_eq!(
            project_errors("services:\n  a: {image: i, container_name: same}\n  b: {image: i, container_name: same}\n"),
            ["3:33 the container name `same` is already in use by service `a`"]
        );
    }

    #[test]
    fn letters_are_restricted() {
        assert_eq!(errors("container_name: a/b"), ["4:21 `a/b` is not a container name"]);
    }
}
