//! `stack config`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `config`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ConfigArgs {
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
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
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How the project is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub(crate) fn run(context: &Context, args: &ConfigArgs) -> Result<u8, CliError> {
    let project = context.project()?;
    if args.quiet {
        return Ok(0);
    }
    let lists = [
        (args.services, project.services()),
        (args.images, project.images()),
        (args.volumes, project.volumes()),
        (args.networks, project.networks()),
        (args.profiles, project.profiles()),
    ];
    let text = match lists.into_iter().find(|(wanted, _)| *wanted) {
        Some((_, names)) => names.iter().map(|name| format!("{name}\n")).collect(),
        None => match args.format {
            Format::Yaml => project.to_yaml(),
            Format::Json => format!("{:#}\n", project.to_json()),
        },
    };
    match &args.output {
        Some(path) => {
            fs_err::write(path, text).map_err(|error| CliError::io("cannot write the configuration", &error))?
        }
        None => output::result(text.as_bytes())?,
    }
    Ok(0)
}
