//! Where images come from: which are fetched or built before a project is started, and in which order they are built.
//!
//! What is only missing and not built is left to the plan, which fetches it beside everything else.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{Desired, ImageReference, NamedContext, Now, ProjectName, PullPolicy, Service, ServiceName};

use crate::graph::{closure, with_dependencies};

/// What the store has of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When a registry was last asked for it; `None` for one that was built or loaded.
    pub asked: Option<Now>,
}

/// What the command line says about images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SupplyOptions {
    /// In place of every service's own policy (`--pull`).
    pub pull: Option<PullPolicy>,
    /// Which images are built.
    pub build: BuildWhen,
    /// What the named services depend on has no part in it (`--no-deps`).
    pub no_deps: bool,
}

/// Which images are built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BuildWhen {
    /// Those that the store does not have, and those whose policy is `build`.
    #[default]
    Missing,
    /// All (`--build`).
    Always,
    /// None (`--no-build`).
    Never,
}

/// What is to be done about images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supply {
    /// To be fetched, each once.
    pub pulls: BTreeMap<ImageReference, Otherwise>,
    /// Services whose images are to be built.
    pub builds: BTreeSet<ServiceName>,
    /// Services whose images are missing and may not be had.
    pub refused: BTreeMap<ServiceName, Refusal>,
}

/// What follows when a fetch fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Otherwise {
    /// The command fails.
    Fail,
    /// The image of the store is good enough.
    Keep,
    /// This service's build makes it.
    Build(ServiceName),
}

/// Why a missing image may not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `--pull never`.
    MayNotPull,
    /// `--no-build`.
    MayNotBuild,
}

/// Decides for these services and what they depend on, or for all where none are named.
pub fn supply(
    desired: &Desired,
    services: &[ServiceName],
    held: &BTreeMap<ImageReference, Held>,
    options: SupplyOptions,
    now: Now,
) -> Supply {
    let makers = makers(desired);
    let mut supply = Supply::default();
    let concerned = match services {
        [] => desired.services.keys().collect(),
        services => with_dependencies(desired, services, |_| options.no_deps),
    };
    for name in concerned {
        let service = &desired.services[name];
        let image = &service.container.image;
        let maker = service.build.as_ref().map(|_| name).or_else(|| makers.get(image.as_str()).copied());
        let policy = options.pull.unwrap_or(service.container.pull_policy);
        let there = held.get(image).copied();
        match maker {
            Some(maker) => built(&mut supply, (desired, name, maker), image, there, (policy, options.build), now),
            None => fetched(&mut supply, name, image, there, (policy, options.pull.is_some()), now),
        }
        // What is mounted is fetched when it is missing, whatever the policy of the service's own image.
        for image in service.container.mounted_images() {
            let (there, policy) = (held.get(image).copied(), options.pull.unwrap_or_default());
            match makers.get(image.as_str()) {
                Some(maker) => built(&mut supply, (desired, name, maker), image, there, (policy, options.build), now),
                None => fetched(&mut supply, name, image, there, (policy, options.pull.is_some()), now),
            }
        }
    }
    supply
}

/// The services that build an image, by each of its names.
fn makers(desired: &Desired) -> BTreeMap<&str, &ServiceName> {
    let mut makers = BTreeMap::new();
    for (name, service) in &desired.services {
        for tag in service.build.iter().flat_map(|build| &build.tags) {
            makers.entry(tag.as_str()).or_insert(name);
        }
    }
    makers
}

