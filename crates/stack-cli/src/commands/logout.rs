//! `stack logout`.

use clap::Args;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Host and port; Docker Hub by default
    #[arg(default_value = "docker.io")]
    registry: String,
}

pub(crate) fn run(_context: &Context, args: &LogoutArgs) -> Result<u8, CliError> {
    let known = stack_image::logout(&args.registry).map_err(super::image_failed)?;
    let what = if known { "logged out of" } else { "not logged in to" };
    output::note(&format!("{what} {}", args.registry));
    Ok(0)
}
