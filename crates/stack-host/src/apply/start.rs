//! Starting a container: namespace, names, files, cgroup, process; then the tasks that follow it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use stack_engine::Changed;
use stack_model::{Container, ContainerId, DiffId, Failure, Fault, Health, Hooks, Joint, NetworkMode, Probe, State};
use stack_runtime::{GeneratedFile, RuntimeError, StartSpec, Started};

use super::blocking;
use crate::failure::failed;
use crate::host::Shared;
use crate::kit::{Kit, Sandbox};
use crate::names::{self, Sockets};
use crate::supervisor::now;
use crate::task::Task;
use crate::world::World;
use crate::{exits, files, output, probe};

/// What a worker thread made.
struct Launched {
    started: Started,
    sandbox: Option<Sandbox>,
    sockets: Option<Sockets>,
    /// [`stack_runtime::memory_kills`] before.
    memory_kills: u64,
}

pub(super) async fn start(shared: &Shared, id: ContainerId) -> Result<Changed, Failure> {
    let (container, sandbox, leaders) = {
        let world = shared.world.borrow();
        let gone = || Failure::new(Fault::Missing, format!("container {} does not exist", id.short()));
        let resident = world.containers.get(&id).ok_or_else(gone)?;
        if resident.is_running() {
            return Ok(Changed::No);
        }
        let container = resident.container.clone();
        let joins = container.joins.iter();
        let leaders = joins.map(|(what, leader)| Ok((*what, leader_of(&world, &container, leader, *what)?)));
        let leaders = leaders.collect::<Result<Leaders, Failure>>()?;
        (container, resident.sandbox.clone(), leaders)
    };
    // The readers exist before the process does, so that its first line finds them.
    let pipes = output::open(shared, &container)?;
    // Before the process: hooks that a run before this one has had are not those of this one.
    stack_runtime::record_hooks(&shared.kit.layout, &shared.kit.project, &id, &Hooks::default()).map_err(failed)?;
    let launched = blocking(shared, move |kit| launch(kit, &container, sandbox, &leaders)).await?;
    let Launched { started, sandbox, sockets, memory_kills } = launched;
    let began = now();
    if let Some(sockets) = sockets {
        shared.names.serve(id.clone(), sockets).map_err(|error| Failure::from_error(Fault::Transient, &error))?;
    }
    {
        let World { containers, attached, .. } = &mut *shared.world.borrow_mut();
        let Some(resident) = containers.get_mut(&id) else { return Ok(Changed::Yes) };
        resident.state = State::Running { pid: started.pid, started: began, stopping: None };
        resident.sandbox = sandbox;
        resident.hooks = Hooks::default();
        attached.extend(resident.container.endpoints.iter().map(|endpoint| endpoint.host_interface.clone()));
    }
    follow(shared, &id, (started.pidfd, started.terminal), Some(pipes), memory_kills);
    Ok(Changed::Yes)
}

/// A container that another one has its network or a namespace of.
struct Leader {
    container: Container,
    /// Its network; it has none of its own where that is the host's.
    sandbox: Option<Sandbox>,
    pidfd: OwnedFd,
}

type Leaders = BTreeMap<Joint, Leader>;

fn leader_of(world: &World, container: &Container, leader: &ContainerId, what: Joint) -> Result<Leader, Failure> {
    let resident = world.containers.get(leader).filter(|resident| resident.is_running());
    let found = resident.and_then(|resident| {
        let pidfd = resident.pidfd.as_ref()?.try_clone().ok()?;
        Some(Leader { container: resident.container.clone(), sandbox: resident.sandbox.clone(), pidfd })
    });
    found.filter(|leader| what != Joint::Network || leader.sandbox.is_some()).ok_or_else(|| {
        let place = match what {
            Joint::Network => "on the network",
            Joint::Pid => "among the processes",
            Joint::Ipc => "in the IPC namespace",
        };
        let text = format!("{} is to be {place} of a container that does not run", container.name);
        Failure::new(Fault::Transient, text).hint("look at why the other one has ended: `stack logs`")
    })
}

