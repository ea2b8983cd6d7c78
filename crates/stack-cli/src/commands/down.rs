//! `stack down`.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use stack_image::SELF_IMAGE;
use stack_model::{Desired, ImageReference, PolicyChange, ProjectName};

use super::{follow, rmi, targets};
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Delete named volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Seconds until a container is killed, instead of each service's own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Take images of the services away too
    #[arg(long, value_enum, value_name = "WHICH")]
    rmi: Option<Rmi>,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Only the containers of these; everything by default
    #[arg(conflicts_with_all = ["volumes", "rmi"])]
    services: Vec<String>,
}

/// Which images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rmi {
    /// Those that were built and have no name in the file
    Local,
    /// All
    All,
}

pub(crate) fn run(context: &Context, args: &DownArgs) -> Result<u8, CliError> {
    let timeout = super::timeout(args.timeout);
    if !args.services.is_empty() {
        let (_, containers) = targets::of_services(context, &args.services)?;
        return follow::take_away(context, targets::services(&containers), timeout);
    }
    let project = context.project_name()?;
    let images = args.rmi.map(|which| images(context, &project, which)).transpose()?.unwrap_or_default();
    let code = if context.is_up(&project) {
        let mut session = follow::begin(context, project, PolicyChange::Down { volumes: args.volumes, timeout })?;
        follow::until_down(&mut session)?
    } else {
        output::note(&format!("project `{project}` is not up"));
        0
    };
    if !images.is_empty() {
        forget(context, &images)?;
    }
    Ok(code)
}

/// The images of a project as it was last started, else as its file has it.
fn images(context: &Context, project: &ProjectName, which: Rmi) -> Result<BTreeSet<ImageReference>, CliError> {
    let desired: Desired = match context.last_desired(project) {
        Some(desired) => desired,
        None => context.project()?.lower(&context.machine.layout().instance()),
    };
    let goes = desired.services.iter().filter(|(name, service)| match which {
        Rmi::Local => service.build.is_some() && !stack_plan::is_named(project, name, &service.container.image),
        Rmi::All => service.container.image.as_str() != SELF_IMAGE,
    });
    Ok(goes.map(|(_, service)| service.container.image.clone()).collect())
}

/// Takes names of images away, and what has no other.
fn forget(context: &Context, images: &BTreeSet<ImageReference>) -> Result<(), CliError> {
    let store = super::store(context)?;
    // Those of other projects: this one's containers are gone.
    let used = super::used_images(context)?;
    for image in images {
        let here = store.find(image).map_err(super::image_failed)?;
        // One that was never fetched need not be taken away.
        let Some(facts) = here else { continue };
        if used.contains(facts.id.as_str()) {
            output::note(&format!("image {image} stays: a container of another project has it"));
            continue;
        }
        let name = store.untag(image).map_err(super::image_failed)?;
        output::note(&format!("image {name} removed"));
    }
    rmi::collect(context, &store)
}
