//! `stack tag`.

use clap::Args;

use crate::context::Context;
use crate::error::CliError;

/// Options of `tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// An image of the store, by name or by the beginning of its id
    image: String,
    /// Its further name
    name: String,
}

pub(crate) fn run(context: &Context, args: &TagArgs) -> Result<u8, CliError> {
    let (image, name) = (args.image.as_str().into(), args.name.as_str().into());
    super::store(context)?.tag(&image, &name).map_err(super::image_failed)?;
    Ok(0)
}
