//! Programs inside a container that the supervisor starts and hears: health checks and hooks.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use stack_model::ContainerId;
use stack_runtime::ExecOptions;
use tokio::net::unix::pipe;

use crate::host::Shared;

/// A program that runs.
pub(crate) struct Inside {
    /// Its process.
    pub(crate) pidfd: Rc<OwnedFd>,
    /// What it writes.
    pub(crate) output: pipe::Receiver,
}

/// Starts a program in a container.
///
/// # Errors
/// In words: the container is gone, or the program cannot be executed.
pub(crate) async fn start(shared: &Shared, id: &ContainerId, options: ExecOptions) -> Result<Inside, String> {
    let kit = Arc::clone(&shared.kit);
    let container = {
        let world = shared.world.borrow();
        world.containers.get(id).ok_or("the container is gone")?.container.clone()
    };
    let (writer, output) = pipe::pipe().map_err(text)?;
    let writer = writer.into_blocking_fd().map_err(text)?;
    let started = tokio::task::spawn_blocking(move || {
        let place = (&kit.layout, &kit.project, &container);
        stack_runtime::exec_quietly(&kit.spawner, &kit.hierarchy, place, &options, writer)
    });
    let started = started.await.map_err(text)?.map_err(|error| crate::failure::failed(error).message)?;
    Ok(Inside { pidfd: Rc::new(started.pidfd), output })
}

/// An error in words.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
