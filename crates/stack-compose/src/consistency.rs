//! Rules of docker compose about services that know one another, on the filled-in tree. What one key alone can say about
//! itself stands in its own file.

use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::text::Span;
use crate::yaml::{Kind, Mapping, Node, Value};

/// Reports every rule that an active service breaks.
pub(crate) fn check(project: &Project, report: &mut Report) {
    let Some(services) = project.document.get("services").and_then(Node::as_mapping) else { return };
    for (name, entry) in services.iter().filter(|(name, _)| project.services.contains_key(&***name)) {
        let Some(service) = entry.value.as_mapping() else { continue };
        if let Some(build) = service.get("build").and_then(|entry| entry.value.as_mapping()) {
            check_build(name, build, service, project, report);
        }
        check_models(name, service, project, report);
        check_network_mode(name, service, report);
        check_health(service, report);
        check_watch(service, report);
    }
    check_secrets(project, report);
}

/// A driver may bring a secret along, and docker compose has none that does.
fn check_secrets(project: &Project, report: &mut Report) {
    for (name, entry) in project.document.get("secrets").and_then(Node::as_mapping).into_iter().flatten() {
        let says = |key: &str| entry.value.get(key).and_then(Node::as_text).is_some_and(|text| !text.is_empty());
        let external = entry.value.get("external").and_then(Node::as_scalar);
        let external = external.is_some_and(|scalar| scalar.value == Value::Bool(true));
        // What has no source at all was reported when it was read.
        let given = ["file", "environment", "external", "driver"].iter().any(|key| entry.value.get(key).is_some());
        if given && !external && !says("file") && !says("environment") {
            let problem = Problem::error(Code::MissingKey, entry.key, format!("the secret `{name}` has no source"));
            report.push(problem.help("write one of `file`, `environment`, or `external: true`"));
        }
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.kind) {
        Some(Kind::Sequence(items)) => items,
        _ => &[],
    }
}

fn check_build(name: &str, build: &Mapping, service: &Mapping, project: &Project, report: &mut Report) {
    if let (Some(file), Some(inline)) = (build.get("dockerfile"), build.get("dockerfile_inline")) {
        let message = format!("service `{name}` declares mutually exclusive `dockerfile` and `dockerfile_inline`");
        let problem = Problem::error(Code::ConflictingKeys, inline.key, message).also(file.key, "the other one");
        report.push(problem.help("remove one of them"));
    }
    for item in items(build.get("secrets").map(|entry| &entry.value)) {
        let Some(source) = item.get("source") else { continue };
        let text = source.as_text().unwrap_or_default();
        if !project.secrets.contains_key(text) {
            let message = format!("service `{name}` refers to undefined build secret `{text}`");
            let problem = Problem::error(Code::UndefinedReference, source.span, message);
            let problem = problem.help("declare it under the top-level `secrets:`");
            report.push(problem.nearest(source.span, nearest(text, project.secrets.keys().map(String::as_str))));
        }
    }
    let platforms = items(build.get("platforms").map(|entry| &entry.value));
    if let Some(platform) = service.get("platform").map(|entry| &entry.value)
        && let Some(text) = platform.as_text().filter(|text| !text.is_empty() && !platforms.is_empty())
        && !platforms.iter().any(|other| other.as_text() == Some(text))
    {
        let message = format!("`build.platforms` does not have the `platform` of the service, `{text}`");
        let problem = Problem::error(Code::ConflictingKeys, platform.span, message);
        report.push(problem.also(platforms[0].span, "the platforms").help("add it to `build.platforms`"));
    }
    for (context, entry) in
        build.get("additional_contexts").and_then(|entry| entry.value.as_mapping()).into_iter().flatten()
    {
        let Some(target) = entry.value.as_text().and_then(|text| text.strip_prefix("service:")) else { continue };
        let start = "service:".len();
        let span = entry.value.part(start..start + target.len());
        check_context(name, context, (target, span), project, report);
    }
}

fn check_context(name: &str, context: &str, (target, span): (&str, Span), project: &Project, report: &mut Report) {
    let other = project.services.get(target).or_else(|| project.disabled.get(target));
    let message = match other {
        None => format!("service `{name}` takes its context `{context}` from undefined service `{target}`"),
        Some(other) if !other.builds => {
            format!("service `{name}` takes its context `{context}` from `{target}`, which is not built")
        }
        Some(_) => return,
    };
    let problem = Problem::error(Code::UndefinedReference, span, message);
    report.push(problem.nearest(span, nearest(target, project.services.keys().map(String::as_str))));
}

fn check_models(name: &str, service: &Mapping, project: &Project, report: &mut Report) {
    let declared = project.document.get("models").and_then(Node::as_mapping);
    for (model, entry) in service.get("models").and_then(|entry| entry.value.as_mapping()).into_iter().flatten() {
        if !declared.is_some_and(|declared| declared.contains_key(model)) {
            let message = format!("service `{name}` refers to undefined model `{model}`");
            let problem = Problem::error(Code::UndefinedReference, entry.key, message);
            let near = nearest(model, declared.into_iter().flatten().map(|(name, _)| &**name));
            report.push(problem.help("declare it under the top-level `models:`").nearest(entry.key, near));
        }
    }
}

fn check_network_mode(name: &str, service: &Mapping, report: &mut Report) {
    let (Some(mode), Some(networks)) = (service.get("network_mode"), service.get("networks")) else { return };
    let given = networks.value.as_mapping().and_then(|networks| networks.values().next());
    if let Some(network) = given.filter(|_| mode.value.as_text() != Some("")) {
        let message = format!("service `{name}` declares mutually exclusive `network_mode` and `networks`");
        let problem = Problem::error(Code::ConflictingKeys, mode.value.span, message);
        report.push(problem.also(network.key, "a network").help("remove one of them"));
    }
}

fn check_health(service: &Mapping, report: &mut Report) {
    let test = service.get("healthcheck").and_then(|entry| entry.value.get("test"));
    let Some(first) = items(test).first() else { return };
    if !matches!(first.as_text(), Some("NONE" | "CMD" | "CMD-SHELL")) {
        let message = "`test` must start with `CMD`, `CMD-SHELL` or `NONE`";
        let problem = Problem::error(Code::InvalidValue, first.span, message);
        report.push(problem.help("write `[CMD, program, argument]`, or a text for the shell"));
    }
}

fn check_watch(service: &Mapping, report: &mut Report) {
    let watches = service.get("develop").and_then(|develop| develop.value.get("watch"));
    for item in items(watches) {
        let action = item.get("action").and_then(Node::as_text).unwrap_or_default();
        if matches!(action, "sync" | "sync+restart" | "sync+exec") && item.get("target").is_none() {
            let message = format!("`target` is required for the action `{action}`");
            let problem = Problem::error(Code::MissingKey, item.span, message);
            report.push(problem.help("write `target:` with the path inside the container"));
        }
        if let Some(path) = item.get("path").filter(|path| path.as_text() == Some("")) {
            report.push(Problem::error(Code::InvalidValue, path.span, "`path` of `watch` is empty"));
        }
    }
}
