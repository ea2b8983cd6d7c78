//! Looking at the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use stack_model::{
    Container, ContainerId, Desired, Event, Failure, HostFacts, IfName, ImageFacts, ImageReference, Layout,
    NetworkMode, Observed, State, VolumeName,
};
use stack_net::{Net, NetObserved};

use crate::apply::{SELF_IMAGE, blocking, start};
use crate::failure::failed;
use crate::host::Shared;
use crate::kit::{Kit, Sandbox};
use crate::names::{self, Sockets};
use crate::neighbours::{self, Surroundings};
use crate::output::{Pipes, Pump};
use crate::world::{Resident, World};
use crate::{hooks, output, volume};

/// Brings the world up to date where something may have changed.
pub(crate) async fn refresh(shared: &Shared) {
    let (network, containers) = {
        let mut world = shared.world.borrow_mut();
        (std::mem::take(&mut world.network_stale), std::mem::take(&mut world.containers_stale))
    };
    if network && let Err(failure) = refresh_network(shared).await {
        shared.world.borrow_mut().network_stale = true;
        warn(shared, &failure);
    }
    if containers && let Err(failure) = refresh_containers(shared).await {
        shared.world.borrow_mut().containers_stale = true;
        warn(shared, &failure);
    }
}

fn warn(shared: &Shared, failure: &Failure) {
    let text = format!("cannot look at the machine: {failure}");
    shared.wake(stack_engine::Wake::Tell(Event::Warning { text }));
}

async fn refresh_network(shared: &Shared) -> Result<(), Failure> {
    let (seen, ruleset) = blocking(shared, |kit| {
        let seen = kit.net.observe(&kit.instance, &kit.project).map_err(failed)?;
        Ok((seen, kit.net.observe_ruleset(&kit.instance, &kit.project).map_err(failed)?))
    })
    .await?;
    let NetObserved { networks, routes, ports, bridges } = seen;
    if let Some(found) = &ruleset {
        // Rules that an earlier supervisor left are right as they are, but the sockets that reserve their ports ended
        // with it.
        shared.ports.borrow_mut().reserve(&found.ports).map_err(failed)?;
    }
    let mut world = shared.world.borrow_mut();
    let neighbours = neighbours::find(
        &shared.kit.layout,
        &shared.kit.project,
        &Surroundings {
            own: networks.values().collect(),
            others: &bridges,
            joined: &world.joined,
            interfaces: interfaces(&world).collect(),
            ports: &ports,
        },
    );
    world.networks = networks;
    world.attached = ports.into_keys().collect();
    world.ruleset = ruleset;
    world.host = HostFacts { routes, busy_ports: Vec::new(), bridges, neighbours };
    Ok(())
}

/// The host's ends of the interfaces of all containers.
fn interfaces(world: &World) -> impl Iterator<Item = &IfName> {
    world.containers.values().flat_map(|it| &it.container.endpoints).map(|endpoint| &endpoint.host_interface)
}

/// Remembers which networks of others are joined: who is on them is worth a look.
pub(crate) fn note_joined(shared: &Shared, desired: &Desired) {
    let joined = joined(desired);
    let mut world = shared.world.borrow_mut();
    if world.joined != joined {
        world.joined = joined;
        world.network_stale = true;
    }
}

fn joined(desired: &Desired) -> BTreeSet<String> {
    desired.networks.values().filter(|network| network.external).map(|network| network.name.clone()).collect()
}

/// A container that this process does not follow yet, with what following it takes.
struct Adoptable {
    container: Container,
    state: State,
    pidfd: Option<OwnedFd>,
    sandbox: Option<Sandbox>,
    sockets: Option<Sockets>,
    terminal: Option<OwnedFd>,
    pipes: Option<Pipes>,
    /// [`stack_runtime::memory_kills`] when it was found.
    memory_kills: u64,
    paused: bool,
}

/// Looks at every record and every process. What is followed already is left alone unless its process is gone.
async fn refresh_containers(shared: &Shared) -> Result<(), Failure> {
    let followed: BTreeSet<ContainerId> = {
        let world = shared.world.borrow();
        world.containers.iter().filter(|(_, resident)| resident.pidfd.is_some()).map(|(id, _)| id.clone()).collect()
    };
    let found = blocking(shared, move |kit| find(kit, &followed)).await?;
    let present: BTreeSet<ContainerId> = found.iter().map(|adoptable| adoptable.container.id.clone()).collect();
    {
        let World { containers, .. } = &mut *shared.world.borrow_mut();
        containers.retain(|id, resident| present.contains(id) || resident.pidfd.is_some());
    }
    for adoptable in found {
        adopt(shared, adoptable);
    }
    Ok(())
}

