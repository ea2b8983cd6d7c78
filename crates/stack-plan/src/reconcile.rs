//! The whole of planning, in the order in which things are decided.

use std::collections::BTreeMap;

use stack_model::{Desired, History, NetworkMode, Now, Observed, Plan};

use crate::arrive::{Arrivals, Arrive};
use crate::draft::{Draft, Frame};
use crate::graph::Dependencies;
use crate::leave::leave;
use crate::start::Start;
use crate::surface::Surface;
use crate::{network, resolve, survey};

/// Decides what is to be done so that `observed` becomes `desired`. Equal arguments give equal plans; a plan without
/// steps and without blocked lines means that nothing is left to do.
pub fn plan(desired: &Desired, observed: &Observed, history: &History, now: Now) -> Plan {
    let frame = Frame { desired, observed, history, now };
    let graph = Dependencies::new(desired);
    let mut draft = Draft::new(frame);
    for cycle in graph.cycles() {
        draft.warn(cycle.clone());
    }
    warn_unpublished(&mut draft, desired);
    let mut segments = network::settle(frame);
    let mut survey = survey::survey(frame, &segments);
    resolve::resolve_all(frame, &mut survey, &segments, &graph);
    survey::hold_networks(&mut survey, &mut segments);
    survey::follow(&mut survey, desired, &graph);

    let departures = leave(&mut draft, frame, &survey, &graph);
    let arrivals = Arrive {
        draft: &mut draft,
        frame,
        segments: &segments,
        departures: &departures,
        arrivals: Arrivals::default(),
    }
    .arrive(&survey);
    let expected = Start::new(&mut draft, frame, (&survey, &segments), &graph, (&departures, &arrivals)).start();
    let surface =
        Surface { frame, survey: &survey, segments: &segments, departures: &departures, arrivals: &arrivals, expected };
    surface.publish(&mut draft);
    let plan = draft.finish();
    debug_assert_eq!(crate::lint::lint(&plan, observed), Vec::<String>::new(), "a plan breaks its own rules:\n{plan}");
    plan
}

/// Ports need a network with a way out to be reached through; those of other containers are not published.
fn warn_unpublished(draft: &mut Draft<'_>, desired: &Desired) {
    for (name, service) in &desired.services {
        let text = match &service.container.network {
            _ if service.container.ports.is_empty() || service.replicas == 0 => continue,
            NetworkMode::None => "it has no network",
            NetworkMode::Host => "it is on the host's own network",
            NetworkMode::Service(_) => "it is on the network of another service",
            NetworkMode::Attached(map)
                if map.keys().all(|it| desired.networks.get(it).is_some_and(|it| it.internal)) =>
            {
                "all its networks are internal"
            }
            NetworkMode::Attached(_) => continue,
        };
        draft.warn(format!("the ports of {name} are not published: {text}"));
    }
}

/// What `down` wants: nothing. The services stay with no replica, because their dependencies say in which order they
/// are stopped.
#[must_use]
pub fn emptied(desired: &Desired) -> Desired {
    let mut empty = desired.clone();
    empty.networks = BTreeMap::new();
    empty.volumes = BTreeMap::new();
    for service in empty.services.values_mut() {
        service.replicas = 0;
    }
    empty
}
