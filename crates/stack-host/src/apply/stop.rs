//! Stopping: a signal, a deadline, SIGKILL. And standing still.

use std::os::fd::AsFd;

use stack_engine::Changed;
use stack_model::{ContainerId, Failure, Millis, State, Stopping};

use super::blocking;
use crate::failure::failed;
use crate::host::Shared;
use crate::supervisor::now;

/// Sends the stop signal. The kernel drops a signal that process 1 of a namespace has no handler for
/// (pid_namespaces(7)), so waiting for such a process would be waiting for nothing: it is killed at once.
pub(super) async fn stop(shared: &Shared, id: ContainerId, signal: i32, grace: Millis) -> Result<Changed, Failure> {
    let Some((pid, pidfd)) = running(shared, &id) else { return Ok(Changed::No) };
    let deaf = grace.0 == 0 || !stack_runtime::hears_signal(pid, signal);
    note(shared, &id, |since| Stopping { since, deadline: since.plus(grace), killed: deaf });
    stack_runtime::signal(pidfd.as_fd(), if deaf { 9 } else { signal }).map_err(failed)?;
    thaw(shared, id).await
}

/// Sends SIGKILL: to process 1, and the kernel to every other process of its namespace.
pub(super) async fn kill(shared: &Shared, id: ContainerId) -> Result<Changed, Failure> {
    let Some((_, pidfd)) = running(shared, &id) else { return Ok(Changed::No) };
    note(shared, &id, |since| Stopping { since, deadline: since, killed: true });
    stack_runtime::signal(pidfd.as_fd(), 9).map_err(failed)?;
    thaw(shared, id).await
}

/// Freezes every process of a container, or lets them go on.
pub(super) async fn freeze(shared: &Shared, id: ContainerId, frozen: bool) -> Result<Changed, Failure> {
    let container = id.clone();
    blocking(shared, move |kit| kit.hierarchy.freeze(&kit.cgroup(&container), frozen).map_err(failed)).await?;
    if let Some(resident) = shared.world.borrow_mut().containers.get_mut(&id) {
        resident.paused = frozen;
    }
    Ok(Changed::Yes)
}

/// A frozen process hears no signal, and on version 1 not even SIGKILL.
async fn thaw(shared: &Shared, id: ContainerId) -> Result<Changed, Failure> {
    let paused = shared.world.borrow().containers.get(&id).is_some_and(|resident| resident.paused);
    if paused { freeze(shared, id, false).await } else { Ok(Changed::Yes) }
}

fn running(shared: &Shared, id: &ContainerId) -> Option<(u32, std::rc::Rc<std::os::fd::OwnedFd>)> {
    let world = shared.world.borrow();
    let resident = world.containers.get(id)?;
    match resident.state {
        State::Running { pid, .. } => Some((pid, resident.pidfd.clone()?)),
        State::Creating | State::Created | State::Exited { .. } | State::Removing => None,
    }
}

/// Writes the stop down before the signal goes out, so that an exit is never taken for an accident.
fn note(shared: &Shared, id: &ContainerId, stopping: impl FnOnce(stack_model::Now) -> Stopping) {
    let mut world = shared.world.borrow_mut();
    let Some(resident) = world.containers.get_mut(id) else { return };
    if let State::Running { stopping: noted, .. } = &mut resident.state {
        let first = noted.map(|noted| noted.since);
        let next = stopping(now());
        *noted = Some(Stopping { since: first.unwrap_or(next.since), ..next });
        // Without the record a later supervisor takes the exit for an accident and starts the container again.
        drop(stack_runtime::record_state(&shared.kit.layout, &shared.kit.project, id, &resident.state));
    }
}
