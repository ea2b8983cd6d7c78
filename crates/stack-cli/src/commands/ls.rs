//! `stack ls`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stack_compose::{DiskLoader, Phases};
use stack_model::{Container, ProjectName, ProjectSource, State};

use super::Format;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Projects of which nothing runs, too
    #[arg(short, long)]
    all: bool,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Only projects whose names have this; may be repeated
    #[arg(long, value_name = "name=TEXT", value_parser = filter)]
    filter: Vec<String>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A project of this installation.
struct Found {
    name: ProjectName,
    status: String,
    files: String,
}

pub(crate) fn run(context: &Context, args: &LsArgs) -> Result<u8, CliError> {
    let mut projects = Vec::new();
    for entry in fs_err::read_dir(context.machine.layout().projects()).into_iter().flatten().flatten() {
        let name = ProjectName::new(entry.file_name().to_string_lossy());
        if !args.filter.is_empty() && !args.filter.iter().any(|text| name.as_str().contains(text)) {
            continue;
        }
        let records = stack_runtime::observe_containers(context.machine.layout(), &name);
        let records = records.map_err(|error| super::failed(error.fault(), error.hint(), &error))?;
        if args.all || records.iter().any(|(_, state)| matches!(state, State::Running { .. })) {
            projects.push(Found { status: status(&records), files: files(context, &name), name });
        }
    }
    projects.sort_by(|a, b| a.name.cmp(&b.name));
    output::result(render(args, &projects).as_bytes()).map(|()| 0)
}

fn render(args: &LsArgs, projects: &[Found]) -> String {
    if args.quiet {
        return projects.iter().map(|project| format!("{}\n", project.name)).collect();
    }
    match args.format {
        Format::Table => {
            let rows: Vec<Vec<String>> =
                projects.iter().map(|it| vec![it.name.to_string(), it.status.clone(), it.files.clone()]).collect();
            output::table(&["NAME", "STATUS", "CONFIG FILES"], &rows)
        }
        Format::Json => {
            let object = |it: &Found| json!({ "Name": it.name, "Status": it.status, "ConfigFiles": it.files });
            format!("{}\n", json!(projects.iter().map(object).collect::<Vec<_>>()))
        }
    }
}

/// `--filter name=TEXT`.
fn filter(text: &str) -> Result<String, String> {
    text.strip_prefix("name=").map(str::to_owned).ok_or_else(|| "expected name=TEXT".to_owned())
}

/// How many containers are in which state, as in `exited(1), running(2)`.
fn status(records: &[(Container, State)]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, state) in records {
        let name = match state {
            State::Creating | State::Created => "created",
            State::Running { .. } => "running",
            State::Exited { .. } => "exited",
            State::Removing => "removing",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("{name}({count})")).collect::<Vec<_>>().join(", ")
}

/// The files that the last `up` has read.
fn files(context: &Context, project: &ProjectName) -> String {
    let path = context.machine.layout().source(project);
    let source = fs_err::read(path).ok().and_then(|text| serde_json::from_slice::<ProjectSource>(&text).ok());
    let Some(source) = source else { return String::new() };
    let inputs = stack_compose::read(&source, &DiskLoader, Phases::default()).inputs;
    let is_yaml = |path: &&PathBuf| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") && path.exists();
    inputs.iter().filter(is_yaml).map(|file| file.display().to_string()).collect::<Vec<_>>().join(",")
}
