//! Images before containers: what a command that starts services fetches and builds first.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use stack_compose::Project;
use stack_image::{SELF_IMAGE, Store};
use stack_model::{Desired, ImageReference, PullPolicy, Service, ServiceName};
use stack_plan::{BuildWhen, Held, Otherwise, Refusal, Supply, SupplyOptions};

use super::{build, pull};
use crate::arguments::Progress;
use crate::context::{Context, now};
use crate::error::{Casualty, CliError};
use crate::output;

/// Options about images.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ProvisionArgs {
    /// Build all images that can be built first; what was made before is used
    #[arg(long)]
    build: bool,
    /// Build nothing; an image that is missing is an error
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
    /// When to ask the registry, instead of each service's own
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Pull::Policy, hide_default_value = true)]
    pull: Pull,
    /// Say nothing about builds that succeed
    #[arg(long)]
    quiet_build: bool,
    /// Say nothing about images that are fetched
    #[arg(long)]
    quiet_pull: bool,
}

/// When to ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pull {
    /// As each service says
    Policy,
    /// Now
    Always,
    /// For what is missing
    Missing,
    /// Not at all
    Never,
}

impl ProvisionArgs {
    fn options(&self, no_deps: bool) -> SupplyOptions {
        SupplyOptions {
            no_deps,
            pull: match self.pull {
                Pull::Policy => None,
                Pull::Always => Some(PullPolicy::Always),
                Pull::Missing => Some(PullPolicy::Missing),
                Pull::Never => Some(PullPolicy::Never),
            },
            build: match (self.build, self.no_build) {
                (true, _) => BuildWhen::Always,
                (false, true) => BuildWhen::Never,
                (false, false) => BuildWhen::Missing,
            },
        }
    }
}

/// Fetches and builds what these services and their dependencies need, or all. After an error nothing has changed that
/// runs.
pub(crate) fn run(
    context: &Context,
    (project, desired): (&Project, &Desired),
    args: &ProvisionArgs,
    (services, no_deps): (&[ServiceName], bool),
) -> Result<(), CliError> {
    let store = super::store(context)?;
    let supply = stack_plan::supply(desired, services, &held(&store, desired), args.options(no_deps), now());
    refuse(desired, &supply)?;
    let quiet = args.quiet_pull || context.progress == Progress::Quiet;
    let Supply { pulls, mut builds, .. } = supply;
    builds.extend(fetch(&store, desired, &pulls, quiet)?);
    let builds: Vec<ServiceName> = builds.into_iter().collect();
    let waves = stack_plan::build_waves(desired, &builds, false);
    if waves.is_empty() {
        return Ok(());
    }
    let order = build::Order {
        surroundings: build::surroundings(context, project),
        waves: build::waves(desired, &waves),
        quiet: args.quiet_build || context.progress == Progress::Quiet,
        // Standard input of the child is the order.
        shell_on_error: false,
    };
    build::delegate(context, &order)
}

/// What the store has of the project's images.
fn held(store: &Store, desired: &Desired) -> BTreeMap<ImageReference, Held> {
    // Each once, however many services name it; whether one of them asks now and then.
    let mut asked_for: BTreeMap<&ImageReference, bool> = BTreeMap::new();
    for Service { container, .. } in desired.services.values() {
        *asked_for.entry(&container.image).or_default() |= matches!(container.pull_policy, PullPolicy::Every(_));
        for image in container.mounted_images() {
            asked_for.entry(image).or_default();
        }
    }
    let held = |(image, asks): (&ImageReference, bool)| {
        // A name that is wrong is reported by whoever needs the image.
        store.find(image).ok().flatten()?;
        let asked = if asks { store.asked(image).ok().flatten() } else { None };
        Some((image.clone(), Held { asked }))
    };
    asked_for.into_iter().filter_map(held).collect()
}

fn refuse(desired: &Desired, supply: &Supply) -> Result<(), CliError> {
    let casualty = |(name, refusal): (&ServiceName, &Refusal)| {
        let service = &desired.services[name];
        let (message, hint) = match refusal {
            Refusal::MayNotPull => ("not in the store, and --pull never forbids to fetch it", "run `stack pull`"),
            Refusal::MayNotBuild => ("not in the store, and --no-build forbids to build it", "run `stack build`"),
        };
        Casualty {
            subject: format!("image {}", service.container.image),
            message: message.to_owned(),
            place: Some(service.origin_of("image").to_string()),
            hint: Some(hint.to_owned()),
            ..Casualty::default()
        }
    };
    let needed =
        supply.refused.iter().filter(|(name, _)| desired.services[*name].container.image.as_str() != SELF_IMAGE);
    let casualties: Vec<Casualty> = needed.map(casualty).collect();
    if casualties.is_empty() { Ok(()) } else { Err(CliError::Incomplete(casualties)) }
}

/// Returns the services that build what no registry has.
fn fetch(
    store: &Store,
    desired: &Desired,
    pulls: &BTreeMap<ImageReference, Otherwise>,
    quiet: bool,
) -> Result<Vec<ServiceName>, CliError> {
    if pulls.is_empty() {
        return Ok(Vec::new());
    }
    let runtime = super::runtime()?;
    let (mut builds, mut casualties) = (Vec::new(), Vec::new());
    for (image, otherwise) in pulls.iter().filter(|(image, _)| image.as_str() != SELF_IMAGE) {
        let error = match runtime.block_on(store.pull(image, &|_| {})) {
            Ok(_) => {
                if !quiet {
                    output::note(&format!("image {image} pulled"));
                }
                continue;
            }
            Err(error) => pull::casualty(desired, image, &error),
        };
        match otherwise {
            Otherwise::Fail => casualties.push(error),
            Otherwise::Keep => output::note(&format!("warning: image {image} is used as it is: {}", error.message)),
            Otherwise::Build(service) => builds.push(service.clone()),
        }
    }
    if casualties.is_empty() { Ok(builds) } else { Err(CliError::Incomplete(casualties)) }
}
