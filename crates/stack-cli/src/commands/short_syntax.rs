//! What options say in the words of a Compose file, read as such.

use std::path::Path;

use serde_json::{Map, Value, json};
use stack_compose::{DiskLoader, Loaded};
use stack_model::{ContainerSpec, ProjectSource};

use crate::context::Context;
use crate::error::CliError;

/// A command line as words, by the rules of `command:`.
pub(super) fn words(context: &Context, line: &str) -> Result<Vec<String>, CliError> {
    let spec = read(context, "--entrypoint", &json!({ "entrypoint": escaped(line) }), &Map::new())?;
    Ok(spec.entrypoint.unwrap_or_default())
}

/// A specification with the mounts and ports of `-v` and `-p`, and nothing else of interest.
pub(super) fn mounts_and_ports(
    context: &Context,
    volumes: &[String],
    ports: &[String],
) -> Result<ContainerSpec, CliError> {
    let escape = |list: &[String]| list.iter().map(|text| escaped(text)).collect::<Vec<_>>();
    // The name of a volume that no file declares is its real one.
    let names = volumes.iter().filter_map(|text| text.split_once(':')).map(|(source, _)| source);
    let named = names.filter(|source| !source.starts_with(['/', '.', '~']));
    let declared = named.map(|name| (name.to_owned(), json!({ "name": name }))).collect();
    let service = json!({ "volumes": escape(volumes), "ports": escape(ports) });
    read(context, "-v or -p", &service, &declared)
}

fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn read(
    context: &Context,
    options: &str,
    service: &Value,
    volumes: &Map<String, Value>,
) -> Result<ContainerSpec, CliError> {
    let mut service = service.clone();
    service["image"] = "none".into();
    let text = json!({ "name": "options", "services": { "options": service }, "volumes": volumes }).to_string();
    let source = ProjectSource {
        files: vec![Path::new("-").to_path_buf()],
        project_dir: Some(context.source.working_dir.clone()),
        project_name: None,
        profiles: Vec::new(),
        env_files: Vec::new(),
        stdin: Some(text),
        ..context.source.clone()
    };
    let Loaded { project, diagnostics, .. } = stack_compose::load(&source, &DiskLoader);
    let wrong = || {
        let said: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
        CliError::user(format!("{options}: {}", said.join("; ")))
    };
    let lowered = project.map(|project| project.lower(&context.machine.layout().instance()));
    let service = lowered.and_then(|mut desired| desired.services.pop_first()).ok_or_else(wrong)?;
    Ok(service.1.container)
}
