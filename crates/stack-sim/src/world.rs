//! The kernel and the disk of the simulation.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stack_engine::{Clock, Wake};
use stack_model::{
    Container, ContainerId, Desired, Event, Exit, Health, Hooks, HostFacts, ImageConfig, ImageFacts, ImageId,
    ImageReference, Key, Millis, Names, NetworkName, Now, Observed, ObservedContainer, ObservedNetwork, Ruleset,
    ServiceName, State, VolumeName, short_hex,
};
use tokio::sync::Notify;

use crate::{Behaviour, Faults, Random, SimClock};

/// A world as its hosts, journals and tests share it. All of them live on one thread.
pub type SharedWorld = Rc<RefCell<World>>;

/// A verdict needs at least this long after a host began to watch.
const FIRST_PROBE: Millis = Millis(10);
/// A late wake-up comes within this time.
const DELAY_MAX: u64 = 1_000;
/// A crashing run ends after this time.
const CRASH_AFTER: Millis = Millis(20);

/// One machine.
#[derive(Debug)]
pub struct World {
    /// Time.
    pub clock: SimClock,
    /// Chance.
    pub random: Random,
    /// What goes wrong from now on.
    pub faults: Faults,
    /// What each service's process does.
    pub behaviours: BTreeMap<ServiceName, Behaviour>,
    /// What the registry has.
    pub registry: BTreeSet<ImageReference>,
    /// Named volumes may be deleted.
    pub consent: bool,
    /// Check first starts against the dependencies of this. Only where nothing breaks in between.
    pub order: Option<Desired>,
    /// What must never happen and did.
    pub violations: Vec<String>,
    /// Starts, in order.
    pub starts: Vec<ContainerId>,
    /// The journal cannot be written.
    pub disk_full: bool,
    /// Journal saves.
    pub saves: u64,
    /// Looks.
    pub looks: u64,
    /// Points passed at which a crash could have hit.
    pub points: u64,
    /// The point at which it does.
    pub crash_at: Option<u64>,
    /// Each volume with the number of the world's step that made it: the same number means the same data.
    pub volumes: BTreeMap<VolumeName, u64>,
    pub(crate) containers: BTreeMap<ContainerId, Cell>,
    pub(crate) networks: BTreeMap<NetworkName, ObservedNetwork>,
    pub(crate) images: BTreeMap<ImageReference, ImageFacts>,
    pub(crate) ruleset: Option<Ruleset>,
    pub(crate) names: Option<Names>,
    pub(crate) busy: BTreeSet<Key>,
    /// What a host's watches say about the network: as it was when a notice last came.
    network_seen: NetworkView,
    runs: BTreeMap<(ServiceName, u32), u32>,
    wakes: Vec<(Now, Wake)>,
    next_pid: u32,
    made: u64,
    watching_since: Now,
    dead: bool,
    pub(crate) changed: Rc<Notify>,
}

/// A container of the world.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) container: Container,
    pub(crate) state: State,
    /// When and how its process will end by itself.
    pub(crate) end: Option<(Now, Exit)>,
    pub(crate) attached: bool,
    pub(crate) paused: bool,
    pub(crate) hooks: Hooks,
    /// The verdict that was told last.
    told: Health,
}

#[derive(Debug, Clone, Default)]
struct NetworkView {
    networks: BTreeMap<NetworkName, ObservedNetwork>,
    ruleset: Option<Ruleset>,
    detached: BTreeSet<ContainerId>,
    stale: bool,
}

