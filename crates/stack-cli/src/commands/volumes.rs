//! `stack volumes`.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;
use stack_model::{ServiceName, VolumeName};

use super::Format;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// The one kind of volume that there is.
const DRIVER: &str = "local";

/// Options of `volumes`.
#[derive(Debug, Args)]
pub(crate) struct VolumesArgs {
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only those of these services; all by default
    services: Vec<String>,
}

/// Lists the named volumes of the project that have been made.
pub(crate) fn run(context: &Context, args: &VolumesArgs) -> Result<u8, CliError> {
    let layout = context.machine.layout();
    let desired = context.project()?.lower(&layout.instance());
    let mut names: BTreeSet<&VolumeName> = desired.volumes.keys().collect();
    if !args.services.is_empty() {
        names.clear();
    }
    for name in &args.services {
        let service = desired.services.get(&ServiceName::new(name.as_str()));
        let service = service.ok_or_else(|| super::unknown_service(name))?;
        names.extend(service.container.named_volumes());
    }
    names.retain(|name| layout.volume_data(name).is_dir());
    output::result(render(args, &names).as_bytes()).map(|()| 0)
}

fn render(args: &VolumesArgs, names: &BTreeSet<&VolumeName>) -> String {
    if args.quiet {
        return names.iter().map(|name| format!("{name}\n")).collect();
    }
    match args.format {
        Format::Table => {
            let rows: Vec<Vec<String>> = names.iter().map(|name| vec![DRIVER.to_owned(), name.to_string()]).collect();
            output::table(&["DRIVER", "VOLUME NAME"], &rows)
        }
        Format::Json => names.iter().map(|name| format!("{}\n", json!({ "Driver": DRIVER, "Name": name }))).collect(),
    }
}
