//! What the user asked for beside the file: `stop`, `restart`, `--scale`, `up SERVICE`, `down`. Pure.

mod named;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stack_model::{
    Desired, Failure, Fault, Millis, NetworkMode, Now, Observed, PolicyChange, Power, Recreate, Service, ServiceName,
    StartRequest, State, UpOptions, Volume, VolumeName,
};

use named::{known, possible};

/// Everything that stands between the file and the desired state. Persisted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Which services were asked for.
    pub selected: Selection,
    /// Services whose containers are made and not started.
    pub created: BTreeSet<ServiceName>,
    /// Services that were stopped.
    pub stopped: BTreeSet<ServiceName>,
    /// Services that are frozen.
    pub paused: BTreeSet<ServiceName>,
    /// Services that were asked to end by a signal: what ends of them stays down.
    pub released: BTreeSet<ServiceName>,
    /// Services without containers, until they are asked for again.
    pub removed: BTreeSet<ServiceName>,
    /// What is run once, by names of their own.
    pub one_offs: BTreeMap<ServiceName, Service>,
    /// Services whose containers stay as they are, whatever the file says by now.
    pub kept: BTreeSet<ServiceName>,
    /// Services that were asked for without what they depend on.
    pub alone: BTreeSet<ServiceName>,
    /// The last restart request of each service.
    pub restarts: BTreeMap<ServiceName, u64>,
    /// Services whose last restart request nobody is to follow.
    pub restarts_alone: BTreeSet<ServiceName>,
    /// The last request of each service that it runs.
    pub starts: BTreeMap<ServiceName, StartRequest>,
    /// The last request of each service for other containers.
    pub recreates: BTreeMap<ServiceName, u64>,
    /// The last request of each service for other volumes without a name.
    pub renewals: BTreeMap<ServiceName, u64>,
    /// Replicas instead of the file's.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Everything is to go.
    pub down: Option<Farewell>,
    /// Instead of each service's grace period, until the next request.
    pub stop_grace: Option<Millis>,
}

/// How a project goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// Named volumes go too.
    pub volumes: bool,
}

/// Which services were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// All of the file's, also those that it will name later.
    All,
    /// These, and what they depend on.
    Only(BTreeSet<ServiceName>),
}

impl Default for Selection {
    /// Nothing was asked for yet.
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Policy {
    /// Takes the options of an `up` of `base`. An error changes nothing.
    ///
    /// # Errors
    /// A service is unknown, or cannot have that many containers.
    pub fn up(&mut self, options: &UpOptions, base: &Desired, now: Now) -> Result<(), Failure> {
        possible(options, base)?;
        if self.down.is_some() {
            let Self { restarts, recreates, renewals, .. } = std::mem::take(self);
            *self = Self { restarts, recreates, renewals, ..Self::default() };
        }
        self.stop_grace = None;
        let before = self.active(base);
        let named: BTreeSet<ServiceName> = match options.services.as_slice() {
            [] if options.errand.is_none() => base.services.keys().cloned().collect(),
            services => services.iter().cloned().collect(),
        };
        let asked = with_dependencies(base, &named, |_| options.no_deps);
        self.revive(&asked);
        if options.errand.is_none() {
            self.scale.retain(|name, _| !asked.contains(name));
        }
        self.scale.extend(options.scale.clone());
        self.select(options, &before);
        if options.no_deps {
            self.alone.extend(named.iter().cloned());
        }
        self.recreate(options, &named, &asked, now);
        let is_named = |name: &ServiceName| options.errand.is_none() && options.services.contains(name);
        let starts = asked.iter().map(|name| (name.clone(), options.rerun || is_named(name)));
        self.starts.extend(starts.map(|(name, done_too)| (name, StartRequest { at: now, done_too })));
        if options.no_start {
            let mut new: BTreeSet<ServiceName> = self.active(base).difference(&before).cloned().collect();
            if options.recreate == Recreate::All {
                new.extend(asked);
            }
            self.created.extend(new);
        }
        if let Some(errand) = &options.errand {
            self.one_offs.insert(errand.name.clone(), errand.service.clone());
        }
        Ok(())
    }

    /// Takes note of which services are asked for, in addition to those that were active `before`.
    fn select(&mut self, options: &UpOptions, before: &BTreeSet<ServiceName>) {
        match &mut self.selected {
            selected if options.services.is_empty() && options.errand.is_none() => *selected = Selection::All,
            Selection::All => {}
            Selection::Only(selected) => {
                selected.extend(options.services.iter().cloned());
                // What is up because somebody depended on it stays up.
                selected.extend(before.iter().filter(|_| options.no_deps).cloned());
            }
        }
    }

    /// Takes note of which containers are to be replaced; `asked` are the named services and what they depend on.
    fn recreate(
        &mut self,
        options: &UpOptions,
        named: &BTreeSet<ServiceName>,
        asked: &BTreeSet<ServiceName>,
        now: Now,
    ) {
        let replaced = if options.recreate_dependencies { asked } else { named };
        if options.recreate == Recreate::All {
            replaced.iter().for_each(|name| ask_anew(&mut self.recreates, name, now));
        } else if options.recreate_dependencies {
            asked.difference(named).for_each(|name| ask_anew(&mut self.recreates, name, now));
        }
        if options.renew_volumes {
            replaced.iter().for_each(|name| ask_anew(&mut self.renewals, name, now));
        }
        if options.recreate == Recreate::None {
            self.kept.extend(asked.iter().cloned());
        }
    }

    /// Services are wanted as the file has them.
    fn revive(&mut self, services: &BTreeSet<ServiceName>) {
        let Self { created, stopped, paused, released, removed, kept, alone, .. } = self;
        for set in [created, stopped, paused, released, removed, kept, alone] {
            set.retain(|name| !services.contains(name));
        }
    }

    /// Forgets what was run once, was to be removed when it ends, and has ended; whether there was such a thing.
    pub(crate) fn forget_ended(&mut self, observed: &Observed) -> bool {
        let before = self.one_offs.len();
        self.one_offs.retain(|name, service| {
            let mut own = observed.containers.values().filter(|it| it.container.service == *name);
            let ended = own.any(|it| matches!(it.state, State::Exited { .. }));
            !(ended && service.one_off.as_ref().is_some_and(|one_off| one_off.remove))
        });
        self.one_offs.len() < before
    }

    /// Selects services that run although nothing is known of their being asked for: the journal was lost.
    pub(crate) fn adopt<'a>(&mut self, running: impl Iterator<Item = &'a ServiceName>) {
        if let Selection::Only(selected) = &mut self.selected {
            selected.extend(running.cloned());
        }
    }

