//! `stack lock`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use stack_compose::{LOCK_FILE, Phases, Project, render_lock};
use stack_image::SELF_IMAGE;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Only what fails is said
    #[arg(short, long)]
    quiet: bool,
}

/// Names of images as the file has them, with their pinned names.
pub(super) type Pins = BTreeMap<String, String>;

/// Pins what is not pinned yet, forgets what the file does not name any more, and fetches what is pinned.
pub(crate) fn run(context: &Context, args: &LockArgs) -> Result<u8, CliError> {
    let known = context.project()?.locked().clone();
    let project = context.shown_project(Phases::default())?;
    let (store, runtime) = (super::store(context)?, super::runtime()?);
    let mut pins = Pins::new();
    for image in images(&project) {
        let pinned = match known.get(&image) {
            Some(pinned) => pinned.clone(),
            None => runtime.block_on(stack_image::pin(&image.as_str().into())).map_err(super::image_failed)?,
        };
        let reference = pinned.as_str().into();
        if store.find(&reference).map_err(super::image_failed)?.is_none() {
            runtime.block_on(store.pull(&reference, &|_| {})).map_err(super::image_failed)?;
        }
        if !args.quiet && !known.contains_key(&image) {
            output::note(&format!("image {image} is {}", digest(&pinned)));
        }
        pins.insert(image, pinned);
    }
    write(&project, &pins)?;
    if !args.quiet {
        output::note(&format!("{LOCK_FILE} pins {} images", pins.len()));
    }
    Ok(0)
}

/// The images of the project that a registry has.
pub(super) fn images(project: &Project) -> Vec<String> {
    project.named_images().into_iter().filter(|image| image != SELF_IMAGE).collect()
}

/// Writes the lock; one that is the same already is left alone.
pub(super) fn write(project: &Project, pins: &Pins) -> Result<(), CliError> {
    let path: PathBuf = project.directory().join(LOCK_FILE);
    let text = render_lock(pins);
    if fs_err::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let part = path.with_extension("lock.part");
    let written = fs_err::write(&part, text).and_then(|()| fs_err::rename(&part, &path));
    written.map_err(|error| CliError::io("cannot write the lock", &error))
}

/// The digest of a pinned name, short.
pub(super) fn digest(pinned: &str) -> &str {
    let digest = pinned.rsplit_once('@').map_or(pinned, |(_, digest)| digest);
    digest.get(..DIGEST_CHARS).unwrap_or(digest)
}

/// `sha256:` and twelve digits.
const DIGEST_CHARS: usize = 19;
