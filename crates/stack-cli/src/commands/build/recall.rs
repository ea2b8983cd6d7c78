//! Builds of which every step was made before: no process is started for them, and nothing is mounted.

use std::sync::{Mutex, PoisonError};

use stack_build::{BuildEvent, Builder, Built, Surroundings};
use stack_model::{Build, ServiceName};

use super::order::{Order, id_of, tell_built};
use super::progress::Progress;
use crate::context::Context;

/// A build that had nothing to make, and what there is to show of it.
pub(super) struct Recalled {
    built: Built,
    events: Vec<BuildEvent>,
}

impl Recalled {
    pub(super) fn show(self, service: Option<&str>, progress: &Progress) -> Built {
        self.events.into_iter().for_each(|event| progress.show(service, event));
        self.built
    }
}

fn builder(context: &Context, surroundings: &Surroundings) -> Option<Builder> {
    let layout = context.machine.layout().clone();
    Builder::recalling(layout, &super::program().ok()?, surroundings.clone()).ok()
}

/// The image, if there is nothing to make. Whatever else comes up is left to the builder that can make something.
pub(super) fn one(context: &Context, surroundings: &Surroundings, request: &Build) -> Option<Recalled> {
    build(&builder(context, surroundings)?, request)
}

fn build(builder: &Builder, request: &Build) -> Option<Recalled> {
    if request.no_cache || request.pull {
        return None;
    }
    let events = Mutex::new(Vec::new());
    let keep = |event| events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    let built = builder.build(request, &keep).ok()?;
    Some(Recalled { built, events: events.into_inner().unwrap_or_else(PoisonError::into_inner) })
}

/// All builds of an order; `false` where one has something to make.
pub(super) fn execute(context: &Context, order: &Order) -> bool {
    let Some(builder) = builder(context, &order.surroundings) else { return false };
    let builds = || order.waves.iter().flatten();
    let recall = |(service, request): (&ServiceName, &Build)| {
        let before = id_of(context, request);
        Some((service.clone(), before, build(&builder, request)?))
    };
    let Some(all) = builds().map(recall).collect::<Option<Vec<_>>>() else { return false };
    let progress = Progress::new(context.progress, order.quiet);
    for ((service, before, recalled), (_, request)) in all.into_iter().zip(builds()) {
        let built = progress.during(|| recalled.show(Some(service.as_str()), &progress));
        tell_built(order, request, before.as_ref(), &built);
    }
    true
}
