//! `stack pull`.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use stack_image::{ImageError, SELF_IMAGE};
use stack_model::{Desired, Failure, ImageReference, Origin, Service, ServiceName};

use crate::context::Context;
use crate::error::{Casualty, CliError};
use crate::output;

/// Options of `pull`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct PullArgs {
    /// Only what fails is said
    #[arg(short, long)]
    quiet: bool,
    /// Pass over images that can be built
    #[arg(long)]
    ignore_buildable: bool,
    /// Fetch what can be fetched; failures are only said
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Also the images of what the services depend on
    #[arg(long)]
    include_deps: bool,
    /// Which images to fetch: those that are missing, or all
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Policy::Always, hide_default_value = true)]
    policy: Policy,
    /// Only the images of these; all by default
    services: Vec<String>,
}

/// Which images are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// Those that the store does not have
    Missing,
    /// All
    Always,
}

/// What the project says about an image.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// A service builds it.
    is_built: bool,
    /// No service gives it a name: only a build knows the one it has.
    is_unnamed: bool,
}

pub(crate) fn run(context: &Context, args: &PullArgs) -> Result<u8, CliError> {
    let desired = context.project()?.lower(&context.machine.layout().instance());
    let store = super::store(context)?;
    let runtime = super::runtime()?;
    let (mut casualties, mut unbuilt) = (Vec::new(), BTreeSet::new());
    for (image, wanted) in images(&desired, args)? {
        if wanted.is_unnamed || wanted.is_built && args.ignore_buildable {
            if !args.quiet {
                output::note(&format!("image {image} skipped: it can be built"));
            }
            continue;
        }
        if args.policy == Policy::Missing && store.find(&image).map_err(super::image_failed)?.is_some() {
            continue;
        }
        match runtime.block_on(store.pull(&image, &|_| {})) {
            Ok(_) if args.quiet => {}
            Ok(_) => output::note(&format!("image {image} pulled")),
            Err(error) if wanted.is_built => {
                output::note(&format!("warning: image {image} cannot be pulled: {}", chain(&error)));
                unbuilt.extend(makers(&desired, &image).cloned());
            }
            Err(error) => casualties.push(casualty(&desired, &image, &error)),
        }
    }
    if !unbuilt.is_empty() {
        let names: Vec<&str> = unbuilt.iter().map(|name| name.as_str()).collect();
        output::note(&format!("images that must be built: run `stack build {}`", names.join(" ")));
    }
    if args.ignore_pull_failures {
        casualties.iter().for_each(output::report_casualty);
        return Ok(0);
    }
    if casualties.is_empty() { Ok(0) } else { Err(CliError::Incomplete(casualties)) }
}

/// The images that a registry could have, each once.
fn images(desired: &Desired, args: &PullArgs) -> Result<BTreeMap<ImageReference, Wanted>, CliError> {
    for name in &args.services {
        if !desired.services.contains_key(name.as_str()) {
            return Err(super::unknown_service(name));
        }
    }
    let mut images = BTreeMap::new();
    let mut open: Vec<ServiceName> = super::services(&args.services);
    if open.is_empty() {
        open = desired.services.keys().cloned().collect();
    }
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(service) = desired.services.get(&name) else { continue };
        if !seen.insert(name.clone()) {
            continue;
        }
        if args.include_deps {
            open.extend(service.depends_on.keys().cloned());
        }
        let image = &service.container.image;
        if image.as_str() != SELF_IMAGE {
            images.insert(image.clone(), wanted(desired, (&name, service)));
        }
        for image in service.container.mounted_images().filter(|image| image.as_str() != SELF_IMAGE) {
            let is_built = makers(desired, image).next().is_some();
            images.entry(image.clone()).or_insert(Wanted { is_built, is_unnamed: false });
        }
    }
    Ok(images)
}

fn wanted(desired: &Desired, (name, service): (&ServiceName, &Service)) -> Wanted {
    let image = &service.container.image;
    let given = format!("{}-{name}", desired.project).to_lowercase();
    Wanted {
        is_built: makers(desired, image).next().is_some(),
        is_unnamed: service.build.is_some() && image.as_str() == given,
    }
}

/// The services that build an image.
fn makers<'a>(desired: &'a Desired, image: &'a ImageReference) -> impl Iterator<Item = &'a ServiceName> {
    let makes =
        |service: &Service| service.build.iter().any(|build| build.tags.iter().any(|tag| tag == image.as_str()));
    desired.services.iter().filter(move |(_, service)| makes(service)).map(|(name, _)| name)
}

fn chain(error: &ImageError) -> String {
    Failure::from_error(error.fault(), error).message
}

pub(super) fn casualty(desired: &Desired, image: &ImageReference, error: &ImageError) -> Casualty {
    let (message, place) = (chain(error), place(desired, image));
    Casualty { subject: format!("image {image}"), message, place, hint: error.hint(), ..Casualty::default() }
}

/// Where the file names the image.
pub(crate) fn origin_of_image<'a>(desired: &'a Desired, image: &ImageReference) -> Option<&'a Origin> {
    let takes = |service: &&Service| service.container.images().any(|other| other == image);
    let service = desired.services.values().find(takes)?;
    Some(service.origin_of(if service.container.image == *image { "image" } else { "volumes" }))
}

fn place(desired: &Desired, image: &ImageReference) -> Option<String> {
    origin_of_image(desired, image).map(ToString::to_string)
}
