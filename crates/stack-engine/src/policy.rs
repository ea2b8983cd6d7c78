//! What the user asked for beside the file: which services run, how many, which were restarted, or nothing at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stack_model::{Desired, Failure, Fault, Millis, PolicyChange, Power, ServiceName, UpOptions, VolumeName};

/// The user's standing orders. The file and these together are the desired state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The services that were asked for by name; `None` is all of the file.
    selected: Option<BTreeSet<ServiceName>>,
    /// There was an `up` since the last `down`.
    is_up: bool,
    stopped: BTreeSet<ServiceName>,
    restarts: BTreeMap<ServiceName, u64>,
    scale: BTreeMap<ServiceName, u32>,
    down: bool,
    discard_volumes: bool,
    stop_grace: Option<Millis>,
}

impl Policy {
    /// Whether everything is to go.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Whether volumes are to go as well.
    pub fn discards_volumes(&self) -> bool {
        self.discard_volumes
    }

    /// Takes an `up`: what it names runs again, whatever was asked before.
    ///
    /// # Errors
    /// A service that the file does not have.
    pub fn up(&mut self, options: &UpOptions, base: &Desired) -> Result<(), Failure> {
        let UpOptions { services, scale } = options;
        check(services.iter().chain(scale.keys()), base)?;
        let was_up = std::mem::replace(&mut self.is_up, true);
        self.down = false;
        self.discard_volumes = false;
        self.stop_grace = None;
        self.scale.extend(scale.iter().map(|(service, count)| (service.clone(), *count)));
        if services.is_empty() {
            self.selected = None;
            self.stopped.clear();
            return Ok(());
        }
        let wanted = with_dependencies(services, base);
        self.stopped.retain(|service| !wanted.contains(service));
        match &mut self.selected {
            Some(selected) if was_up => selected.extend(wanted),
            // Everything is up already.
            None if was_up => {}
            Some(_) | None => self.selected = Some(wanted),
        }
        Ok(())
    }

    /// Takes another change.
    ///
    /// # Errors
    /// A service that the file does not have.
    pub fn change(&mut self, change: &PolicyChange, base: &Desired) -> Result<(), Failure> {
        match change {
            PolicyChange::Down { volumes, timeout } => {
                *self = Self {
                    down: true,
                    discard_volumes: *volumes,
                    stop_grace: *timeout,
                    restarts: std::mem::take(&mut self.restarts),
                    ..Self::default()
                };
            }
            PolicyChange::Stop { services, timeout } => {
                self.stop_grace = *timeout;
                self.stopped.extend(named(services, base)?);
            }
            PolicyChange::Start { services } => {
                self.stop_grace = None;
                for service in named(services, base)? {
                    self.stopped.remove(&service);
                }
            }
            PolicyChange::Restart { services, timeout } => {
                self.stop_grace = *timeout;
                for service in named(services, base)? {
                    self.stopped.remove(&service);
                    *self.restarts.entry(service).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// The file under these orders.
    pub fn apply(&self, base: &Desired, generation: u64) -> Desired {
        let mut desired = if self.down { stack_plan::emptied(base) } else { base.clone() };
        desired.generation = generation;
        desired.stop_grace = self.stop_grace;
        if self.down {
            if self.discard_volumes {
                desired.discard_volumes = owned_volumes(base);
            }
            return desired;
        }
        if let Some(selected) = &self.selected {
            desired.services.retain(|service, _| selected.contains(service));
        }
        for (name, service) in &mut desired.services {
            if self.stopped.contains(name) {
                service.power = Power::Off;
            }
            if let Some(request) = self.restarts.get(name) {
                service.restart_request = *request;
            }
            if let Some(count) = self.scale.get(name) {
                service.replicas = *count;
            }
        }
        desired
    }
}

fn owned_volumes(base: &Desired) -> Vec<VolumeName> {
    base.volumes.iter().filter(|(_, volume)| !volume.external).map(|(name, _)| name.clone()).collect()
}

/// These services and everything that they wait for.
fn with_dependencies(services: &[ServiceName], base: &Desired) -> BTreeSet<ServiceName> {
    let mut wanted = BTreeSet::new();
    let mut open: Vec<ServiceName> = services.to_vec();
    while let Some(service) = open.pop() {
        if wanted.insert(service.clone())
            && let Some(found) = base.services.get(&service)
        {
            open.extend(found.depends_on.keys().filter(|name| base.services.contains_key(*name)).cloned());
        }
    }
    wanted
}

fn named(services: &[ServiceName], base: &Desired) -> Result<Vec<ServiceName>, Failure> {
    check(services.iter(), base)?;
    Ok(if services.is_empty() { base.services.keys().cloned().collect() } else { services.to_vec() })
}

fn check<'a>(mut services: impl Iterator<Item = &'a ServiceName>, base: &Desired) -> Result<(), Failure> {
    let Some(unknown) = services.find(|service| !base.services.contains_key(*service)) else { return Ok(()) };
    let all: Vec<&str> = base.services.keys().map(ServiceName::as_str).collect();
    Err(Failure::new(Fault::User, format!("no such service: {unknown}"))
        .hint(format!("the project has: {}", all.join(", "))))
}
