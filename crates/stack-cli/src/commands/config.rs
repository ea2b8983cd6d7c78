//! `stack config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stack_compose::{Phases, Project};

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `config`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ConfigArgs {
    /// How it is shown; with json also what is wrong is one JSON value a line
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only say what is wrong
    #[arg(short, long)]
    quiet: bool,
    /// Names of services, one a line
    #[arg(long)]
    services: bool,
    /// Images, one a line
    #[arg(long)]
    images: bool,
    /// Names of volumes, one a line
    #[arg(long)]
    volumes: bool,
    /// Names of networks, one a line
    #[arg(long)]
    networks: bool,
    /// Names of profiles, one a line
    #[arg(long)]
    profiles: bool,
    /// Names of models, one a line
    #[arg(long)]
    models: bool,
    /// Fingerprints of services as docker compose 2.40.3 has them, one a line: of those named, separated by commas, or of
    /// all with `*`
    #[arg(long, value_name = "SERVICES")]
    hash: Option<String>,
    /// The project's variables, one a line
    #[arg(long)]
    environment: bool,
    /// Variables that the files use, with their defaults
    #[arg(long)]
    variables: bool,
    /// Every value that a variable could have, where it stands, and which one counts
    #[arg(long, value_name = "VARIABLE")]
    explain: Option<String>,
    /// Where a part of the result was written, such as services.web.ports
    #[arg(long, value_name = "PATH")]
    why: Option<String>,
    /// Leave `${…}` as it is
    #[arg(long)]
    no_interpolate: bool,
    /// Leave out what the file only implies
    #[arg(long)]
    no_normalize: bool,
    /// Leave relative paths as they are
    #[arg(long)]
    no_path_resolution: bool,
    /// Leave out what env files say
    #[arg(long)]
    no_env_resolution: bool,
    /// Do not check what services refer to
    #[arg(long)]
    no_consistency: bool,
    /// Show every image with the digest that its registry has for it
    #[arg(long)]
    resolve_image_digests: bool,
    /// Show only the images, with their digests: a file to be given beside the project's own
    #[arg(long)]
    lock_image_digests: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these and what they depend on; all by default
    selected: Vec<String>,
}

/// How the project is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub(crate) fn run(context: &Context, args: &ConfigArgs) -> Result<u8, CliError> {
    let mut project = match context.shown_project(phases(context, args)) {
        Err(CliError::Project { diagnostics, .. }) if args.format == Some(Format::Json) => {
            output::report_as_json(&diagnostics);
            return Err(CliError::Code(1));
        }
        loaded => loaded?,
    };
    let profiles = project.profiles_for(&args.selected);
    if !profiles.is_empty() {
        // Whoever names a service means it, whatever profile it is in.
        project = context.shown_with_profiles(phases(context, args), profiles)?;
    }
    let unknown = project.select(&args.selected);
    if let Some(unknown) = unknown {
        return Err(CliError::user(format!("no such service: {unknown}")));
    }
    let list = list(context, args, &project)?;
    // As in docker compose, lists and fingerprints are those of the files.
    if list.is_none() && (args.resolve_image_digests || args.lock_image_digests) {
        pin_images(&mut project)?;
    }
    if args.quiet {
        return Ok(0);
    }
    let text = list.unwrap_or_else(|| whole(args, &project));
    match &args.output {
        Some(path) => {
            fs_err::write(path, text).map_err(|error| CliError::io("cannot write the configuration", &error))?;
        }
        None => output::result(text.as_bytes())?,
    }
    Ok(0)
}

/// Asks the registries. What is built has no registry to ask.
fn pin_images(project: &mut Project) -> Result<(), CliError> {
    let runtime = super::runtime()?;
    let mut pinned = BTreeMap::new();
    for image in project.named_images() {
        let name = runtime.block_on(stack_image::pin(&image.as_str().into())).map_err(super::image_failed)?;
        pinned.insert(image, name);
    }
    project.pin_images(&pinned);
    Ok(())
}

fn phases(context: &Context, args: &ConfigArgs) -> Phases {
    // The list of variables is for finding out what has to be set.
    Phases {
        interpolate: !args.no_interpolate && !args.variables,
        normalize: !args.no_normalize && !context.shown.compatibility,
        only_used: !context.shown.all_resources,
        resolve_paths: !args.no_path_resolution,
        consistency: !args.no_consistency,
        env_files: !args.no_env_resolution && args.hash.is_none(),
    }
}

