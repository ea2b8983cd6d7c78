//! `stack push`.

use clap::Args;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Only what fails is said
    #[arg(short, long)]
    quiet: bool,
    /// Names of images of the store
    #[arg(required = true)]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &PushArgs) -> Result<u8, CliError> {
    let store = super::store(context)?;
    let runtime = super::runtime()?;
    for image in &args.images {
        let image = store.resolve(&image.as_str().into()).map_err(super::image_failed)?;
        runtime.block_on(store.push(&image, &|_| {})).map_err(super::image_failed)?;
        if !args.quiet {
            output::note(&format!("image {image} pushed"));
        }
    }
    Ok(0)
}