fn find(kit: &Kit, followed: &BTreeSet<ContainerId>) -> Result<Vec<Adoptable>, Failure> {
    let records = stack_runtime::observe_containers(&kit.layout, &kit.project).map_err(failed)?;
    let mut predecessors = kit.predecessors.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = Vec::with_capacity(records.len());
    for (container, state) in records {
        let (pidfd, sandbox, sockets, terminal, pipes) = (None, None, None, None, None);
        let running = match state {
            State::Running { pid, .. } => Some(pid),
            _ => None,
        };
        let paused = running.is_some() && kit.hierarchy.is_frozen(&kit.cgroup(&container.id));
        let mut adoptable =
            Adoptable { container, state, pidfd, sandbox, sockets, terminal, pipes, memory_kills: 0, paused };
        if !followed.contains(&adoptable.container.id) && (running.is_some() || predecessors.is_some()) {
            if let Some(pid) = running {
                connect(kit, &mut adoptable, pid)?;
            }
            take_over(kit, &mut adoptable, running);
        }
        found.push(adoptable);
    }
    if let Some(there) = predecessors.as_ref() {
        there.relieve().map_err(failed)?;
        learn_ends(kit, &mut found)?;
        *predecessors = None;
    }
    Ok(found)
}

/// Holds on to a container's output, here and in the spawner.
fn take_over(kit: &Kit, adoptable: &mut Adoptable, pid: Option<u32>) {
    // Without its log a container goes on all the same.
    adoptable.pipes = output::open_at(&kit.layout, &kit.project, &adoptable.container).ok();
    let run = kit.layout.container_run(&kit.project, &adoptable.container.id);
    kit.spawner.keep(&run, pid.zip(adoptable.pidfd.as_ref()));
}

/// What the predecessors have written down about those that ended under their eyes.
fn learn_ends(kit: &Kit, found: &mut [Adoptable]) -> Result<(), Failure> {
    let records = stack_runtime::observe_containers(&kit.layout, &kit.project).map_err(failed)?;
    let mut states: BTreeMap<ContainerId, State> =
        records.into_iter().map(|(container, state)| (container.id, state)).collect();
    for adoptable in found.iter_mut().filter(|adoptable| adoptable.pidfd.is_none()) {
        if let Some(state @ State::Exited { .. }) = states.remove(&adoptable.container.id) {
            adoptable.state = state;
        }
    }
    Ok(())
}

/// Opens what a running container needs to be followed.
fn connect(kit: &Kit, adoptable: &mut Adoptable, pid: u32) -> Result<(), Failure> {
    let id = &adoptable.container.id;
    let Some(adopted) = stack_runtime::adopt(&kit.layout, &kit.project, id).map_err(failed)? else { return Ok(()) };
    adoptable.pidfd = Some(adopted.pidfd);
    adoptable.terminal = adopted.terminal;
    adoptable.memory_kills = stack_runtime::memory_kills(&kit.hierarchy, &kit.cgroup(id));
    if adoptable.container.spec.network == NetworkMode::Host {
        return Ok(());
    }
    let namespace = fs_err::File::open(format!("/proc/{pid}/ns/net"))
        .map_err(|error| Failure::new(crate::failure::fault_of(&error), error.to_string()))?;
    let sandbox: Sandbox = Arc::new(OwnedFd::from(namespace.into_parts().0));
    if !adoptable.container.endpoints.is_empty() {
        adoptable.sockets = Some(names::open_sockets(kit, &sandbox)?);
    }
    adoptable.sandbox = Some(sandbox);
    Ok(())
}