impl World {
    /// An empty machine. Call it on the runtime whose time it shall have.
    pub fn new(seed: u64) -> SharedWorld {
        let clock = SimClock::new();
        Rc::new(RefCell::new(Self {
            clock,
            random: Random::new(seed),
            faults: Faults::default(),
            behaviours: BTreeMap::new(),
            registry: BTreeSet::new(),
            consent: false,
            order: None,
            violations: Vec::new(),
            starts: Vec::new(),
            disk_full: false,
            saves: 0,
            looks: 0,
            points: 0,
            crash_at: None,
            volumes: BTreeMap::new(),
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            images: BTreeMap::new(),
            ruleset: None,
            names: None,
            busy: BTreeSet::new(),
            network_seen: NetworkView::default(),
            runs: BTreeMap::new(),
            wakes: Vec::new(),
            next_pid: 100,
            made: 0,
            watching_since: clock.now(),
            dead: false,
            changed: Rc::default(),
        }))
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Passes a point at which a crash may hit; true when it has hit, here or before.
    pub(crate) fn is_past_point(&mut self) -> bool {
        if !self.dead {
            self.dead = self.crash_at == Some(self.points);
            self.points += 1;
            if self.dead {
                self.changed.notify_waiters();
            }
        }
        self.dead
    }

    /// The crash has hit: nothing of this life has an effect any more.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Ends when the crash hits.
    pub async fn death(world: &SharedWorld) {
        let changed = Rc::clone(&world.borrow().changed);
        loop {
            let changed = changed.notified();
            if world.borrow().dead {
                return;
            }
            changed.await;
        }
    }

    /// The supervisor's process is gone, and with it what it held; the next one may begin.
    pub fn bury(&mut self) {
        let now = self.now();
        self.advance(now);
        self.dead = false;
        self.crash_at = None;
        self.wakes.clear();
        self.busy.clear();
        self.names = None;
        self.network_seen = NetworkView { stale: true, ..NetworkView::default() };
        self.watching_since = now;
        for cell in self.containers.values_mut() {
            cell.told = Health::None;
        }
    }

    pub(crate) fn violate(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    /// A number that was not there before.
    pub(crate) fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// What an image is: always the same for the same reference.
    pub(crate) fn facts(image: &ImageReference) -> ImageFacts {
        let digest = |what: &str| format!("sha256:{}", short_hex(&[what, image.as_str()], 16).repeat(4));
        let layers = vec![stack_model::DiffId::new(digest("layer"))];
        ImageFacts { id: ImageId::new(digest("config")), layers, config: ImageConfig::default() }
    }

    /// Puts an image into the store.
    pub fn add_image(&mut self, image: &ImageReference) {
        self.images.insert(image.clone(), Self::facts(image));
    }

    /// Everything as it is, without the delay of a watch.
    pub fn truth(&mut self) -> Observed {
        let now = self.now();
        self.advance(now);
        let containers = self.containers.iter().map(|(id, cell)| (id.clone(), self.seen(cell, cell.attached, now)));
        Observed {
            images: self.images.clone(),
            networks: self.networks.clone(),
            volumes: self.volumes.keys().cloned().collect(),
            containers: containers.collect(),
            ruleset: self.ruleset.clone(),
            names: self.names.clone(),
            host: HostFacts::default(),
        }
    }

    /// What a host sees: all of it when it looks afresh, else what its watches have kept.
    pub(crate) fn observe(&mut self, fresh: bool) -> Observed {
        self.looks += 1;
        if fresh || std::mem::take(&mut self.network_seen.stale) {
            let detached = self.containers.iter().filter(|(_, cell)| !cell.attached).map(|(id, _)| id.clone());
            self.network_seen = NetworkView {
                detached: detached.collect(),
                networks: self.networks.clone(),
                ruleset: self.ruleset.clone(),
                stale: false,
            };
        }
        let mut observed = self.truth();
        let NetworkView { networks, ruleset, detached, stale: _ } = &self.network_seen;
        observed.networks.clone_from(networks);
        observed.ruleset.clone_from(ruleset);
        for (id, container) in &mut observed.containers {
            container.attached = !container.is_running() || !detached.contains(id);
        }
        observed
    }

    /// A step of this host changed the network: it knows what it did.
    pub(crate) fn network_changed(&mut self) {
        self.network_seen.stale = true;
    }

    fn seen(&self, cell: &Cell, attached: bool, now: Now) -> ObservedContainer {
        let running = matches!(cell.state, State::Running { .. });
        ObservedContainer {
            container: cell.container.clone(),
            state: cell.state.clone(),
            health: self.health(cell, now),
            attached: !running || attached,
            paused: running && cell.paused,
            hooks: cell.hooks.clone(),
        }
    }

    fn behaviour(&self, service: &ServiceName) -> Behaviour {
        self.behaviours.get(service).copied().unwrap_or_default()
    }

    fn healthy_at(&self, cell: &Cell) -> Option<Now> {
        let State::Running { started, .. } = cell.state else { return None };
        cell.container.healthcheck.as_ref()?;
        let ready = started.plus(self.behaviour(&cell.container.service).ready_after);
        Some(ready.max(self.watching_since.plus(FIRST_PROBE)))
    }

    pub(crate) fn health(&self, cell: &Cell, now: Now) -> Health {
        match self.healthy_at(cell) {
            None => Health::None,
            Some(at) if now >= at => Health::Healthy,
            Some(_) if self.behaviour(&cell.container.service).sick => {
                Health::Unhealthy { failures: 3, output: "not yet".to_owned() }
            }
            Some(_) => Health::Starting,
        }
    }

    /// Runs process 1 of a container.
    pub(crate) fn run(&mut self, id: &ContainerId) {
        let (now, pid) = (self.now(), self.next_pid);
        self.next_pid += 1;
        let Some(cell) = self.containers.get(id) else { return };
        let (service, index) = (cell.container.service.clone(), cell.container.index);
        let behaviour = self.behaviour(&service);
        let runs = self.runs.entry((service, index)).or_default();
        *runs += 1;
        let code = |code| Exit { code: Some(code), ..Exit::default() };
        let end = match behaviour.exit {
            _ if *runs <= behaviour.crashes => Some((now.plus(CRASH_AFTER), code(1))),
            Some((after, status)) => Some((now.plus(after), code(status))),
            None => None,
        };
        if let Some(cell) = self.containers.get_mut(id) {
            cell.state = State::Running { pid, started: now, stopping: None };
            (cell.end, cell.attached, cell.told) = (end, true, Health::None);
            cell.paused = false;
            cell.hooks = Hooks::default();
        }
        self.starts.push(id.clone());
    }

    /// Lets everything happen that is due.
    pub(crate) fn advance(&mut self, now: Now) {
        let mut events = Vec::new();
        for cell in self.containers.values_mut() {
            let State::Running { started, stopping, .. } = cell.state else { continue };
            let Some((at, exit)) = cell.end.filter(|(at, _)| *at <= now) else { continue };
            let exit = Exit { requested: stopping.is_some(), ..exit };
            cell.state = State::Exited { exit, started, finished: at };
            (cell.end, cell.attached) = (None, true);
            let Container { id, service, index, .. } = cell.container.clone();
            events.push(Event::Exited { id, service, index, exit });
        }
        let verdicts: Vec<_> = self.containers.iter().map(|(id, cell)| (id.clone(), self.health(cell, now))).collect();
        for (id, health) in verdicts {
            let Some(cell) = self.containers.get_mut(&id).filter(|cell| cell.told != health) else { continue };
            cell.told = health.clone();
            let Container { service, index, .. } = cell.container.clone();
            events.push(Event::Health { id, service, index, health });
        }
        for event in events {
            self.emit(Wake::Tell(event));
            self.emit(Wake::Dirty);
        }
    }

    /// When something happens by itself next.
    pub(crate) fn next_change(&self) -> Option<Now> {
        let now = self.now();
        let ends = self.containers.values().filter_map(|cell| cell.end.map(|(at, _)| at));
        let verdicts = self.containers.values().filter_map(|cell| self.healthy_at(cell)).filter(|at| *at > now);
        ends.chain(verdicts).chain(self.wakes.iter().map(|(at, _)| *at)).min()
    }

    /// Sends a wake-up, unless chance has it otherwise; tells whether it will arrive.
    pub(crate) fn emit(&mut self, wake: Wake) -> bool {
        let Faults { lose, duplicate, delay, .. } = self.faults;
        if self.random.chance(lose) {
            return false;
        }
        let mut due = self.now();
        if self.random.chance(delay) {
            due = due.plus(Millis(self.random.below(DELAY_MAX)));
        }
        if self.random.chance(duplicate) {
            self.wakes.push((due, wake.clone()));
        }
        self.wakes.push((due, wake));
        self.changed.notify_waiters();
        true
    }

    /// A wake-up that is due; any of them, so that their order means nothing.
    pub(crate) fn take_wake(&mut self) -> Option<Wake> {
        let now = self.now();
        let due: Vec<usize> =
            self.wakes.iter().enumerate().filter(|(_, (at, _))| *at <= now).map(|(place, _)| place).collect();
        let place = *self.random.pick(&due)?;
        Some(self.wakes.swap_remove(place).1)
    }
}

/// What someone else does to the machine.
impl World {
    /// Kills a running container; tells which.
    pub fn kill_any(&mut self) -> Option<ContainerId> {
        let now = self.now();
        self.advance(now);
        let running: Vec<ContainerId> = self.running().map(|container| container.id.clone()).collect();
        let id = self.random.pick(&running)?.clone();
        let exit = Exit { signal: Some(9), ..Exit::default() };
        self.containers.get_mut(&id)?.end = Some((now, exit));
        self.advance(now);
        Some(id)
    }

    /// Deletes a bridge and cuts off what was on it; tells which.
    pub fn delete_any_network(&mut self) -> Option<NetworkName> {
        let names: Vec<NetworkName> = self.networks.keys().cloned().collect();
        let name = self.random.pick(&names)?.clone();
        self.networks.remove(&name);
        for cell in self.containers.values_mut() {
            if cell.container.endpoints.iter().any(|endpoint| endpoint.network == name) {
                cell.attached = false;
            }
        }
        self.notice_network();
        Some(name)
    }

    /// Deletes the rule set.
    pub fn flush_rules(&mut self) {
        self.ruleset = None;
        self.notice_network();
    }

    fn notice_network(&mut self) {
        if self.emit(Wake::Dirty) {
            self.network_seen.stale = true;
        }
    }

    /// Records of containers whose process runs.
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.values().filter(|cell| matches!(cell.state, State::Running { .. })).map(|cell| &cell.container)
    }

    /// The record of a container that exists.
    pub fn truth_of(&self, id: &ContainerId) -> Option<&Container> {
        self.containers.get(id).map(|cell| &cell.container)
    }

    /// Running containers with the process they run: what a restart would change.
    pub fn processes(&mut self) -> BTreeMap<ContainerId, u32> {
        let now = self.now();
        self.advance(now);
        let pids = self.containers.iter().filter_map(|(id, cell)| match cell.state {
            State::Running { pid, .. } => Some((id.clone(), pid)),
            State::Creating | State::Created | State::Exited { .. } | State::Removing => None,
        });
        pids.collect()
    }
}

impl Cell {
    pub(crate) fn new(container: Container) -> Self {
        let (state, hooks) = (State::Creating, Hooks::default());
        Self { container, state, end: None, attached: true, paused: false, hooks, told: Health::None }
    }
}
