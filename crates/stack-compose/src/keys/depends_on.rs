//! `depends_on`: what must hold before a container starts. A list means started and required.

use serde_json::{Value, json};
use stack_model::{self as model, Condition, ServiceName};

use super::ServiceKey;
use super::forms::names_to_keys;
use super::key::Lowering;
use crate::context::Cx;
use crate::decode::Keys;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Dependency, Service};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("depends_on", parse, render)
    .canonical(|node, cx| {
        let started = |span| Node::mapping([("condition", Node::text("service_started", span))], span);
        names_to_keys(node, "`depends_on`", cx, started)
    })
    .check(check)
    .lower(lower);

const KEYS: Keys = Keys { known: &["condition", "restart", "required"], not_yet: &[], extensions: true };

const CONDITIONS: [(&str, Condition); 3] = [
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Healthy),
    ("service_completed_successfully", Condition::CompletedSuccessfully),
];

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(mapping) = node.as_mapping() else { return };
    for (name, entry) in mapping {
        let what = format!("`{name}` of `depends_on`");
        let Some(fields) = cx.object(&entry.value, &what, &KEYS) else { continue };
        let condition =
            match fields.get("condition") {
                Some(condition) => parse_condition(&condition.value, cx),
                None => {
                    let problem = Problem::error(Code::MissingKey, entry.key, format!("{what} needs a `condition`"));
                    cx.push(problem.help(
                        "write `condition: service_started`, `service_healthy` or `service_completed_successfully`",
                    ));
                    None
                }
            };
        let mut flag = |key: &str| fields.get(key).and_then(|entry| cx.boolean(&entry.value, &format!("`{key}`")));
        let (restart, required) = (flag("restart").unwrap_or(false), flag("required").unwrap_or(true));
        if let Some(condition) = condition {
            service.depends_on.insert(name.to_string(), Dependency { span: entry.key, condition, restart, required });
        }
    }
}

fn parse_condition(node: &Node, cx: &mut Cx<'_>) -> Option<Condition> {
    let word = cx.text(node, "`condition`")?;
    let found = CONDITIONS.iter().find(|(name, _)| *name == word.value);
    if found.is_none() {
        let problem = Problem::error(Code::InvalidValue, word.span, format!("`{}` is not a condition", word.value));
        let near = nearest(&word.value, CONDITIONS.iter().map(|(name, _)| *name));
        let all = "the conditions are `service_started`, `service_healthy` and `service_completed_successfully`";
        cx.push(problem.reason(all).nearest(word.span, near));
    }
    found.map(|(_, condition)| *condition)
}

fn word(condition: Condition) -> &'static str {
    CONDITIONS.iter().find(|(_, other)| *other == condition).map_or("", |(name, _)| name)
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    for (name, dependency) in &service.depends_on {
        if project.services.contains_key(name) || !dependency.required {
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
            None => problem.nearest(dependency.span, nearest(name, project.services.keys().map(String::as_str))),
        };
        report.push(problem);
    }
}

fn render(service: &Service) -> Option<Value> {
    let entry = |dependency: &Dependency| {
        let mut value = json!({ "condition": word(dependency.condition), "required": dependency.required });
        if dependency.restart {
            value["restart"] = Value::Bool(true);
        }
        value
    };
    let entries = service.depends_on.iter().map(|(name, dependency)| (name.clone(), entry(dependency)));
    (!service.depends_on.is_empty()).then(|| entries.collect())
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
                    d: {condition: service_started, required: false}\n  b: {image: i}\n  c: {image: i}\n";
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
                "2:45 `healthy` is not a condition",
                "2:55 `c` of `depends_on` needs a `condition`; write `condition: service_started`, `service_healthy` \
                 or `service_completed_successfully`",
            ]
        );
    }
}