/// What was asked for instead of the project.
fn list(context: &Context, args: &ConfigArgs, project: &Project) -> Result<Option<String>, CliError> {
    if args.variables {
        return Ok(Some(variables(context, args)));
    }
    if args.environment {
        let environment = project.environment().into_iter();
        return Ok(Some(environment.map(|(name, value)| format!("{name}={value}\n")).collect()));
    }
    if let Some(name) = &args.explain {
        return explain(project, name).map(Some);
    }
    if let Some(path) = &args.why {
        return why(project, path).map(Some);
    }
    if let Some(wanted) = &args.hash {
        return hashes(project, wanted).map(Some);
    }
    let lists = [
        (args.services, project.services_by_dependency()),
        (args.images, project.images()),
        (args.volumes, project.volumes()),
        (args.networks, project.networks()),
        (args.profiles, project.profiles()),
        (args.models, project.models()),
    ];
    let asked = lists.into_iter().find(|(wanted, _)| *wanted);
    Ok(asked.map(|(_, names)| names.iter().map(|name| format!("{name}\n")).collect()))
}

/// The project, or its images.
fn whole(args: &ConfigArgs, project: &Project) -> String {
    match (args.format.unwrap_or(Format::Yaml), args.lock_image_digests) {
        (Format::Yaml, false) => project.to_yaml(),
        (Format::Json, false) => format!("{:#}\n", project.to_json()),
        (Format::Yaml, true) => project.images_to_yaml(),
        (Format::Json, true) => format!("{:#}\n", project.images_to_json()),
    }
}

fn variables(context: &Context, args: &ConfigArgs) -> String {
    let used = context.variables();
    if let Some(format) = args.format {
        let yaml = format == Format::Yaml;
        let key = |name: &str| if yaml { name.to_lowercase() } else { name.to_owned() };
        let all: serde_json::Map<String, serde_json::Value> = used
            .into_iter()
            .map(|used| {
                let value = serde_json::json!({
                    key("Name"): used.name, key("DefaultValue"): used.default, key("PresenceValue"): used.alternate,
                    key("Required"): used.required,
                });
                (used.name, value)
            })
            .collect();
        let all = serde_json::Value::Object(all);
        return if yaml { stack_compose::to_yaml(&all) } else { format!("{all:#}\n") };
    }
    let rows = used.into_iter().map(|used| [used.name, used.required.to_string(), used.default, used.alternate]);
    let head = ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    // As wide as those of docker compose.
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let width = |column: usize| (widest(column) + 3).max(20);
    let (name, required, default) = (width(0), width(1), width(2));
    let line = |row: &[String; 4]| {
        let [a, b, c, d] = row;
        format!("{a:name$}{b:required$}{c:default$}{d}\n")
    };
    rows.iter().map(line).collect()
}

fn explain(project: &Project, name: &str) -> Result<String, CliError> {
    let candidates = project.candidates(name);
    if candidates.is_empty() {
        return Err(CliError::user(format!(
            "the variable `{name}` has no value: it is neither in the environment nor in an env file"
        )));
    }
    let lines = candidates.iter().enumerate().map(|(rank, candidate)| {
        let place = match candidate.origin.line {
            0 => "the environment of the command".to_owned(),
            _ => candidate.origin.to_string(),
        };
        let reason = match (rank, candidate.origin.line) {
            (0, 0) => "counts: the environment wins over env files",
            (0, _) if candidates.len() > 1 => "counts: a later env file wins over an earlier one",
            (0, _) => "counts: the environment does not have it",
            (_, _) => "does not count",
        };
        format!("{name}={}\n  from {place}\n  {reason}\n", candidate.value)
    });
    Ok(lines.collect())
}

fn why(project: &Project, path: &str) -> Result<String, CliError> {
    let reasons = project.why(path);
    if reasons.is_empty() {
        return Err(CliError::user(format!("there is nothing at `{path}`; `stack config` shows what there is")));
    }
    let line = |reason: &stack_compose::Reason| {
        let origin = if reason.origin.line == 0 { "implied".to_owned() } else { reason.origin.to_string() };
        let before = reason.replaced.iter().map(|origin| format!("\n    instead of {origin}"));
        let ways = reason.ways.iter().map(|(way, origin)| format!("\n    by `{way}` in {origin}"));
        let (ways, before) = (ways.collect::<String>(), before.collect::<String>());
        format!("{} = {}\n    from {origin}{ways}{before}\n", reason.path, reason.value)
    };
    Ok(reasons.iter().map(line).collect())
}

fn hashes(project: &Project, wanted: &str) -> Result<String, CliError> {
    let all = project.services();
    let names: Vec<&str> = match wanted {
        "*" => all.iter().map(String::as_str).collect(),
        names => names.split(',').collect(),
    };
    let line = |name: &str| {
        let hash = project.hash(name).ok_or_else(|| CliError::user(format!("no such service: {name}")))?;
        Ok(format!("{name} {hash}\n"))
    };
    names.into_iter().map(line).collect()
}
