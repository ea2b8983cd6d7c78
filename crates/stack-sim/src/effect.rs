//! What each step does to the world: a first half that a crash can leave behind, and a second half.

use stack_engine::Changed;
use stack_model::{
    Action, Condition, Container, ContainerId, Exit, Failure, Fault, Health, HookState, Key, NetworkPlan, Now, Op,
    State, Stopping,
};

use crate::world::{Cell, World};

/// SIGKILL, signal(7).
const SIGKILL: i32 = 9;

impl World {
    /// The first half of a step; only what takes several system calls has one.
    pub(crate) fn begin(&mut self, op: &Op) -> Result<(), Failure> {
        match &op.action {
            Action::CreateContainer(container) => {
                self.begin_create(container);
                Ok(())
            }
            Action::RemoveContainer { id } => self.begin_remove(id),
            Action::PullImage { .. }
            | Action::EnsureNetwork(_)
            | Action::RemoveNetwork { .. }
            | Action::EnsureVolume(_)
            | Action::RemoveVolume { .. }
            | Action::StartContainer { .. }
            | Action::PauseContainer { .. }
            | Action::RunHooks { .. }
            | Action::UnpauseContainer { .. }
            | Action::StopContainer { .. }
            | Action::KillContainer { .. }
            | Action::WriteLimits { .. }
            | Action::UpdateRecord(_)
            | Action::AttachContainer { .. }
            | Action::ApplyRuleset(_)
            | Action::PublishNames(_) => Ok(()),
        }
    }

    /// The second half of a step.
    pub(crate) fn complete(&mut self, op: &Op) -> Result<Changed, Failure> {
        match &op.action {
            Action::PullImage { image } => {
                if !self.registry.contains(image) {
                    return Err(Failure::new(Fault::Missing, format!("no image {image}")));
                }
                self.add_image(image);
            }
            Action::EnsureNetwork(plan) => self.ensure_network(plan),
            Action::RemoveNetwork { .. } => return self.remove_network(op),
            Action::EnsureVolume(plan) => {
                let number = self.number();
                self.volumes.entry(plan.name.clone()).or_insert(number);
            }
            Action::RemoveVolume { name } => {
                if !self.consent {
                    self.violate(format!("volume {name} was deleted without consent"));
                }
                self.volumes.remove(name);
            }
            Action::CreateContainer(container) => {
                if let Some(cell) = self.containers.get_mut(&container.id) {
                    cell.state = State::Created;
                }
            }
            Action::StartContainer { id } => return self.start(id, &op.key),
            Action::RunHooks { id, stage, generation } => {
                if let Some(cell) = self.containers.get_mut(id) {
                    *cell.hooks.of_mut(*stage) = HookState::Done { generation: *generation };
                }
            }
            Action::PauseContainer { id } => self.freeze(id, true),
            Action::UnpauseContainer { id } => self.freeze(id, false),
            Action::StopContainer { id, grace, .. } => {
                let now = self.now();
                self.ask_to_stop(id, Stopping { since: now, deadline: now.plus(*grace), killed: false });
            }
            Action::KillContainer { id } => {
                let now = self.now();
                self.ask_to_stop(id, Stopping { since: now, deadline: now, killed: true });
            }
            Action::RemoveContainer { id } => drop(self.containers.remove(id)),
            Action::WriteLimits { id, limits } => {
                self.record(id)?.spec.limits = (**limits).clone();
            }
            Action::UpdateRecord(container) => *self.record(&container.id)? = (**container).clone(),
            Action::AttachContainer { id } => return self.attach(id),
            Action::ApplyRuleset(ruleset) => {
                self.ruleset = Some(ruleset.clone()).filter(|ruleset| !ruleset.is_empty());
                self.network_changed();
            }
            Action::PublishNames(names) => self.names = Some(names.clone()),
        }
        Ok(Changed::Yes)
    }

    fn record(&mut self, id: &ContainerId) -> Result<&mut Container, Failure> {
        self.containers.get_mut(id).map(|cell| &mut cell.container).ok_or_else(|| missing(id))
    }

    fn begin_create(&mut self, container: &Container) {
        let mut faults = Vec::new();
        for cell in self.containers.values() {
            for endpoint in &container.endpoints {
                let has = |other: &stack_model::Endpoint| {
                    other.network == endpoint.network && other.address.addr() == endpoint.address.addr()
                };
                if cell.container.id != container.id && cell.container.endpoints.iter().any(has) {
                    let other = &cell.container.name;
                    faults.push(format!("{} was given the address of {other}", container.name));
                }
            }
        }
        faults.into_iter().for_each(|text| self.violate(text));
        self.containers.entry(container.id.clone()).or_insert_with(|| Cell::new(container.clone()));
    }

    fn begin_remove(&mut self, id: &ContainerId) -> Result<(), Failure> {
        let Some(cell) = self.containers.get_mut(id) else { return Ok(()) };
        if let State::Running { .. } = cell.state {
            let text = format!("{} was removed while it ran", cell.container.name);
            self.violate(text.clone());
            return Err(Failure::new(Fault::Conflict, text));
        }
        cell.state = State::Removing;
        Ok(())
    }

    fn ensure_network(&mut self, plan: &NetworkPlan) {
        self.networks.insert(plan.network.clone(), plan.done());
        self.network_changed();
    }