    /// Takes a change of what is wanted of `base`. An error changes nothing.
    ///
    /// # Errors
    /// A service is unknown or was never asked for, or the project is going down.
    pub fn change(&mut self, change: &PolicyChange, base: &Desired, now: Now) -> Result<(), Failure> {
        let services = match change {
            PolicyChange::Down { volumes, timeout } => {
                let volumes = *volumes || self.down.is_some_and(|farewell| farewell.volumes);
                self.down = Some(Farewell { volumes });
                self.stop_grace = *timeout;
                return Ok(());
            }
            PolicyChange::Stop { services, .. }
            | PolicyChange::Start { services }
            | PolicyChange::Pause { services }
            | PolicyChange::Unpause { services }
            | PolicyChange::Release { services }
            | PolicyChange::Remove { services }
            | PolicyChange::Restart { services, .. } => self.concerned(services, base)?,
        };
        match change {
            PolicyChange::Stop { timeout, .. } => {
                self.stop_grace = *timeout;
                self.paused.retain(|name| !services.contains(name));
                self.stopped.extend(services);
            }
            PolicyChange::Pause { .. } => self.paused.extend(services),
            PolicyChange::Unpause { .. } => self.paused.retain(|name| !services.contains(name)),
            PolicyChange::Release { .. } => self.released.extend(services),
            PolicyChange::Remove { .. } => {
                for name in services {
                    if self.one_offs.remove(&name).is_none() {
                        self.removed.insert(name);
                    }
                }
            }
            PolicyChange::Restart { timeout, no_deps, .. } => {
                self.stop_grace = *timeout;
                self.revive(&services);
                self.restarts_alone.retain(|name| !services.contains(name));
                self.restarts_alone.extend(services.iter().filter(|_| *no_deps).cloned());
                services.iter().for_each(|name| ask_anew(&mut self.restarts, name, now));
            }
            PolicyChange::Start { .. } | PolicyChange::Down { .. } => {
                self.stop_grace = None;
                self.revive(&services);
                let request = StartRequest { at: now, done_too: true };
                self.starts.extend(services.into_iter().map(|name| (name, request)));
            }
        }
        Ok(())
    }

    /// A save of the file: what was asked for goes on, but a shortened grace period was for one request only, and who
    /// saves wants it to be so.
    pub(crate) fn reload(&mut self) {
        if self.down.is_none() {
            self.stop_grace = None;
            self.kept.clear();
        }
    }

