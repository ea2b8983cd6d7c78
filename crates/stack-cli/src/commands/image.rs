//! `stack image`.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    verb: ImageVerb,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
enum ImageVerb {
    /// Show manifest and configuration as JSON
    Inspect {
        /// Names of images, or beginnings of ids
        #[arg(required = true)]
        images: Vec<String>,
    },
}

pub(crate) fn run(context: &Context, args: &ImageArgs) -> Result<u8, CliError> {
    let ImageVerb::Inspect { images } = &args.verb;
    let store = super::store(context)?;
    let mut all = Vec::new();
    for image in images {
        let (name, manifest, config) = store.inspect(&image.as_str().into()).map_err(super::image_failed)?;
        all.push(json!({ "name": name, "id": manifest["config"]["digest"], "manifest": manifest, "config": config }));
    }
    let text = serde_json::to_string_pretty(&all).expect("JSON can be written");
    output::line(&text)?;
    Ok(0)
}