/// Takes a container over as the look found it.
fn adopt(shared: &Shared, adoptable: Adoptable) {
    let Adoptable { container, state, pidfd, sandbox, sockets, terminal, pipes, memory_kills, paused } = adoptable;
    let id = container.id.clone();
    {
        let mut world = shared.world.borrow_mut();
        let resident =
            world.containers.entry(id.clone()).or_insert_with(|| Resident::new(container.clone(), state.clone()));
        resident.paused = paused;
        if resident.pidfd.is_none() {
            resident.hooks = hooks::recorded(&shared.kit, &id);
        }
        if resident.pidfd.is_some() {
            return;
        }
        resident.container = container.clone();
        resident.state = state;
        if sandbox.is_some() {
            resident.sandbox = sandbox;
        }
    }
    let Some(pidfd) = pidfd else {
        read_out(pipes);
        return;
    };
    if let Some(sockets) = sockets {
        // Without names the container is worse off than before, but nothing else is gained by giving it up.
        drop(shared.names.serve(id.clone(), sockets));
    }
    start::follow(shared, &id, (pidfd, terminal), pipes, memory_kills);
}

/// The last words of a container that has ended meanwhile.
fn read_out(pipes: Option<Pipes>) {
    if let Some(mut pump) = pipes.and_then(|pipes| Pump::new(pipes, None)) {
        pump.drain();
    }
}

/// The images that the project names, each once, as far as the store has them.
pub(crate) fn find_images(store: &stack_image::Store, desired: &Desired) -> BTreeMap<ImageReference, ImageFacts> {
    let wanted: BTreeSet<&ImageReference> =
        desired.services.values().flat_map(|service| service.container.images()).collect();
    let found = wanted.into_iter().filter_map(|image| Some((image.clone(), store.find(image).ok().flatten()?)));
    found.collect()
}

/// Makes sure that the image of this executable is this executable, before a project's first container is made from it.
/// Later it is left alone: a new version of `stack` must not replace containers.
pub(crate) async fn renew_self_image(shared: &Shared, desired: &Desired) {
    let mut images = desired.services.values().flat_map(|service| service.container.images());
    let used = images.any(|image| image.as_str() == SELF_IMAGE);
    if !used || !shared.world.borrow().containers.is_empty() {
        return;
    }
    let renewed = blocking(shared, |kit| kit.store.ensure_self_image(&kit.binary).map_err(failed)).await;
    if let Err(failure) = renewed {
        warn(shared, &failure);
    }
}

/// The volumes that the project or its containers name, as far as they exist.
pub(crate) fn volumes(layout: &Layout, desired: &Desired, world: &World) -> BTreeSet<VolumeName> {
    let containers = world.containers.values().flat_map(|resident| resident.container.volumes());
    let named = desired.volumes.keys().chain(&desired.discard_volumes).chain(containers);
    named.filter(|name| volume::volume_exists(layout, name)).cloned().collect()
}

/// A look without a supervisor: nothing is adopted, nothing is changed.
pub(crate) fn observe_offline(layout: &Layout, desired: &Desired) -> Result<Observed, Failure> {
    let store = crate::machine::open_store(layout)?;
    let net = Net::start().map_err(failed)?;
    let seen = net.observe(&desired.instance, &desired.project).map_err(failed)?;
    let mut world = World { attached: seen.ports.keys().cloned().collect(), ..World::default() };
    let hierarchy = stack_cgroup::Hierarchy::detect().map_err(failed)?;
    for (container, state) in stack_runtime::observe_containers(layout, &desired.project).map_err(failed)? {
        let paused = hierarchy.is_frozen(&layout.cgroup(&desired.project).join(container.id.as_str()));
        let hooks = stack_runtime::recorded_hooks(layout, &desired.project, &container.id);
        world.containers.insert(container.id.clone(), Resident { paused, hooks, ..Resident::new(container, state) });
    }
    let joined = joined(desired);
    let around = Surroundings {
        own: seen.networks.values().collect(),
        others: &seen.bridges,
        joined: &joined,
        interfaces: interfaces(&world).collect(),
        ports: &seen.ports,
    };
    let neighbours = neighbours::find(layout, &desired.project, &around);
    Ok(Observed {
        images: find_images(&store, desired),
        networks: seen.networks,
        volumes: volumes(layout, desired, &world),
        containers: world
            .containers
            .iter()
            .map(|(id, resident)| (id.clone(), resident.observed(&world.attached)))
            .collect(),
        ruleset: net.observe_ruleset(&desired.instance, &desired.project).map_err(failed)?,
        names: None,
        host: HostFacts { routes: seen.routes, busy_ports: Vec::new(), bridges: seen.bridges, neighbours },
    })
}
