//! The merged tree to a typed [`Project`], key by key.

use indexmap::IndexMap;
use stack_model::ProjectName;

use crate::context::Cx;
use crate::decode::Keys;
use crate::keys::{SERVICE_KEYS, SERVICE_KEYS_NOT_YET, service_key};
use crate::project::Project;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::text::Span;
use crate::toplevel;
use crate::yaml::{Entry, Kind, Mapping, Node, Tag, Value};

/// Short forms of every service to long ones.
pub(crate) fn canonical_services(root: &mut Mapping, cx: &mut Cx<'_>) {
    let Some(entry) = root.get_mut("services") else { return };
    let Kind::Mapping(services) = &mut entry.value.kind else { return };
    for service in services.values_mut() {
        let Kind::Mapping(fields) = &mut service.value.kind else { continue };
        let names: Vec<_> = fields.keys().filter_map(|name| service_key(name)).collect();
        for key in names {
            let Some(field) = fields.get_mut(key.name) else { continue };
            // `!reset` means the key, whatever stands there; null may be laid over something, where it says nothing.
            if field.value.tag == Tag::Reset || field.value.is_null() {
                continue;
            }
            let span = field.value.span;
            let value = std::mem::replace(&mut field.value, Node::null(span));
            match (key.canonical)(value, cx) {
                Some(value) => field.value = value,
                None => {
                    fields.shift_remove(key.name);
                }
            }
        }
    }
}

/// Everything the file says, profiles not yet applied.
pub(crate) fn parse_project(root: &Node, name: ProjectName, cx: &mut Cx<'_>) -> Project {
    let mut project = Project {
        name,
        directory: cx.directory.clone(),
        names: crate::text::Names::default(),
        services: IndexMap::new(),
        disabled: IndexMap::new(),
        networks: IndexMap::new(),
        volumes: IndexMap::new(),
        secrets: IndexMap::new(),
        configs: IndexMap::new(),
        extensions: Vec::new(),
    };
    let Some(root) = cx.object(root, "the project", &toplevel::ROOT) else { return project };
    if let Some(name) = root.get("name").filter(|entry| !entry.value.is_null()) {
        cx.text(&name.value, "`name`");
    }
    if let Some(services) = root.get("services").filter(|entry| entry.value.is_null()) {
        cx.wrong_type(&services.value, "`services`", "a mapping");
    }
    for (key, entry) in toplevel::section(root, "services", cx) {
        if let Some(service) = parse_service(key, entry, cx) {
            project.services.insert(key.to_owned(), service);
        }
    }
    project.networks = toplevel::networks(root, &project.name, cx);
    project.volumes = toplevel::volumes(root, &project.name, cx);
    project.secrets = toplevel::files(root, "secrets", &project.name, cx);
    project.configs = toplevel::files(root, "configs", &project.name, cx);
    project.extensions = extensions(root);
    if project.services.is_empty() && cx.report.errors() == 0 {
        let span = root.get("services").map_or(Span::default(), |entry| entry.key);
        let problem = Problem::warning(Code::MissingKey, span, "the project has no services");
        cx.push(problem.help("write one under `services:`"));
    }
    project
}

fn parse_service(name: &str, entry: &Entry, cx: &mut Cx<'_>) -> Option<Service> {
    const KNOWN: [&str; SERVICE_KEYS.len()] = {
        let mut names = [""; SERVICE_KEYS.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = SERVICE_KEYS[index].name;
            index += 1;
        }
        names
    };
    const KEYS: Keys = Keys { known: &KNOWN, not_yet: SERVICE_KEYS_NOT_YET, extensions: true };
    let fields = cx.object(&entry.value, &format!("service `{name}`"), &KEYS)?;
    let mut service = Service { name: name.to_owned(), span: entry.key, ..Service::default() };
    service.extensions = extensions(fields);
    for (key, field) in fields {
        match service_key(key) {
            Some(key) if field.value.is_null() && !key.nullable => {
                let message = format!("`{}` has no value", key.name);
                let problem = Problem::error(Code::WrongType, field.value.span, message);
                cx.push(problem.help("give it a value or remove the key"));
            }
            Some(key) => (key.parse)(&field.value, &mut service, cx),
            None => {}
        }
    }
    origins(fields, &mut String::new(), &mut service.origins);
    same_meaning(&mut service.origins);
    Some(service)
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
    const PAIRS: [(&str, &str); 8] = [
        ("cpus", "deploy.resources.limits.cpus"),
        ("mem_limit", "deploy.resources.limits.memory"),
        ("mem_reservation", "deploy.resources.reservations.memory"),
        ("pids_limit", "deploy.resources.limits.pids"),
        ("scale", "deploy.replicas"),
        ("memswap_limit", "mem_limit"),
        ("volumes", "tmpfs"),
        ("environment", "env_file"),
    ];
    for (key, path) in PAIRS {
        let written = |name: &str| origins.iter().find(|(origin, _)| origin == name).map(|(_, span)| *span);
        if let (None, Some(span)) = (written(key), written(path)) {
            origins.push((key.to_owned(), span));
        }
    }
}

/// `x-*` as JSON.
fn extensions(fields: &Mapping) -> Vec<(String, serde_json::Value)> {
    let written = fields.iter().filter(|(key, _)| key.starts_with("x-"));
    written.map(|(key, entry)| (key.to_string(), json(&entry.value))).collect()
}

fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(json).collect(),
        Kind::Mapping(mapping) => mapping.iter().map(|(key, entry)| (key.to_string(), json(&entry.value))).collect(),
        Kind::Scalar(scalar) => match scalar.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(value),
            Value::Int(number) => Json::from(number),
            Value::Float(number) => Json::from(number),
            Value::Text => Json::from(&*scalar.text),
        },
    }
}
