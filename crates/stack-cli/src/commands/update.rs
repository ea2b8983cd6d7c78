//! `stack update`.

use std::collections::BTreeSet;

use clap::Args;
use stack_compose::{LOCK_FILE, Phases, Project};

use super::lock;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Only the images of these; all by default
    services: Vec<String>,
}

/// Asks the registries for what is pinned, says what has moved, pins and fetches it. What runs changes with the next `up`,
/// or at once where a supervisor watches the lock.
pub(crate) fn run(context: &Context, args: &UpdateArgs) -> Result<u8, CliError> {
    let mut pins = context.project()?.locked().clone();
    let project = context.shown_project(Phases::default())?;
    let all: BTreeSet<String> = lock::images(&project).into_iter().collect();
    pins.retain(|image, _| all.contains(image));
    let chosen = chosen(&project, &args.services)?;
    let (store, runtime) = (super::store(context)?, super::runtime()?);
    let mut changed = 0;
    for image in chosen {
        let newest = runtime.block_on(stack_image::pin(&image.as_str().into())).map_err(super::image_failed)?;
        let before = pins.insert(image.clone(), newest.clone());
        if before.as_ref() == Some(&newest) {
            continue;
        }
        changed += 1;
        let before = before.as_deref().map_or("not pinned", lock::digest);
        output::note(&format!("image {image} {before} -> {}", lock::digest(&newest)));
        if !args.dry_run {
            runtime.block_on(store.pull(&newest.as_str().into(), &|_| {})).map_err(super::image_failed)?;
        }
    }
    if changed == 0 {
        output::note(&format!("{LOCK_FILE} is up to date"));
    }
    if !args.dry_run {
        lock::write(&project, &pins)?;
    }
    Ok(0)
}

/// The images of these services, or of all.
fn chosen(project: &Project, services: &[String]) -> Result<Vec<String>, CliError> {
    if let Some(unknown) = services.iter().find(|name| !project.services().contains(name)) {
        return Err(super::unknown_service(unknown));
    }
    let all = lock::images(project);
    let wanted = |image: &String| services.is_empty() || services.iter().any(|name| project.uses_image(name, image));
    Ok(all.into_iter().filter(wanted).collect())
}
