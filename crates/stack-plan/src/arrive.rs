//! What comes: images, networks, volumes, new containers, and changes of those that stay.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{
    Action, Cause, Container, Effect, IfName, ImageReference, Key, NetworkName, ObservedContainer, Power, Until,
    VolumeName, VolumePlan,
};

use crate::allot::Slot;
use crate::classify::{Change, most_severe};
use crate::draft::{Draft, Frame, Handle, Reason};
use crate::leave::Departures;
use crate::network::{Segment, Standing};
use crate::resolve::is_anonymous;
use crate::survey::{Fresh, Replica, Survey, Verdict, cause, is_stopping};

/// What is or will be there when a container starts.
#[derive(Debug, Default)]
pub(crate) struct Arrivals<'a> {
    /// Networks that can be used, with the step that makes or mends them.
    pub(crate) networks: BTreeMap<&'a NetworkName, Option<Handle>>,
    /// Volumes that are made.
    volumes: BTreeMap<VolumeName, Handle>,
    /// New containers.
    pub(crate) created: BTreeMap<Slot<'a>, Handle>,
    /// Containers whose record is written.
    pub(crate) updated: BTreeMap<Slot<'a>, Handle>,
    /// Networks that are deleted.
    pub(crate) removed_networks: BTreeSet<&'a NetworkName>,
}

pub(crate) struct Arrive<'d, 'a> {
    pub(crate) draft: &'d mut Draft<'a>,
    pub(crate) frame: Frame<'a>,
    pub(crate) segments: &'d BTreeMap<&'a NetworkName, Segment<'a>>,
    pub(crate) departures: &'d Departures<'a>,
    pub(crate) arrivals: Arrivals<'a>,
}

