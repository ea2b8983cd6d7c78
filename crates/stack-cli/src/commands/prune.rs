//! `stack prune`.

use clap::Args;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Forget what builds have cached, too
    #[arg(long)]
    build_cache: bool,
    /// Remove every image that no container uses, and what builds have cached
    #[arg(short, long)]
    all: bool,
    /// Do not ask: nothing is ever asked
    #[arg(short, long, hide = true)]
    force: bool,
}

pub(crate) fn run(context: &Context, args: &PruneArgs) -> Result<u8, CliError> {
    let store = super::store(context)?;
    let layout = context.machine.layout();
    let hierarchy = super::hierarchy()?;
    let build_failed = |error: stack_build::BuildError| super::failed(error.fault(), error.hint(), &error);
    stack_build::sweep(layout, &hierarchy).map_err(build_failed)?;
    if args.build_cache || args.all {
        stack_build::forget(layout).map_err(build_failed)?;
    }
    if args.all {
        let used = super::used_images(context)?;
        for image in store.list().map_err(super::image_failed)? {
            if !used.contains(image.id.as_str()) {
                store.untag(&image.reference).map_err(super::image_failed)?;
                output::line(&format!("untagged {}", image.reference))?;
            }
        }
    }
    let collected = store.collect(&super::needed(context)?).map_err(super::image_failed)?;
    let (layers, blobs, size) = (collected.layers, collected.blobs, super::shown_size(collected.size));
    output::line(&format!("removed {layers} layers and {blobs} blobs: {size}"))?;
    Ok(0)
}
