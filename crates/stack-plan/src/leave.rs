//! What goes away: stopped dependents first, killed when patience ends, then removed.

use std::collections::BTreeMap;

use stack_model::{
    Action, Cause, Container, ContainerId, Effect, Key, ObservedContainer, Power, ResolvedSource, ServiceName, Stage,
    State, Until, VolumeName,
};

use crate::draft::{Draft, Frame, Handle, Reason};
use crate::graph::Dependencies;
use crate::hooks::{Due, due};
use crate::resolve::is_own;
use crate::survey::{Replica, Survey, Verdict, is_half_made};

/// What leaves in this plan.
#[derive(Debug, Default)]
pub(crate) struct Departures<'a> {
    /// Containers that are removed, with the step that does it.
    pub(crate) removed: BTreeMap<&'a ContainerId, Handle>,
    /// Containers that run and are to end, by service.
    ending: BTreeMap<&'a ServiceName, Vec<&'a ContainerId>>,
    volumes: BTreeMap<&'a VolumeName, Option<Handle>>,
}

impl<'a> Departures<'a> {
    /// Something runs that is to end.
    pub(crate) fn is_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// A container that must have ended before one of `service` is stopped.
    pub(crate) fn hindrance(&self, graph: &Dependencies<'a>, service: &'a ServiceName) -> Option<&'a ContainerId> {
        graph.dependents(service).find_map(|dependent| self.ending.get(dependent)?.first().copied())
    }
}

pub(crate) fn leave<'a>(
    draft: &mut Draft<'a>,
    frame: Frame<'a>,
    survey: &Survey<'a>,
    graph: &Dependencies<'a>,
) -> Departures<'a> {
    let mut leave = Leave { draft, frame, graph, departures: Departures::default() };
    for container in ending(survey) {
        leave.departures.ending.entry(&container.container.service).or_default().push(&container.container.id);
    }
    for replica in survey.replicas.values() {
        for container in &replica.surplus {
            leave.discard(container, Effect::Replace);
        }
        leave.replica(replica);
    }
    for container in &survey.unwanted {
        leave.discard(container, Effect::Remove);
    }
    leave.departures
}

/// Everything that runs and is to end.
fn ending<'s, 'a>(survey: &'s Survey<'a>) -> impl Iterator<Item = &'a ObservedContainer> + use<'s, 'a> {
    let currents =
        survey.replicas.values().filter(|replica| replica.is_leaving()).filter_map(|replica| replica.current);
    let surplus = survey.replicas.values().flat_map(|replica| replica.surplus.iter().copied());
    let all = currents.chain(surplus).chain(survey.unwanted.iter().copied());
    all.filter(|container| container.is_running())
}

struct Leave<'d, 'a> {
    draft: &'d mut Draft<'a>,
    frame: Frame<'a>,
    graph: &'d Dependencies<'a>,
    departures: Departures<'a>,
}

