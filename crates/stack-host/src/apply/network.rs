//! Operations on bridges, interfaces and rules.

use std::os::fd::AsFd;

use stack_engine::Changed;
use stack_model::{ContainerId, Failure, IfName, Key, NetworkPlan, Ruleset};

use super::{blocking, changed};
use crate::failure::failed;
use crate::host::Shared;

pub(super) async fn ensure(shared: &Shared, plan: NetworkPlan) -> Result<Changed, Failure> {
    let (network, observed) = (plan.network.clone(), plan.done());
    let done = blocking(shared, move |kit| {
        let alias = stack_net::full_alias(&kit.instance, &kit.project, &plan);
        kit.net.ensure_network(&plan, &alias).map(changed).map_err(failed)
    })
    .await?;
    shared.world.borrow_mut().networks.insert(network, observed);
    Ok(done)
}

pub(super) async fn remove(shared: &Shared, key: Key, bridge: IfName) -> Result<Changed, Failure> {
    let done = blocking(shared, move |kit| kit.net.remove_network(&bridge).map(changed).map_err(failed)).await?;
    if let Key::Network(network) = key {
        shared.world.borrow_mut().networks.remove(&network);
    }
    Ok(done)
}

/// Puts lost interfaces of a running container back.
pub(super) async fn attach(shared: &Shared, id: ContainerId) -> Result<Changed, Failure> {
    let found = {
        let world = shared.world.borrow();
        let resident = world.containers.get(&id);
        resident.and_then(|resident| Some((resident.sandbox.clone()?, resident.container.endpoints.clone())))
    };
    let Some((sandbox, endpoints)) = found else { return Ok(Changed::No) };
    blocking(shared, move |kit| kit.net.attach(sandbox.as_fd(), &endpoints).map_err(failed)).await?;
    shared.world.borrow_mut().network_stale = true;
    Ok(Changed::Yes)
}

/// Reserves the ports first: a port that someone else holds must fail before a packet is sent elsewhere.
pub(super) async fn apply_ruleset(shared: &Shared, ruleset: Ruleset) -> Result<Changed, Failure> {
    shared.ports.borrow_mut().reserve(&ruleset.ports).map_err(failed)?;
    let applied = ruleset.clone();
    blocking(shared, move |kit| kit.net.apply_ruleset(&kit.instance, &kit.project, &ruleset).map_err(failed)).await?;
    shared.world.borrow_mut().ruleset = (!applied.is_empty()).then_some(applied);
    Ok(Changed::Yes)
}
