//! `stack rmi`.

use clap::Args;
use stack_image::Store;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Keep the content for `stack prune`
    #[arg(long)]
    no_prune: bool,
    /// Names of images, or beginnings of ids
    #[arg(required = true)]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &RmiArgs) -> Result<u8, CliError> {
    let store = super::store(context)?;
    for image in &args.images {
        let name = store.untag(&image.as_str().into()).map_err(super::image_failed)?;
        output::line(&format!("untagged {name}"))?;
    }
    if !args.no_prune {
        collect(context, &store)?;
    }
    Ok(0)
}

/// Deletes the content of images without a name. Containers that run on a layer keep it.
pub(super) fn collect(context: &Context, store: &Store) -> Result<(), CliError> {
    let needed = super::needed(context)?;
    store.collect(&needed).map(drop).map_err(super::image_failed)
}