    fn remove_network(&mut self, op: &Op) -> Result<Changed, Failure> {
        let Key::Network(name) = &op.key else {
            return Err(Failure::new(Fault::Bug, "a network is removed under another key"));
        };
        let is_on = |container: &Container| container.endpoints.iter().any(|endpoint| endpoint.network == *name);
        let member = self.running().find(|container| is_on(container)).map(|container| container.name.clone());
        if let Some(member) = member {
            self.violate(format!("network {name} was removed under {member}"));
        }
        self.networks.remove(name);
        self.network_changed();
        Ok(Changed::Yes)
    }

    fn start(&mut self, id: &ContainerId, key: &Key) -> Result<Changed, Failure> {
        let now = self.now();
        self.advance(now);
        let Some(cell) = self.containers.get(id) else { return Err(missing(id)) };
        let container = cell.container.clone();
        match cell.state {
            State::Running { .. } => return Ok(Changed::No),
            State::Created | State::Exited { .. } => {}
            State::Creating | State::Removing => {
                self.violate(format!("{} was started half-made", container.name));
                return Err(missing(id));
            }
        }
        let is_twin = |other: &&Container| other.service == container.service && other.index == container.index;
        let twin = self.running().find(is_twin).map(|other| other.id.clone());
        if let Some(twin) = twin {
            self.violate(format!("{key}: {} was started beside {}", id.short(), twin.short()));
        }
        self.check_order(&container, now);
        for mount in &container.mounts {
            if let stack_model::ResolvedSource::Volume { name, .. } = &mount.source
                && !self.volumes.contains_key(name)
            {
                self.violate(format!("{} was started without its volume {name}", container.name));
            }
        }
        for endpoint in &container.endpoints {
            if !self.networks.contains_key(&endpoint.network) {
                return Err(Failure::new(Fault::Transient, format!("no network {}", endpoint.network)));
            }
        }
        self.run(id);
        Ok(Changed::Yes)
    }

    /// A first start comes after everything that [`World::order`] wants before it.
    fn check_order(&mut self, container: &Container, now: Now) {
        let first = self.containers.get(&container.id).is_some_and(|cell| cell.state == State::Created);
        let Some(service) = self.order.as_ref().filter(|_| first).and_then(|it| it.services.get(&container.service))
        else {
            return;
        };
        let mut early = Vec::new();
        for (name, dependency) in &service.depends_on {
            let cells = self.containers.values().filter(|cell| cell.container.service == *name);
            let ready = cells.filter(|cell| self.holds(cell, dependency.condition, now)).count();
            let wanted = self.order.as_ref().and_then(|it| it.services.get(name)).map_or(0, |it| it.replicas);
            if u32::try_from(ready) != Ok(wanted) {
                early.push(format!("{} was started before {name} was {:?}", container.name, dependency.condition));
            }
        }
        early.into_iter().for_each(|text| self.violate(text));
    }

    fn holds(&self, cell: &Cell, condition: Condition, now: Now) -> bool {
        match (condition, &cell.state) {
            (Condition::Started, State::Running { .. } | State::Exited { .. }) => true,
            (Condition::Healthy, State::Running { .. }) => self.health(cell, now) == Health::Healthy,
            (Condition::CompletedSuccessfully, State::Exited { exit, .. }) => exit.code == Some(0),
            (Condition::Started | Condition::Healthy | Condition::CompletedSuccessfully, _) => false,
        }
    }

    fn attach(&mut self, id: &ContainerId) -> Result<Changed, Failure> {
        let Some(cell) = self.containers.get_mut(id) else { return Err(missing(id)) };
        let mut networks = cell.container.endpoints.iter().map(|endpoint| &endpoint.network);
        if let Some(lost) = networks.find(|network| !self.networks.contains_key(*network)) {
            return Err(Failure::new(Fault::Transient, format!("no network {lost}")));
        }
        cell.attached = true;
        self.network_changed();
        Ok(Changed::Yes)
    }

    fn freeze(&mut self, id: &ContainerId, paused: bool) {
        if let Some(cell) = self.containers.get_mut(id) {
            cell.paused = paused;
        }
    }

    fn ask_to_stop(&mut self, id: &ContainerId, stop: Stopping) {
        let now = self.now();
        let Some(cell) = self.containers.get_mut(id) else { return };
        let State::Running { stopping, .. } = &mut cell.state else { return };
        cell.paused = false;
        *stopping = match *stopping {
            Some(before) => Some(Stopping { killed: before.killed || stop.killed, ..before }),
            None => Some(stop),
        };
        let behaviour = self.behaviours.get(&cell.container.service).copied().unwrap_or_default();
        let signal = |signal| Exit { signal: Some(signal), ..Exit::default() };
        let end = match behaviour.stops_in {
            _ if stop.killed => Some((now, signal(SIGKILL))),
            Some(after) => Some((now.plus(after), signal(cell.container.process.stop_signal))),
            None => None,
        };
        cell.end = match (cell.end, end) {
            (Some(first), Some(second)) => Some(if second.0 < first.0 { second } else { first }),
            (first, second) => first.or(second),
        };
        self.changed.notify_waiters();
    }
}

fn missing(id: &ContainerId) -> Failure {
    Failure::new(Fault::Missing, format!("no container {}", id.short()))
}
