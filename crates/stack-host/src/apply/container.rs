//! Operations on what is written down about a container.

use stack_engine::Changed;
use stack_model::{Container, ContainerId, Failure, Limits, State};

use super::{blocking, changed};
use crate::failure::failed;
use crate::host::Shared;
use crate::world::Resident;

pub(super) async fn create(shared: &Shared, container: Container) -> Result<Changed, Failure> {
    let made = container.clone();
    let done = blocking(shared, move |kit| {
        stack_runtime::create_container(&kit.layout, &kit.project, &container).map(changed).map_err(failed)
    })
    .await?;
    let mut world = shared.world.borrow_mut();
    world.containers.entry(made.id.clone()).or_insert_with(|| Resident::new(made, State::Created));
    Ok(done)
}

/// Deletes a container. Its tasks end and its namespace is let go first: sockets in it would keep its interfaces.
pub(super) async fn remove(shared: &Shared, id: ContainerId) -> Result<Changed, Failure> {
    shared.names.remove(&id);
    let resident = {
        let mut world = shared.world.borrow_mut();
        world.containers.get_mut(&id).map(|resident| {
            resident.state = State::Removing;
            (
                resident.task.take(),
                resident.probing.take(),
                resident.hooking.take(),
                resident.sandbox.take(),
                resident.pidfd.take(),
            )
        })
    };
    drop(resident);
    let removed = id.clone();
    let done = blocking(shared, move |kit| {
        kit.spawner.release(&kit.layout.container_run(&kit.project, &removed));
        stack_runtime::remove_container(&kit.layout, &kit.project, &removed, &kit.hierarchy)
            .map(changed)
            .map_err(failed)
    })
    .await?;
    shared.world.borrow_mut().containers.remove(&id);
    Ok(done)
}

/// Writes a record without touching the process.
pub(super) async fn update(shared: &Shared, container: Container) -> Result<Changed, Failure> {
    let written = container.clone();
    blocking(shared, move |kit| stack_runtime::update_record(&kit.layout, &kit.project, &container).map_err(failed))
        .await?;
    let renewed = {
        let mut world = shared.world.borrow_mut();
        let Some(resident) = world.containers.get_mut(&written.id) else { return Ok(Changed::Yes) };
        let probe_changed = resident.container.healthcheck != written.healthcheck;
        resident.container = written.clone();
        probe_changed
    };
    if renewed {
        super::start::probe_again(shared, &written.id);
    }
    Ok(Changed::Yes)
}

/// Writes limits under the process and into the record: kernel first, so that a failure leaves the record truthful.
pub(super) async fn write_limits(shared: &Shared, id: ContainerId, limits: Limits) -> Result<Changed, Failure> {
    let found = shared.world.borrow().containers.get(&id).map(|resident| resident.container.clone());
    let Some(mut container) = found else { return Ok(Changed::No) };
    container.spec.limits = limits;
    let written = container.clone();
    blocking(shared, move |kit| {
        let cgroup = kit.cgroup(&container.id);
        kit.hierarchy.write_limits(&cgroup, &container.spec.limits).map_err(failed)?;
        stack_runtime::update_record(&kit.layout, &kit.project, &container).map_err(failed)
    })
    .await?;
    if let Some(resident) = shared.world.borrow_mut().containers.get_mut(&id) {
        resident.container = written;
    }
    Ok(Changed::Yes)
}
