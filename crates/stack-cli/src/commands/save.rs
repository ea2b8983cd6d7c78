//! `stack save`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use stack_model::ImageReference;

use crate::context::Context;
use crate::error::CliError;

/// Options of `save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Where the archive goes; standard output by default
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Names of images
    #[arg(required = true)]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &SaveArgs) -> Result<u8, CliError> {
    let store = super::store(context)?;
    let images: Vec<ImageReference> = args.images.iter().map(|image| image.as_str().into()).collect();
    let Some(path) = &args.output else {
        let mut output = std::io::stdout().lock();
        if output.is_terminal() {
            return Err(CliError::user("an archive does not belong on a terminal: use -o FILE"));
        }
        store.save(&images, &mut output).map_err(super::image_failed)?;
        return Ok(0);
    };
    // A half-written archive never has the name that was asked for.
    let part = part(path);
    let write = || {
        let mut file = fs::File::create(&part).map_err(|error| CliError::io("cannot write the archive", &error))?;
        store.save(&images, &mut file).map_err(super::image_failed)?;
        file.flush()
            .and_then(|()| fs::rename(&part, path))
            .map_err(|error| CliError::io("cannot write the archive", &error))
    };
    let written = write();
    if written.is_err() {
        drop(fs::remove_file(&part));
    }
    written.map(|()| 0)
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".part{}", std::process::id()));
    name.into()
}
