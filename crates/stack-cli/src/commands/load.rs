//! `stack load`.

use std::path::PathBuf;

use clap::Args;
use stack_image::Store;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// A docker archive or an OCI layout
    file: PathBuf,
}

pub(crate) fn run(context: &Context, args: &LoadArgs) -> Result<u8, CliError> {
    let failed = |error: stack_image::ImageError| super::failed(error.fault(), error.hint(), &error);
    let store = Store::open(context.machine.layout()).map_err(failed)?;
    for image in store.load(&args.file).map_err(failed)? {
        output::line(&format!("loaded {image}"))?;
    }
    Ok(0)
}