impl<'a> Leave<'_, 'a> {
    fn replica(&mut self, replica: &Replica<'a>) {
        let Some(current) = replica.current.filter(|_| replica.is_leaving()) else { return };
        let (reason, next) = match &replica.verdict {
            Verdict::Replace(_) if replica.service.power == Power::Off && current.is_running() => stopped_by_user(),
            Verdict::Replace(cause) => (Reason::new(Effect::Replace, cause.clone()), Some("create")),
            Verdict::Restart(cause) => (Reason::new(Effect::Restart, cause.clone()), Some("start")),
            Verdict::Off => stopped_by_user(),
            // It was asked to stop for something that is no longer wanted; it ends and starts again.
            Verdict::Create | Verdict::Keep => {
                (Reason::new(Effect::Restart, Cause::Requested("stop".to_owned())), Some("start"))
            }
        };
        if current.is_running() {
            self.stop(current, reason, next);
        } else if let Verdict::Replace(_) = replica.verdict {
            if let Some(hindrance) = self.departures.hindrance(self.graph, replica.slot.0) {
                self.draft.block(replica.key(), "remove", reason.effect, Until::Exited(hindrance.clone()));
            } else {
                self.remove(current, reason);
            }
        }
    }

    /// Stops and removes a container that stands for no replica. Its effect on the key is that of a replacement where
    /// another container of the same replica lives on.
    fn discard(&mut self, container: &'a ObservedContainer, effect: Effect) {
        let cause = if is_half_made(container) { Cause::HalfMade } else { Cause::NotWanted };
        let reason = Reason::new(effect, cause);
        if container.is_running() {
            self.stop(container, reason, Some("remove"));
        } else {
            self.remove(container, reason);
        }
    }

    /// The next step of a stop: the signal, SIGKILL, or waiting.
    fn stop(&mut self, container: &'a ObservedContainer, reason: Reason, next: Option<&str>) {
        let State::Running { stopping, .. } = container.state else { return };
        let (id, effect) = (&container.container.id, reason.effect);
        let key = key_of(container);
        let patience = self.frame.desired.stop_grace;
        let action = match stopping {
            Some(stopping) if stopping.killed => {
                return self.draft.block(key, "stop", effect, Until::Exited(id.clone()));
            }
            Some(stopping) => {
                let deadline =
                    patience.map_or(stopping.deadline, |grace| stopping.since.plus(grace).min(stopping.deadline));
                if self.frame.now < deadline {
                    return self.draft.block(key, "stop", effect, Until::Time(deadline, "grace period".to_owned()));
                }
                Action::KillContainer { id: id.clone() }
            }
            None => {
                if let Some(hindrance) = self.departures.hindrance(self.graph, &container.container.service) {
                    return self.draft.block(key, "stop", effect, Until::Exited(hindrance.clone()));
                }
                let grace = patience.unwrap_or(container.container.spec.stop_grace);
                // Whoever has no patience at all does not wait for hooks either.
                let due = if grace.0 == 0 { Due::Nothing } else { due(self.frame, container, Stage::PreStop) };
                match due {
                    Due::Nothing => {}
                    Due::Wait(until) => return self.draft.block(key, "stop", effect, until),
                    Due::Begin(action) => {
                        self.draft.push(key.clone(), action, reason, []);
                        let until = Until::Hooks(id.clone(), Stage::PreStop);
                        return self.draft.block(key, "stop", effect, until);
                    }
                }
                let signal = container.container.process.stop_signal;
                if grace.0 == 0 {
                    Action::KillContainer { id: id.clone() }
                } else {
                    Action::StopContainer { id: id.clone(), signal, grace }
                }
            }
        };
        if self.draft.push(key.clone(), action, reason, []).is_some()
            && let Some(next) = next
        {
            self.draft.block(key, next, effect, Until::Exited(id.clone()));
        }
    }

    fn remove(&mut self, container: &'a ObservedContainer, reason: Reason) {
        let goes = reason.effect == Effect::Remove || self.gets_other_volumes(&container.container);
        let needs = if goes { self.remove_volumes(container) } else { Some(Vec::new()) };
        let Some(needs) = needs else { return };
        let id = &container.container.id;
        let action = Action::RemoveContainer { id: id.clone() };
        if let Some(handle) = self.draft.push(key_of(container), action, reason, needs) {
            self.departures.removed.insert(id, handle);
        }
    }

    /// Deletes the volumes that only this replica knows of; `None` when one of them cannot be deleted now.
    fn remove_volumes(&mut self, container: &'a ObservedContainer) -> Option<Vec<Handle>> {
        let mut needs = Vec::new();
        for mount in &container.container.mounts {
            let ResolvedSource::Volume { name, .. } = &mount.source else { continue };
            let own = is_own(self.frame, &container.container, mount, name);
            if !own || !self.frame.observed.volumes.contains(name) || self.is_shared(&container.container.id, name) {
                continue;
            }
            let draft = &mut self.draft;
            needs.push((*self.departures.volumes.entry(name).or_insert_with(|| draft.push_anonymous(name)))?);
        }
        Some(needs)
    }
}

impl Leave<'_, '_> {
    /// The next container of its replica is to find none of its volumes without a name.
    fn gets_other_volumes(&self, container: &Container) -> bool {
        let service = self.frame.desired.services.get(&container.service);
        service.is_some_and(|service| service.renew_request > container.renew_request)
    }

    /// Another container that stays has the volume too.
    fn is_shared(&self, id: &ContainerId, volume: &VolumeName) -> bool {
        let others = self.frame.observed.containers.values().map(|it| &it.container).filter(|other| other.id != *id);
        let stays = |other: &&Container| {
            let service = self.frame.desired.services.get(&other.service);
            service.is_some_and(|service| other.index <= service.replicas)
        };
        let mut mounts = others.filter(stays).flat_map(|other| &other.mounts);
        mounts.any(|mount| matches!(&mount.source, ResolvedSource::Volume { name, .. } if name == volume))
    }
}

fn stopped_by_user() -> (Reason, Option<&'static str>) {
    (Reason::new(Effect::Remove, Cause::Requested("stop".to_owned())), None)
}

fn key_of(container: &ObservedContainer) -> Key {
    Key::Container(container.container.service.clone(), container.container.index)
}
