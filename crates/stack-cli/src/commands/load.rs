//! `stack load`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use stack_image::Store;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// A docker archive or an OCI layout; standard input by default
    file: Option<PathBuf>,
    /// The same, as docker has it
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    input: Option<PathBuf>,
}

/// What this program was given (proc(5)).
const STANDARD_INPUT: &str = "/dev/stdin";

pub(crate) fn run(context: &Context, args: &LoadArgs) -> Result<u8, CliError> {
    let failed = |error: stack_image::ImageError| super::failed(error.fault(), error.hint(), &error);
    let store = Store::open(context.machine.layout()).map_err(failed)?;
    let given = args.file.as_ref().or(args.input.as_ref());
    if given.is_none() && std::io::stdin().is_terminal() {
        return Err(CliError::user("name an archive, or send one to standard input"));
    }
    let file = given.map_or_else(|| Path::new(STANDARD_INPUT), PathBuf::as_path);
    for image in store.load(file).map_err(failed)? {
        output::line(&format!("loaded {image}"))?;
    }
    Ok(0)
}
