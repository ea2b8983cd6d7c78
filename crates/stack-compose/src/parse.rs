//! The merged tree to a typed [`Project`], key by key.

use stack_model::ProjectName;

use crate::context::Cx;
use crate::keys::service_key;
use crate::project::Project;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::text::{Span, Spanned};
use crate::toplevel;
use crate::yaml::{Entry, Kind, Mapping, Node, Tag};

/// Everything the tree says, with the services that the profiles leave out apart.
pub(crate) fn parse_project(root: Node, name: ProjectName, profiles: &[String], cx: &mut Cx<'_>) -> Project {
    let mut project = Project::new(name, cx.directory.clone());
    if let Some(fields) = root.as_mapping() {
        // Without interpolation there are no values to decode.
        if !cx.templates {
            // A service is large: where there are thousands, a list that doubles would take more than the file does.
            project.services.reserve_exact(toplevel::section(fields, "services").count());
            for (key, entry) in toplevel::section(fields, "services") {
                let service = parse_service(key, entry, cx);
                let active = service.is_active(profiles);
                let services = if active { &mut project.services } else { &mut project.disabled };
                services.insert(key.to_owned(), service);
            }
            project.networks = toplevel::networks(fields, &project.name, cx);
            project.volumes = toplevel::volumes(fields, &project.name, cx);
            project.secrets = toplevel::files(fields, "secrets", cx);
            project.configs = toplevel::files(fields, "configs", cx);
        }
        if toplevel::section(fields, "services").next().is_none() && cx.report.errors() == 0 {
            let span = fields.get("services").map_or(Span::default(), |entry| entry.key);
            let problem = Problem::warning(Code::MissingKey, span, "the project has no services");
            cx.push(problem.help("write one under `services:`"));
        }
    }
    project.is_template = cx.templates;
    project.document = root;
    project
}

fn parse_service(name: &str, entry: &Entry, cx: &mut Cx<'_>) -> Service {
    let mut service = Service { name: name.to_owned(), span: entry.key, ..Service::default() };
    let Some(fields) = entry.value.as_mapping() else {
        // What cannot be read is not missing as well.
        if entry.value.tag == Tag::Broken {
            service.image = Some(Spanned::default());
        }
        return service;
    };
    for (key, field) in fields {
        if field.value.tag == Tag::Broken {
            // What cannot be read is not missing as well.
            if &**key == "image" {
                service.image = Some(Spanned::default());
            }
            continue;
        }
        if let Some(parse) = service_key(key).and_then(|key| key.parse) {
            parse(&field.value, &mut service, cx);
        }
    }
    service.builds = fields.contains_key("build");
    service.provided = fields.contains_key("provider");
    origins(fields, &mut String::new(), &mut service.origins);
    same_meaning(&mut service.origins);
    service
}

/// Where every field stands: leaves at their value, collections at their key.
fn origins(fields: &Mapping, path: &mut String, origins: &mut Vec<(String, Span)>) {
    let length = path.len();
    for (key, entry) in fields {
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        let (span, below) = match &entry.value.kind {
            Kind::Scalar(_) => (entry.value.span, None),
            Kind::Sequence(_) => (entry.key, None),
            Kind::Mapping(below) => (entry.key, Some(below)),
        };
        origins.push((path.clone(), span));
        if let Some(below) = below {
            self::origins(below, path, origins);
        }
        path.truncate(length);
    }
}

/// What the plan speaks of by one key may be written under another: it is shown at its place there.
fn same_meaning(origins: &mut Vec<(String, Span)>) {
    const PAIRS: [(&str, &str); 10] = [
        ("restart", "deploy.restart_policy"),
        ("cpus", "deploy.resources.limits.cpus"),
        ("mem_limit", "deploy.resources.limits.memory"),
        ("mem_reservation", "deploy.resources.reservations.memory"),
        ("pids_limit", "deploy.resources.limits.pids"),
        ("scale", "deploy.replicas"),
        ("memswap_limit", "mem_limit"),
        ("volumes", "tmpfs"),
        ("environment", "env_file"),
        ("image", "build"),
    ];
    for (key, path) in PAIRS {
        let written = |name: &str| origins.iter().find(|(origin, _)| origin == name).map(|(_, span)| *span);
        if let (None, Some(span)) = (written(key), written(path)) {
            origins.push((key.to_owned(), span));
        }
    }
}