fn built(
    supply: &mut Supply,
    (desired, name, maker): (&Desired, &ServiceName, &ServiceName),
    image: &ImageReference,
    there: Option<Held>,
    (policy, when): (PullPolicy, BuildWhen),
    now: Now,
) {
    let may_build = when != BuildWhen::Never;
    if when == BuildWhen::Always || may_build && policy == PullPolicy::Build {
        supply.builds.insert(maker.clone());
    } else if wants_answer(policy, there, now) && is_named(&desired.project, maker, image) && !is_settled(image, there)
    {
        let otherwise = match (may_build, there) {
            (true, _) => Otherwise::Build(maker.clone()),
            (false, Some(_)) => Otherwise::Keep,
            (false, None) => Otherwise::Fail,
        };
        supply.pulls.insert(image.clone(), otherwise);
    } else if there.is_none() && may_build {
        supply.builds.insert(maker.clone());
    } else if there.is_none() {
        supply.refused.insert(name.clone(), Refusal::MayNotBuild);
    }
}

fn fetched(
    supply: &mut Supply,
    name: &ServiceName,
    image: &ImageReference,
    there: Option<Held>,
    (policy, is_forced): (PullPolicy, bool),
    now: Now,
) {
    match (policy, there) {
        // A service's own `never` keeps that service from starting, and no other.
        (PullPolicy::Never, None) if is_forced => drop(supply.refused.insert(name.clone(), Refusal::MayNotPull)),
        (PullPolicy::Every(_), Some(_)) if wants_answer(policy, there, now) && !is_settled(image, there) => {
            supply.pulls.entry(image.clone()).or_insert(Otherwise::Keep);
        }
        (PullPolicy::Always, _) if !is_settled(image, there) => {
            supply.pulls.insert(image.clone(), Otherwise::Fail);
        }
        (PullPolicy::Never | PullPolicy::Every(_) | PullPolicy::Always, _) => {}
        (PullPolicy::Missing | PullPolicy::Build, _) => {}
    }
}

/// The policy wants to know what the registry has now.
fn wants_answer(policy: PullPolicy, there: Option<Held>, now: Now) -> bool {
    match policy {
        PullPolicy::Always => true,
        PullPolicy::Every(period) => there.and_then(|held| held.asked).is_none_or(|asked| now.since(asked) >= period),
        PullPolicy::Missing | PullPolicy::Never | PullPolicy::Build => false,
    }
}

/// A digest names one content for ever: there is nothing to ask about what is here.
fn is_settled(image: &ImageReference, there: Option<Held>) -> bool {
    there.is_some() && image.as_str().contains("@sha256:")
}

/// The file names the image, so that a registry may have it; the name that a build gives is known to none.
pub fn is_named(project: &ProjectName, maker: &ServiceName, image: &ImageReference) -> bool {
    image.as_str() != format!("{project}-{maker}").to_lowercase()
}

/// The builds of these services, and of those whose images they take as contexts, in waves: each needs only what
/// earlier ones make. With `dependencies` also those of the services that they depend on.
pub fn build_waves(desired: &Desired, services: &[ServiceName], dependencies: bool) -> Vec<BTreeSet<ServiceName>> {
    let makers = makers(desired);
    let contexts = |service: &Service| -> Vec<&ServiceName> {
        let contexts = service.build.iter().flat_map(|build| build.contexts.values());
        let built = contexts.filter_map(|context| match context {
            NamedContext::Built(image) => makers.get(image.as_str()).copied(),
            NamedContext::Directory(_) | NamedContext::Image(_) => None,
        });
        built.collect()
    };
    let needs = |_: &ServiceName, service| {
        let mut needs: Vec<&ServiceName> = contexts(service);
        needs.extend(service.depends_on.keys().filter(|_| dependencies));
        needs
    };
    let mut open = closure(desired, services, needs);
    open.retain(|name| desired.services[*name].build.is_some());
    let mut waves = Vec::new();
    while !open.is_empty() {
        let is_ready = |name: &&ServiceName| {
            contexts(&desired.services[*name]).iter().all(|other| other == name || !open.contains(other))
        };
        let mut wave: BTreeSet<&ServiceName> = open.iter().copied().filter(is_ready).collect();
        if wave.is_empty() {
            // They go round in a circle: the first build says which image it lacks.
            wave.clone_from(&open);
        }
        open.retain(|name| !wave.contains(name));
        waves.push(wave.into_iter().cloned().collect());
    }
    waves
}
