//! `depends_on`: what must hold before a container starts. A list means started and required.

use stack_model::{self as model, Condition, ServiceName};

use super::ServiceKey;
use super::forms::references;
use super::key::Lowering;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Dependency, Service};
use crate::shape::common::{BOOL, PLAIN_BOOL, TEXTS};
use crate::shape::{At, Field, Forms, Leaf, MapOf, Merge, Names, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("depends_on", "What must hold before a container starts.", &DEPENDENCIES)
        .parse(parse)
        .check(check)
        .lower(lower);

const DEPENDENCIES: Shape = Shape::Forms(Forms::new(&MAP, &[&TEXTS], expand).at_once());
const MAP: Shape =
    Shape::Map(MapOf { value: &DEPENDENCY, keys: Names::Reference, entry: "", merge: Merge::Deep, listed: false });
const DEPENDENCY: Shape = Shape::Object(
    &Object::new(&[
        Field::new(
            "condition",
            "What to wait for.",
            &Shape::Leaf(Leaf::Choice(&["service_started", "service_healthy", "service_completed_successfully"])),
        ),
        Field::new("restart", "Restart this service when the dependency is restarted or replaced.", &BOOL),
        Field::new("required", "Without it the absence of the dependency is a warning; true by default.", &PLAIN_BOOL)
            .always(),
    ])
    .required(&["condition"]),
);

fn expand(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let started = |span| {
        let fields = [("condition", Node::text("service_started", span)), ("required", Node::boolean(true, span))];
        Node::mapping(fields, span)
    };
    references(node, at, cx, started)
}

const CONDITIONS: [(&str, Condition); 3] = [
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Healthy),
    ("service_completed_successfully", Condition::CompletedSuccessfully),
];

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(mapping) = node.as_mapping() else { return };
    for (name, entry) in mapping {
        let Some(fields) = entry.value.as_mapping() else { continue };
        let condition = fields.get("condition").and_then(|condition| parse_condition(&condition.value));
        let mut flag = |key: &str| fields.get(key).and_then(|entry| cx.boolean(&entry.value, &format!("`{key}`")));
        let (restart, required) = (flag("restart").unwrap_or(false), flag("required").unwrap_or(true));
        if let Some(condition) = condition {
            service.depends_on.insert(name.to_string(), Dependency { span: entry.key, condition, restart, required });
        }
    }
}

fn parse_condition(node: &Node) -> Option<Condition> {
    let word = node.as_text()?;
    CONDITIONS.iter().find(|(name, _)| *name == word).map(|(_, condition)| *condition)
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    for (name, dependency) in &service.depends_on {
        // A service of another profile may be absent; one that does not exist is a mistake all the same.
        let absent = !dependency.required && project.disabled.contains_key(name);
        if project.services.contains_key(name) || absent {
            continue;
        }
        let message = format!("service `{}` depends on undefined service `{name}`", service.name);
        let problem = Problem::error(Code::UndefinedReference, dependency.span, message);
        let problem = match project.disabled.get(name) {
            Some(disabled) => {
                let profiles: Vec<&str> = disabled.profiles.iter().map(|profile| profile.value.as_str()).collect();
                let profiles = profiles.join("`, `");
                let reason = format!("`{name}` exists only under the profile `{profiles}`, which is not active");
                problem.reason(reason).help("activate it with `--profile`, or write `required: false`")
            }
            None => problem.nearest(
                dependency.span,
                nearest(name, project.services.keys().map(String::as_str).filter(|other| *other != service.name)),
            ),
        };
        report.push(problem);
    }
}

fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    // A dependency that is not required and not there is nothing to wait for.
    let there = from.service.depends_on.iter().filter(|(name, _)| from.project.services.contains_key(*name));
    to.depends_on = there
        .map(|(name, dependency)| {
            let Dependency { span, condition, restart, required } = *dependency;
            let origin = from.project.names.origin(span);
            (ServiceName::new(name), model::Dependency { condition, restart, required, origin })
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use stack_model::Condition;

    use crate::testing::{Files, project_errors};

    #[test]
    fn a_list_means_started_and_required() {
        let service = Files::new("services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i}\n").service("a");
        let dependency = &service.depends_on["b"];
        assert_eq!((dependency.condition, dependency.restart, dependency.required), (Condition::Started, false, true));
        assert_eq!(dependency.origin.to_string(), "compose.yaml:2:30");
    }

    #[test]
    fn the_long_form_says_everything() {
        let text = "services:\n  a:\n    image: i\n    depends_on:\n      b: {condition: service_healthy, restart: true}\n      \
                    c: {condition: service_completed_successfully, required: false}\n      \
                    d: {condition: service_started, required: false}\n  b: {image: i}\n  c: {image: i}\n  \
                    d: {image: i, profiles: [pp]}\n";
        let service = Files::new(text).service("a");
        assert_eq!(service.depends_on["b"].condition, Condition::Healthy);
        assert!(service.depends_on["b"].restart);
        assert_eq!(service.depends_on["c"].condition, Condition::CompletedSuccessfully);
        assert!(!service.depends_on["c"].required);
        assert!(!service.depends_on.contains_key("d"), "absent and not required");
    }

    #[test]
    fn an_unknown_service_is_an_error_with_the_nearest_one() {
        assert_eq!(
            project_errors("services:\n  a: {image: i, depends_on: [databse]}\n  database: {image: i}\n"),
            ["2:30 service `a` depends on undefined service `databse`; did you mean `database`?"]
        );
    }

    #[test]
    fn an_inactive_profile_is_the_reason() {
        assert_eq!(
            project_errors("services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, profiles: [debug]}\n"),
            ["2:30 service `a` depends on undefined service `b`; activate it with `--profile`, or write `required: \
              false`"]
        );
    }

    #[test]
    fn conditions_are_checked() {
        assert_eq!(
            project_errors(
                "services:\n  a: {image: i, depends_on: {b: {condition: healthy}, c: {}}}\n  b: {image: i}\n  c: {image: i}\n"
            ),
            [
                "2:45 `healthy` is not a value of `condition`; did you mean `service_healthy`?",
                "2:55 `c` of `depends_on` needs `condition`; add `condition: …`"
            ]
        );
    }
}
