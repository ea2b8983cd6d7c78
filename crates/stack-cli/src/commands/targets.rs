//! Which containers a verb is about.

use stack_model::{Failure, Fault, Health, ObservedContainer, ProjectName, ServiceName, State};

use crate::context::Context;
use crate::error::CliError;

/// The containers of services, in the order of their names and numbers; those that run once come with the service that
/// they are like. No names mean all.
pub(super) fn of_services(
    context: &Context,
    names: &[String],
) -> Result<(ProjectName, Vec<ObservedContainer>), CliError> {
    let project = context.project_name()?;
    let mut containers = look(context, &project)?;
    for name in names {
        let is_declared = || {
            context.last_desired(&project).is_some_and(|it| it.services.contains_key(&ServiceName::new(name.as_str())))
        };
        if !containers.iter().any(|it| belongs(it, name)) && !is_declared() {
            let failure = Failure::new(Fault::Missing, format!("there is no service `{name}`"));
            return Err(failure.hint("`stack ps -a` shows what there is").into());
        }
    }
    containers.retain(|it| names.is_empty() || names.iter().any(|name| belongs(it, name)));
    containers
        .sort_by(|a, b| (&a.container.service, a.container.index).cmp(&(&b.container.service, b.container.index)));
    Ok((project, containers))
}

/// From the kernel and the disk, with one thread: what `exec` starts needs a process without others.
pub(super) fn look(context: &Context, project: &ProjectName) -> Result<Vec<ObservedContainer>, CliError> {
    let layout = context.machine.layout();
    let hierarchy = super::hierarchy()?;
    let records = stack_runtime::observe_containers(layout, project)
        .map_err(|error| super::failed(error.fault(), error.hint(), &error))?;
    let observed = records.into_iter().map(|(container, state)| {
        let is_frozen = || hierarchy.is_frozen(&layout.cgroup(project).join(container.id.as_str()));
        let paused = matches!(state, State::Running { .. }) && is_frozen();
        let hooks = stack_model::Hooks::default();
        ObservedContainer { container, state, health: Health::None, attached: true, paused, hooks }
    });
    Ok(observed.collect())
}

/// The services that containers are of, each once.
pub(super) fn services(containers: &[ObservedContainer]) -> Vec<ServiceName> {
    let mut names: Vec<ServiceName> = containers.iter().map(|it| it.container.service.clone()).collect();
    names.dedup();
    names
}

/// The running container of a service with a number, or the first one; one that runs once where there is no other.
pub(super) fn running(
    context: &Context,
    service: &str,
    index: Option<u32>,
) -> Result<(ProjectName, ObservedContainer), CliError> {
    let (project, mut containers) = of_services(context, &[service.to_owned()])?;
    containers.retain(ObservedContainer::is_running);
    containers.sort_by_key(|it| (it.container.one_off.is_some(), it.container.index));
    let fits = |it: &ObservedContainer| {
        index.is_none_or(|index| it.container.one_off.is_none() && it.container.index == index)
    };
    let found = containers.into_iter().find(fits).ok_or_else(|| {
        let which = index.map(|index| format!(" as number {index}")).unwrap_or_default();
        Failure::new(Fault::Missing, format!("service `{service}` does not run{which}"))
            .hint("`stack ps -a` shows what there is")
    })?;
    Ok((project, found))
}

/// Fails for a frozen container: nothing in it can answer.
pub(super) fn require_awake(container: &ObservedContainer) -> Result<(), CliError> {
    if !container.paused {
        return Ok(());
    }
    let text = format!("container {} is paused", container.container.name);
    Err(Failure::new(Fault::Conflict, text)
        .hint(format!("run `stack unpause {}` first", container.container.service))
        .into())
}

fn belongs(container: &ObservedContainer, name: &str) -> bool {
    let record = &container.container;
    record.service.as_str() == name || record.one_off.as_ref().is_some_and(|one_off| one_off.of.as_str() == name)
}