impl<'a> Arrive<'_, 'a> {
    pub(crate) fn arrive(mut self, survey: &Survey<'a>) -> Arrivals<'a> {
        self.pull(survey);
        self.networks();
        self.volumes();
        for replica in survey.replicas.values() {
            self.create(replica);
            self.adjust(replica);
        }
        self.arrivals
    }

    fn pull(&mut self, survey: &Survey<'a>) {
        let waiting = survey.replicas.values().filter_map(|replica| match &replica.fresh {
            Some(Err(Until::Image(image))) => Some(image),
            Some(Ok(_) | Err(_)) | None => None,
        });
        let images: BTreeSet<&ImageReference> = waiting.collect();
        for image in images {
            let action = Action::PullImage { image: image.clone() };
            self.draft.push(Key::Image(image.clone()), action, Reason::new(Effect::New, Cause::Missing), []);
        }
    }

    fn networks(&mut self) {
        for (name, segment) in self.segments {
            let is_there = self.frame.observed.networks.contains_key(*name);
            match &segment.standing {
                Standing::Ready => drop(self.arrivals.networks.insert(name, None)),
                Standing::Lacking(cause) => {
                    let effect = if *cause == Cause::Missing { Effect::New } else { Effect::Live };
                    self.ensure_network(name, segment, Reason::new(effect, cause.clone()), None);
                }
                Standing::Outdated => self.rebuild_network(name, segment),
                Standing::Held => {
                    self.arrivals.networks.insert(name, None);
                    if let Some(member) = self.member_of(&segment.plan.bridge) {
                        let until = Until::Exited(member.container.id.clone());
                        self.draft.block(Key::Network((*name).clone()), "remove", Effect::Replace, until);
                    }
                }
                Standing::Refused(failure) => {
                    if is_there {
                        self.arrivals.networks.insert(name, None);
                    }
                    let until = Until::Failed(failure.clone());
                    let step = if segment.wanted.external { "join" } else { "ensure" };
                    self.draft.block(Key::Network((*name).clone()), step, Effect::New, until);
                }
            }
        }
        for (name, seen) in &self.frame.observed.networks {
            if self.segments.get(name).is_none_or(|segment| segment.wanted.external) {
                let action = Action::RemoveNetwork { bridge: seen.bridge.clone() };
                self.remove_network(name, action, Reason::new(Effect::Remove, Cause::NotWanted));
            }
        }
    }

    fn ensure_network(&mut self, name: &'a NetworkName, segment: &Segment<'a>, reason: Reason, need: Option<Handle>) {
        let action = Action::EnsureNetwork(segment.plan.clone());
        if let Some(handle) = self.draft.push(Key::Network(name.clone()), action, reason, need) {
            self.arrivals.networks.insert(name, Some(handle));
        }
    }

    fn rebuild_network(&mut self, name: &'a NetworkName, segment: &Segment<'a>) {
        let seen = &self.frame.observed.networks[name];
        let subnet = seen.gateway.map(|gateway| gateway.trunc());
        let (field, old, new) = if seen.bridge == segment.plan.bridge || subnet != Some(segment.plan.gateway.trunc()) {
            let old = subnet.map_or_else(|| "none".to_owned(), |subnet| subnet.to_string());
            ("subnet", old, segment.plan.gateway.trunc().to_string())
        } else {
            ("driver_opts", seen.bridge.to_string(), segment.plan.bridge.to_string())
        };
        let cause = Cause::Changed { origin: segment.wanted.origin.clone(), field: field.to_owned(), old, new };
        let reason = Reason::new(Effect::Replace, cause);
        let action = Action::RemoveNetwork { bridge: seen.bridge.clone() };
        if let Some(removed) = self.remove_network(name, action, reason.clone()) {
            self.ensure_network(name, segment, reason, Some(removed));
        }
    }

    /// Deletes a bridge once nothing is on it.
    fn remove_network(&mut self, name: &'a NetworkName, action: Action, reason: Reason) -> Option<Handle> {
        let key = Key::Network(name.clone());
        let bridge = &self.frame.observed.networks[name].bridge;
        if let Some(member) = self.member_of(bridge) {
            self.draft.block(key, "remove", reason.effect, Until::Exited(member.container.id.clone()));
            return None;
        }
        let members = self.frame.observed.containers.values().filter(|it| is_on(&it.container, bridge));
        let needs: Vec<Handle> =
            members.filter_map(|it| self.departures.removed.get(&it.container.id).copied()).collect();
        let handle = self.draft.push(key, action, reason, needs)?;
        self.arrivals.removed_networks.insert(name);
        Some(handle)
    }

    /// A container on a network that is not removed in this plan; one that runs before others.
    fn member_of(&self, bridge: &IfName) -> Option<&'a ObservedContainer> {
        let remaining = self
            .frame
            .observed
            .containers
            .values()
            .filter(|it| is_on(&it.container, bridge) && !self.departures.removed.contains_key(&it.container.id));
        remaining.min_by_key(|it| !it.is_running())
    }

    fn volumes(&mut self) {
        for (name, volume) in &self.frame.desired.volumes {
            if !volume.external && !self.frame.observed.volumes.contains(name) {
                self.ensure_volume(VolumePlan { name: name.clone(), labels: volume.labels.clone() });
            }
        }
        for name in &self.frame.desired.discard_volumes {
            if self.frame.observed.volumes.contains(name) && !self.frame.desired.volumes.contains_key(name) {
                self.discard_volume(name);
            }
        }
    }

    fn ensure_volume(&mut self, plan: VolumePlan) {
        let (name, key) = (plan.name.clone(), Key::Volume(plan.name.clone()));
        let reason = Reason::new(Effect::New, Cause::Missing);
        if let Some(handle) = self.draft.push(key, Action::EnsureVolume(plan), reason, []) {
            self.arrivals.volumes.insert(name, handle);
        }
    }

    fn discard_volume(&mut self, name: &'a VolumeName) {
        let users = self.frame.observed.containers.values().filter(|it| uses(&it.container, name));
        let (mut needs, mut remaining) = (Vec::new(), None);
        for user in users {
            match self.departures.removed.get(&user.container.id) {
                Some(handle) => needs.push(*handle),
                None => remaining = Some(user),
            }
        }
        let key = Key::Volume(name.clone());
        if let Some(user) = remaining {
            let until = Until::Exited(user.container.id.clone());
            return self.draft.block(key, "delete", Effect::DataLoss, until);
        }
        let reason = Reason::new(Effect::DataLoss, Cause::Requested("delete volumes".to_owned()));
        self.draft.push(key, Action::RemoveVolume { name: name.clone() }, reason, needs);
    }

    fn create(&mut self, replica: &Replica<'a>) {
        let reason = match &replica.verdict {
            Verdict::Create => Reason::new(Effect::New, Cause::Missing),
            Verdict::Replace(cause) => Reason::new(Effect::Replace, cause.clone()),
            Verdict::Keep | Verdict::Restart(_) | Verdict::Off => return,
        };
        let fresh = match &replica.fresh {
            None => return,
            Some(Err(until)) => return self.draft.block(replica.key(), "create", reason.effect, until.clone()),
            Some(Ok(fresh)) => fresh,
        };
        let mut needs = BTreeSet::new();
        if let Some(current) = replica.current {
            // While it is there, its own lines say what is waited for.
            let Some(removed) = self.departures.removed.get(&current.container.id) else { return };
            needs.insert(*removed);
        }
        if let Some(until) = self.wait_for(replica, fresh, &mut needs) {
            return self.draft.block(replica.key(), "create", reason.effect, until);
        }
        for name in fresh.container.volumes() {
            if is_anonymous(name) && !self.frame.observed.volumes.contains(name) {
                self.ensure_volume(VolumePlan { name: name.clone(), labels: BTreeMap::new() });
            }
            match self.arrivals.volumes.get(name) {
                Some(handle) => drop(needs.insert(*handle)),
                None if self.frame.observed.volumes.contains(name) => {}
                None => {
                    let until = Until::Done(Key::Volume(name.clone()));
                    return self.draft.block(replica.key(), "create", reason.effect, until);
                }
            }
        }
        let action = Action::CreateContainer(Box::new(fresh.container.clone()));
        if let Some(handle) = self.draft.push(replica.key(), action, reason, needs) {
            self.arrivals.created.insert(replica.slot, handle);
        }
    }

    /// What is in the way of a new container; what is on its way is added to `needs`.
    fn wait_for(&self, replica: &Replica<'a>, fresh: &Fresh, needs: &mut BTreeSet<Handle>) -> Option<Until> {
        let surplus = replica.surplus.iter().map(|container| &container.container.id);
        for id in surplus.chain(&fresh.holders) {
            match self.departures.removed.get(id) {
                Some(handle) => drop(needs.insert(*handle)),
                None => return Some(Until::Exited(id.clone())),
            }
        }
        let mut networks = fresh.container.endpoints.iter().map(|endpoint| &endpoint.network);
        let missing = networks.find(|network| !self.arrivals.networks.contains_key(*network))?;
        Some(Until::Done(Key::Network(missing.clone())))
    }

    /// Changes in place.
    fn adjust(&mut self, replica: &Replica<'a>) {
        let Some(current) = replica.current.filter(|current| !is_stopping(current)) else { return };
        match &replica.record {
            Some(Ok(record)) => match (&replica.verdict, current.is_running()) {
                (Verdict::Keep, true) => self.change_running(replica, current, record),
                (Verdict::Keep | Verdict::Restart(_), false) => self.change_record(replica, record, None),
                // It is changed when it has ended.
                (Verdict::Restart(_), true) | (Verdict::Create | Verdict::Replace(_) | Verdict::Off, _) => {}
            },
            Some(Err(failure)) => {
                self.draft.block(replica.key(), "update", Effect::Live, Until::Failed(failure.clone()));
            }
            None => {}
        }
        if current.is_running() && !current.attached && replica.stays() {
            self.attach(replica, &current.container);
        }
        if current.is_running() && replica.stays() {
            self.freeze(replica, current);
        }
    }

    fn freeze(&mut self, replica: &Replica<'a>, current: &ObservedContainer) {
        let id = current.container.id.clone();
        let (action, verb) = match (replica.service.power == Power::Paused, current.paused) {
            (true, false) => (Action::PauseContainer { id }, "pause"),
            (false, true) => (Action::UnpauseContainer { id }, "unpause"),
            (true, true) | (false, false) => return,
        };
        let reason = Reason::new(Effect::Live, Cause::Requested(verb.to_owned()));
        self.draft.push(replica.key(), action, reason, []);
    }

    /// Writes limits under the process, and the rest into the record: after both it is what the input wants.
    fn change_running(&mut self, replica: &Replica<'a>, current: &ObservedContainer, record: &Container) {
        let (old, new) = (&current.container.spec.limits, &record.spec.limits);
        if old == new {
            return self.change_record(replica, record, None);
        }
        let is_limit = |change: &&Change| LIMIT_FIELDS.contains(&change.field.as_str());
        let limits: Vec<Change> = replica.changes.iter().filter(is_limit).cloned().collect();
        let action = Action::WriteLimits { id: record.id.clone(), limits: Box::new(new.clone()) };
        let reason = self.change_reason(replica, &limits);
        let Some(written) = self.draft.push(replica.key(), action, reason, []) else { return };
        let rest: Vec<Change> = replica.changes.iter().filter(|change| !is_limit(change)).cloned().collect();
        if !rest.is_empty() {
            self.write_record(replica, record, &rest, Some(written));
        }
    }

    fn change_record(&mut self, replica: &Replica<'a>, record: &Container, need: Option<Handle>) {
        self.write_record(replica, record, &replica.changes, need);
    }

    fn write_record(&mut self, replica: &Replica<'a>, record: &Container, changes: &[Change], need: Option<Handle>) {
        let reason = self.change_reason(replica, changes);
        let action = Action::UpdateRecord(Box::new(record.clone()));
        if let Some(handle) = self.draft.push(replica.key(), action, reason, need) {
            self.arrivals.updated.insert(replica.slot, handle);
        }
    }

    fn change_reason(&self, replica: &Replica<'a>, changes: &[Change]) -> Reason {
        match (most_severe(changes), &replica.verdict) {
            (Some(change), _) => Reason::new(Effect::Live, cause(replica.service, change)),
            (None, Verdict::Restart(cause)) => Reason::new(Effect::Restart, cause.clone()),
            (None, Verdict::Create | Verdict::Keep | Verdict::Replace(_) | Verdict::Off) => {
                Reason::new(Effect::Live, Cause::Requested("restart".to_owned()))
            }
        }
    }

    fn attach(&mut self, replica: &Replica<'a>, container: &Container) {
        let mut needs = Vec::new();
        for endpoint in &container.endpoints {
            match self.arrivals.networks.get(&endpoint.network) {
                Some(handle) => needs.extend(*handle),
                None => {
                    let until = Until::Done(Key::Network(endpoint.network.clone()));
                    return self.draft.block(replica.key(), "attach", Effect::Live, until);
                }
            }
        }
        let reason = Reason::new(Effect::Live, Cause::Drift("interface is missing".to_owned()));
        self.draft.push(replica.key(), Action::AttachContainer { id: container.id.clone() }, reason, needs);
    }
}

/// The fields of [`stack_model::Limits`] as the file calls them.
const LIMIT_FIELDS: [&str; 12] = [
    "mem_limit",
    "memswap_limit",
    "mem_reservation",
    "cpus",
    "pids_limit",
    "cpu_shares",
    "cpu_period",
    "cpu_quota",
    "cpuset",
    "mem_swappiness",
    "oom_kill_disable",
    "blkio_config",
];

fn is_on(container: &Container, bridge: &IfName) -> bool {
    container.endpoints.iter().any(|endpoint| endpoint.bridge == *bridge)
}

fn uses(container: &Container, volume: &VolumeName) -> bool {
    container.volumes().any(|name| name == volume)
}