/// Makes everything that blocks. Nothing of it needs undoing when a later step fails: descriptors close by themselves,
/// and the cgroup is found and used by the next attempt.
fn launch(kit: &Kit, container: &Container, sandbox: Option<Sandbox>, leaders: &Leaders) -> Result<Launched, Failure> {
    let fresh = sandbox.is_none();
    let leader = leaders.get(&Joint::Network);
    let process_of = |what: Joint| leaders.get(&what).map(|leader| leader.pidfd.as_fd());
    let sandbox = match (&container.spec.network, sandbox) {
        (NetworkMode::Host, _) => None,
        (NetworkMode::Service(_), own) => leader.and_then(|leader| leader.sandbox.clone()).or(own),
        (NetworkMode::None | NetworkMode::Attached(_), Some(sandbox)) => Some(sandbox),
        (NetworkMode::None | NetworkMode::Attached(_), None) => {
            Some(Arc::new(kit.net.create_sandbox(&container.endpoints).map_err(failed)?))
        }
    };
    let sockets = match &sandbox {
        Some(sandbox) if fresh && !container.endpoints.is_empty() => Some(names::open_sockets(kit, sandbox)?),
        Some(_) | None => None,
    };
    let run = kit.layout.container_run(&kit.project, &container.id);
    let generated = files::write_files(&run, container, leader.map(|leader| &leader.container)).map_err(failed)?;
    let below = files::mount_points(&kit.layout).map_err(failed)?;
    let spec = StartSpec {
        layout: &kit.layout,
        project: &kit.project,
        container,
        layers: std::iter::once(below)
            .chain(container.layers.iter().map(|layer| kit.store.layer_path(layer)))
            .collect(),
        mounted_layers: mounted_layers(kit, container),
        netns: sandbox.as_ref().map(|sandbox| sandbox.as_fd()),
        pid_of: process_of(Joint::Pid),
        ipc_of: process_of(Joint::Ipc),
        files: generated
            .into_iter()
            .map(|file| GeneratedFile { source: file.source, target: file.target, read_only: file.read_only })
            .collect(),
        hierarchy: &kit.hierarchy,
        cgroup: kit.cgroup(&container.id),
    };
    let memory_kills = stack_runtime::memory_kills(&kit.hierarchy, &spec.cgroup);
    let client = container.one_off.as_ref().and_then(|one_off| one_off.client);
    let started = match client.filter(|_| !container.spec.tty) {
        Some(client) => kit.spawner.start_on_streams(&spec, &stack_runtime::streams_of(client).map_err(failed)?),
        None => kit.spawner.start_container(&spec),
    };
    let started = started.map_err(not_started)?;
    Ok(Launched { started, sandbox, sockets, memory_kills })
}

/// Where the layers of images lie that are mounted into it.
fn mounted_layers(kit: &Kit, container: &Container) -> BTreeMap<DiffId, PathBuf> {
    let layers = container.images().skip(1).flat_map(|(_, layers)| layers);
    layers.map(|layer| (layer.clone(), kit.store.layer_path(layer))).collect()
}

/// A failure that says whether it is the program's fault.
fn not_started(error: RuntimeError) -> Failure {
    let ending = match &error {
        RuntimeError::Init(failure) => stack_runtime::ending_of_failure(failure).map(Box::new),
        _ => None,
    };
    Failure { ending, ..failed(error) }
}

/// Gives a running container the tasks that follow it. Adoption ends here too.
pub(crate) fn follow(
    shared: &Shared,
    id: &ContainerId,
    (pidfd, terminal): (OwnedFd, Option<OwnedFd>),
    pipes: Option<output::Pipes>,
    memory_kills: u64,
) {
    let pidfd = Rc::new(pidfd);
    let pump = pipes.and_then(|pipes| output::Pump::new(pipes, terminal));
    let watch = exits::watch_exit(shared.clone(), id.clone(), Rc::clone(&pidfd), pump, memory_kills);
    let mut world = shared.world.borrow_mut();
    let Some(resident) = world.containers.get_mut(id) else { return };
    resident.pidfd = Some(pidfd);
    resident.task = Some(Task::spawn(watch));
    drop(world);
    probe_again(shared, id);
}

/// Starts the health check of a running container anew, or ends it where there is none.
pub(super) fn probe_again(shared: &Shared, id: &ContainerId) {
    let mut world = shared.world.borrow_mut();
    let Some(resident) = world.containers.get_mut(id) else { return };
    resident.probing = None;
    resident.health = Health::None;
    let State::Running { started, .. } = resident.state else { return };
    if let Some(check) = resident.container.healthcheck.clone().filter(|check| check.probe != Probe::None) {
        let watch = probe::watch_health(shared.clone(), id.clone(), check, started);
        resident.health = Health::Starting;
        resident.probing = Some(Task::spawn(watch));
    }
}
