//! Waiting for process 1 of a container to end.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use stack_engine::Wake;
use stack_model::{ContainerId, Event, Exit, Namespace, State, Stopping};

use crate::apply::blocking;
use crate::host::Shared;
use crate::kit::Kit;
use crate::output::Pump;
use crate::supervisor::now;
use crate::task::readable;

/// Ends when the process behind `pidfd` has ended. A pidfd becomes readable then (pidfd_open(2)).
pub(crate) async fn wait_end(pidfd: &Rc<OwnedFd>) -> std::io::Result<()> {
    readable(Rc::clone(pidfd))?.readable().await.map(|_| ())
}

/// Moves a container's output until it ends, writes the end down and wakes the engine. `memory_kills` is how many of its
/// processes the kernel had killed before: its cgroup outlives its processes.
pub(crate) async fn watch_exit(
    shared: Shared,
    id: ContainerId,
    pidfd: Rc<OwnedFd>,
    mut pump: Option<Pump>,
    memory_kills: u64,
) {
    let pumping = async {
        if let Some(pump) = &mut pump {
            pump.run().await;
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = wait_end(&pidfd) => ended,
        () = pumping => return,
    };
    if ended.is_err() {
        // Without the watch, the next full look finds the process gone.
        return;
    }
    // Whoever hears of the end finds its last words in the log.
    if let Some(pump) = &mut pump {
        pump.drain();
    }
    let exit = stack_runtime::exit_of(pidfd.as_fd());
    let shares_processes = {
        let world = shared.world.borrow();
        world.containers.get(&id).is_some_and(|resident| resident.container.spec.namespaces.pid != Namespace::Own)
    };
    let watched = id.clone();
    // Nothing of it can fail; a worker that panics leaves what the exit status says.
    let complete = blocking(&shared, move |kit| {
        let cgroup = kit.cgroup(&watched);
        if shares_processes {
            // Elsewhere the kernel does it: with process 1 of a namespace all of it ends (pid_namespaces(7)). What
            // resists is found by the removal.
            drop(kit.hierarchy.kill(&cgroup));
        }
        Ok(stack_runtime::complete_exit(exit, &kit.hierarchy, &cgroup, memory_kills))
    });
    settle(&shared, &id, complete.await.unwrap_or(exit));
}

/// Turns a running container into one that has ended.
pub(crate) fn settle(shared: &Shared, id: &ContainerId, exit: Exit) {
    let event = {
        let mut world = shared.world.borrow_mut();
        let Some(resident) = world.containers.get_mut(id) else { return };
        let State::Running { started, stopping, .. } = resident.state else { return };
        let exit = match stopping {
            // The kernel may have killed some other process of it for memory, but this one we have killed ourselves.
            Some(Stopping { killed: true, .. }) => Exit { requested: true, out_of_memory: false, memory: None, ..exit },
            stopping => Exit { requested: stopping.is_some(), ..exit },
        };
        resident.state = State::Exited { exit, started, finished: now() };
        resident.health = stack_model::Health::None;
        resident.probing = None;
        resident.hooking = None;
        resident.paused = false;
        resident.pidfd = None;
        record(&shared.kit, id, &resident.state);
        Event::Exited {
            id: id.clone(),
            service: resident.container.service.clone(),
            index: resident.container.index,
            exit,
        }
    };
    shared.wake(Wake::Tell(event));
    shared.wake(Wake::Dirty);
}

/// Writes the state down for a later supervisor.
fn record(kit: &Kit, id: &ContainerId, state: &State) {
    // Without the record a later supervisor says that the exit code is unknown.
    drop(stack_runtime::record_state(&kit.layout, &kit.project, id, state));
}
