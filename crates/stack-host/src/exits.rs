//! Waiting for process 1 of a container to end.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use stack_engine::Wake;
use stack_model::{ContainerId, Event, Exit, State};

use crate::apply::blocking;
use crate::failure::failed;
use crate::host::Shared;
use crate::kit::Kit;
use crate::supervisor::now;
use crate::task::readable;

/// Ends when the process behind `pidfd` has ended. A pidfd becomes readable then (pidfd_open(2)).
pub(crate) async fn wait_end(pidfd: &Rc<OwnedFd>) -> std::io::Result<()> {
    readable(Rc::clone(pidfd))?.readable().await.map(|_| ())
}

/// Waits for the end of a container, writes it down and wakes the engine.
pub(crate) async fn watch_exit(shared: Shared, id: ContainerId, pidfd: Rc<OwnedFd>) {
    if wait_end(&pidfd).await.is_err() {
        // Without the watch, the next full look finds the process gone.
        return;
    }
    let exit = stack_runtime::exit_of(pidfd.as_fd());
    let kit = Arc::clone(&shared.kit);
    let cgroup = kit.cgroup(&id);
    let killed_for_memory = exit.signal == Some(9) && kit.hierarchy.out_of_memory_kills(&cgroup).unwrap_or(0) > 0;
    let shares_processes = {
        let world = shared.world.borrow();
        world.containers.get(&id).is_some_and(|resident| resident.container.spec.host_namespaces.pid)
    };
    if shares_processes {
        // Elsewhere the kernel does it: with process 1 of a namespace all of it ends (pid_namespaces(7)). What resists is
        // found by the removal.
        drop(blocking(&shared, move |kit| kit.hierarchy.kill(&cgroup).map_err(failed)).await);
    }
    settle(&shared, &id, Exit { out_of_memory: killed_for_memory, ..exit });
}

/// Turns a running container into one that has ended.
pub(crate) fn settle(shared: &Shared, id: &ContainerId, exit: Exit) {
    let event = {
        let mut world = shared.world.borrow_mut();
        let Some(resident) = world.containers.get_mut(id) else { return };
        let State::Running { started, stopping, .. } = resident.state else { return };
        let exit = Exit { requested: stopping.is_some(), ..exit };
        resident.state = State::Exited { exit, started, finished: now() };
        resident.health = stack_model::Health::None;
        resident.probing = None;
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