    /// What is wanted: the file as the policy bends it.
    #[must_use]
    pub fn apply(&self, base: &Desired, generation: u64) -> Desired {
        if let Some(farewell) = self.down {
            let mut empty = stack_plan::emptied(base);
            if farewell.volumes {
                let own = base.volumes.iter().filter(|(_, volume)| !volume.external);
                empty.discard_volumes = own.map(|(name, _)| name.clone()).collect();
            }
            return Desired { generation, stop_grace: self.stop_grace, ..empty };
        }
        let active = self.active(base);
        let wanted = base.services.iter().filter(|(name, _)| active.contains(*name));
        let services: BTreeMap<ServiceName, Service> =
            wanted.chain(&self.one_offs).map(|(name, service)| (name.clone(), self.bend(name, service))).collect();
        let (mut networks, mut volumes) = (base.networks.clone(), base.volumes.clone());
        if base.services.keys().any(|name| !active.contains(name)) {
            networks.retain(|name, _| services.values().any(|service| is_on(service, name)));
            volumes.retain(|name, _| services.values().any(|service| mounts(service, name)));
        }
        for service in self.one_offs.values() {
            for name in service.container.named_volumes() {
                let volume = || Volume { external: false, labels: BTreeMap::new(), origin: service.origin.clone() };
                volumes.entry(name.clone()).or_insert_with(volume);
            }
        }
        Desired {
            project: base.project.clone(),
            instance: base.instance.clone(),
            generation,
            networks,
            volumes,
            services,
            discard_volumes: base.discard_volumes.clone(),
            stop_grace: self.stop_grace,
        }
    }

    fn bend(&self, name: &ServiceName, service: &Service) -> Service {
        let mut service = service.clone();
        if let Some(replicas) = self.scale.get(name) {
            service.replicas = *replicas;
        }
        if self.removed.contains(name) {
            service.replicas = 0;
        }
        service.power = match name {
            name if self.stopped.contains(name) => Power::Off,
            name if self.paused.contains(name) => Power::Paused,
            name if self.released.contains(name) => Power::Once,
            name if self.created.contains(name) => Power::Created,
            _ => service.power,
        };
        if self.alone.contains(name) {
            service.depends_on.clear();
        }
        service.keep = self.kept.contains(name);
        service.restart_alone = self.restarts_alone.contains(name);
        service.start_request = self.starts.get(name).copied().unwrap_or(service.start_request);
        service.restart_request = self.restarts.get(name).copied().unwrap_or(service.restart_request);
        service.recreate_request = self.recreates.get(name).copied().unwrap_or(service.recreate_request);
        service.renew_request = self.renewals.get(name).copied().unwrap_or(service.renew_request);
        service
    }

    /// The services that were asked for, with what they depend on.
    fn active(&self, base: &Desired) -> BTreeSet<ServiceName> {
        match &self.selected {
            Selection::All => base.services.keys().cloned().collect(),
            Selection::Only(selected) => with_dependencies(base, selected, |name| self.alone.contains(name)),
        }
    }

    /// The services that a request names; all active ones, and all that run once, when it names none.
    fn concerned(&self, services: &[ServiceName], base: &Desired) -> Result<BTreeSet<ServiceName>, Failure> {
        if self.down.is_some() {
            return Err(Failure::new(Fault::Conflict, "the project is going down").hint("run `stack up` first"));
        }
        let active = self.active(base);
        if services.is_empty() {
            return Ok(active.into_iter().chain(self.one_offs.keys().cloned()).collect());
        }
        for name in services.iter().filter(|name| !self.one_offs.contains_key(*name)) {
            known(name, base)?;
            if !active.contains(name) {
                let text = format!("{name} is not up");
                return Err(Failure::new(Fault::Missing, text).hint(format!("run `stack up {name}` first")));
            }
        }
        Ok(services.iter().cloned().collect())
    }
}

fn with_dependencies(
    base: &Desired,
    services: &BTreeSet<ServiceName>,
    alone: impl Fn(&ServiceName) -> bool,
) -> BTreeSet<ServiceName> {
    stack_plan::with_dependencies(base, services, alone).into_iter().cloned().collect()
}

/// A request that is newer than the last one: the time, so that requests grow even when the journal with the last
/// number is lost.
fn ask_anew(requests: &mut BTreeMap<ServiceName, u64>, name: &ServiceName, now: Now) {
    let request = requests.entry(name.clone()).or_default();
    *request = now.0.max(*request + 1);
}

fn is_on(service: &Service, network: &stack_model::NetworkName) -> bool {
    match &service.container.network {
        NetworkMode::Attached(attached) => attached.contains_key(network),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Service(_) => false,
    }
}

fn mounts(service: &Service, volume: &VolumeName) -> bool {
    service.container.named_volumes().any(|name| name == volume)
}

#[cfg(test)]
mod tests;
