//! `stack push`.

use std::collections::BTreeSet;

use clap::Args;
use stack_model::{ImageReference, ServiceName};

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Only what fails is said
    #[arg(short, long)]
    quiet: bool,
    /// Go on with the next image when one cannot be pushed
    #[arg(long)]
    ignore_push_failures: bool,
    /// Images of what the services depend on, too
    #[arg(long)]
    include_deps: bool,
    /// Services whose images are built here, or names of images of the store; all such services by default
    #[arg(value_name = "SERVICE|IMAGE")]
    names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &PushArgs) -> Result<u8, CliError> {
    let store = super::store(context)?;
    let runtime = super::runtime()?;
    for image in images(context, args)? {
        let push = || {
            let image = store.resolve(&image)?;
            runtime.block_on(store.push(&image, &|_| {})).map(|_| image)
        };
        match push() {
            Ok(image) if !args.quiet => output::note(&format!("image {image} pushed")),
            Ok(_) => {}
            Err(error) if args.ignore_push_failures => {
                output::note(&format!("warning: image {image} is not pushed: {error}"));
            }
            Err(error) => return Err(super::image_failed(error)),
        }
    }
    Ok(0)
}

/// The images of the services that are named, and those that are named themselves. A project is needed only where
/// something is not an image of the store.
fn images(context: &Context, args: &PushArgs) -> Result<BTreeSet<ImageReference>, CliError> {
    let project = match context.project() {
        Err(error) if args.names.is_empty() => return Err(error),
        project => project.ok(),
    };
    let Some(desired) = project.map(|project| project.lower(&context.machine.layout().instance())) else {
        return Ok(args.names.iter().map(|name| name.as_str().into()).collect());
    };
    let (services, others): (Vec<ServiceName>, Vec<ServiceName>) = match args.names.as_slice() {
        [] => (desired.services.keys().cloned().collect(), Vec::new()),
        names => super::services(names).into_iter().partition(|name| desired.services.contains_key(name)),
    };
    let mut images: BTreeSet<ImageReference> = others.iter().map(|name| name.as_str().into()).collect();
    for name in stack_plan::with_dependencies(&desired, &services, |_| !args.include_deps) {
        let service = &desired.services[name];
        // What comes from a registry is there already.
        if let Some(build) = &service.build {
            images.insert(service.container.image.clone());
            images.extend(build.tags.iter().map(|tag| tag.as_str().into()));
        }
    }
    Ok(images)
}
