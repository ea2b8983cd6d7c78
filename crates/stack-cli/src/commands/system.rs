//! `stack system`.

use clap::{Args, Subcommand};
use serde_json::json;
use stack_image::disk_usage;
use stack_model::Bytes;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `system`.
#[derive(Debug, Args)]
pub(crate) struct SystemArgs {
    #[command(subcommand)]
    verb: SystemVerb,
}

/// What to do with the system.
#[derive(Debug, Subcommand)]
enum SystemVerb {
    /// Show what takes how much of the disk
    Df(DfArgs),
}

/// Options of `system df`.
#[derive(Debug, Args)]
struct DfArgs {
    /// `table` or `json`
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
}

pub(crate) fn run(context: &Context, args: &SystemArgs) -> Result<u8, CliError> {
    match &args.verb {
        SystemVerb::Df(args) => df(context, args),
    }
}

fn df(context: &Context, args: &DfArgs) -> Result<u8, CliError> {
    let layout = context.machine.layout();
    let usage = super::store(context)?.usage(&super::needed(context)?).map_err(super::image_failed)?;
    let of = |path: std::path::PathBuf| disk_usage(&path).map_err(super::image_failed);
    let volumes = of(layout.root.join("volumes"))?;
    let rows: [(&str, Bytes); 5] = [
        ("images", usage.blobs),
        ("layers", usage.layers),
        ("build", of(layout.build())?),
        ("projects", of(layout.projects())?),
        ("volumes", volumes),
    ];
    let total = of(layout.root.clone())?;
    if args.format == "json" {
        let mut object: serde_json::Map<_, _> =
            rows.iter().map(|(name, size)| ((*name).to_owned(), json!(size.0))).collect();
        object.insert("total".to_owned(), json!(total.0));
        object.insert("unused".to_owned(), json!(usage.unused.0));
        output::line(&serde_json::Value::Object(object).to_string())?;
        return Ok(0);
    }
    let more = [("total", total), ("of it unused", usage.unused)];
    let rows: Vec<Vec<String>> =
        rows.iter().chain(&more).map(|(name, size)| vec![(*name).to_owned(), super::shown_size(*size)]).collect();
    output::result(output::table(&["WHAT", "ON DISK"], &rows).as_bytes())?;
    Ok(0)
}
