//! `stack pull`.

use std::collections::BTreeSet;

use clap::Args;
use stack_image::{ImageError, SELF_IMAGE, Store};
use stack_model::{Desired, Failure, Fault, ImageReference};

use crate::context::Context;
use crate::error::{Casualty, CliError};
use crate::output;

/// Options of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Only what fails is said
    #[arg(short, long)]
    quiet: bool,
    /// Only the images of these; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &PullArgs) -> Result<u8, CliError> {
    let desired = context.project()?.lower(&context.machine.layout().instance());
    pull_all(context, &desired, &args.services, args.quiet)?;
    Ok(0)
}

/// Fetches the images of these services, or of all.
pub(super) fn pull_all(context: &Context, desired: &Desired, services: &[String], quiet: bool) -> Result<(), CliError> {
    let store = open(context)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::io("cannot start the event loop", &error))?;
    let mut casualties = Vec::new();
    for image in images(desired, services)? {
        match runtime.block_on(store.pull(&image, &|_| {})) {
            Ok(_) if quiet => {}
            Ok(_) => output::note(&format!("image {image} pulled")),
            Err(error) => casualties.push(casualty(desired, &image, &error)),
        }
    }
    if casualties.is_empty() { Ok(()) } else { Err(CliError::Incomplete(casualties)) }
}

/// Checks that the images of these services, or of all, need no registry.
pub(super) fn require_all(context: &Context, desired: &Desired, services: &[String]) -> Result<(), CliError> {
    let store = open(context)?;
    let mut casualties = Vec::new();
    for image in images(desired, services)? {
        match store.find(&image) {
            Ok(Some(_)) => {}
            Ok(None) => casualties.push(Casualty {
                subject: format!("image {image}"),
                message: "not in the store, and --pull never forbids to fetch it".to_owned(),
                place: place(desired, &image),
                hint: Some("run `stack pull`".to_owned()),
                ..Casualty::default()
            }),
            Err(error) => casualties.push(casualty(desired, &image, &error)),
        }
    }
    if casualties.is_empty() { Ok(()) } else { Err(CliError::Incomplete(casualties)) }
}

fn open(context: &Context) -> Result<Store, CliError> {
    Store::open(context.machine.layout()).map_err(|error| super::failed(error.fault(), error.hint(), &error))
}

/// The images that a registry could have, each once.
fn images(desired: &Desired, services: &[String]) -> Result<BTreeSet<ImageReference>, CliError> {
    for name in services {
        if !desired.services.contains_key(name.as_str()) {
            let failure = Failure::new(Fault::User, format!("no such service: {name}"));
            return Err(failure.hint("`stack config --services` lists them").into());
        }
    }
    let wanted = |name: &str| services.is_empty() || services.iter().any(|wanted| wanted == name);
    let wanted = desired.services.iter().filter(|(name, _)| wanted(name.as_str()));
    let images = wanted.map(|(_, service)| service.container.image.clone());
    Ok(images.filter(|image| image.as_str() != SELF_IMAGE).collect())
}

fn casualty(desired: &Desired, image: &ImageReference, error: &ImageError) -> Casualty {
    let Failure { message, .. } = Failure::from_error(error.fault(), error);
    let place = place(desired, image);
    Casualty { subject: format!("image {image}"), message, place, hint: error.hint(), ..Casualty::default() }
}

/// Where the file names the image.
fn place(desired: &Desired, image: &ImageReference) -> Option<String> {
    let mut services = desired.services.values();
    let service = services.find(|service| service.container.image == *image)?;
    Some(service.origin_of("image").to_string())
}
