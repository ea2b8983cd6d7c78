//! A machine in memory: carries out plans as the real host does, without its failures unless a test asks for them.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{
    Action, ContainerId, Desired, DiffId, Exit, Health, History, HookState, Hooks, ImageConfig, ImageFacts, ImageId,
    ImageReference, Key, Names, NetworkName, Now, Observed, ObservedContainer, Op, Plan, Ruleset, ServiceName, Stage,
    State, Stopping, VolumeName, short_hex,
};
use stack_plan::{lint, note_success, plan};

/// Rounds in which any state must settle.
pub(crate) const ROUNDS_MAX: usize = 200;

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) observed: Observed,
    pub(crate) history: History,
    pub(crate) now: Now,
    /// What can be pulled.
    pub(crate) registry: BTreeMap<ImageReference, ImageFacts>,
    /// Services whose processes do not hear the stop signal.
    pub(crate) deaf: BTreeSet<ServiceName>,
    /// Services whose processes end by themselves at once, and how.
    pub(crate) jobs: BTreeMap<ServiceName, i32>,
    /// Hooks that fail.
    pub(crate) bad_hooks: BTreeSet<Stage>,
}

/// An image configuration that starts `/app`.
pub(crate) fn facts(image: &str) -> ImageFacts {
    ImageFacts {
        id: ImageId::new(format!("sha256:{}", short_hex(&[image], 16))),
        layers: vec![DiffId::new("sha256:layer")],
        config: ImageConfig { entrypoint: vec!["/app".to_owned()], ..ImageConfig::default() },
    }
}

impl World {
    /// A machine without anything; `app:1` and `app:2` are in the store.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            observed: Observed::default(),
            history: History::default(),
            now: Now(1_000_000),
            registry: BTreeMap::new(),
            deaf: BTreeSet::new(),
            jobs: BTreeMap::new(),
            bad_hooks: BTreeSet::new(),
        };
        for image in ["app:1", "app:2"] {
            world.observed.images.insert(ImageReference::new(image), facts(image));
        }
        world
    }

    /// A machine on which a project has settled.
    pub(crate) fn with(desired: &Desired) -> Self {
        let mut world = Self::new();
        world.settle(desired);
        world
    }

    pub(crate) fn plan(&self, desired: &Desired) -> Plan {
        let plan = plan(desired, &self.observed, &self.history, self.now);
        assert_eq!(lint::lint(&plan, &self.observed), Vec::<String>::new(), "\n{plan}");
        plan
    }

    /// Plans and does it once.
    pub(crate) fn step(&mut self, desired: &Desired) -> Plan {
        let plan = self.plan(desired);
        for op in &plan.ops {
            self.apply(op);
        }
        plan
    }

    /// Plans and does until nothing is left to do but to wait for what does not come by itself.
    pub(crate) fn settle(&mut self, desired: &Desired) -> Plan {
        for _ in 0..ROUNDS_MAX {
            let plan = self.step(desired);
            self.heal();
            if !plan.ops.is_empty() {
                continue;
            }
            match plan.next_time() {
                Some(at) => self.now = at.max(Now(self.now.0 + 1)),
                None => return plan,
            }
        }
        panic!("does not settle:\n{}", self.plan(desired));
    }

    /// Whatever has a health check and runs is healthy.
    pub(crate) fn heal(&mut self) {
        for container in self.observed.containers.values_mut() {
            let probed = container.is_running() && container.container.healthcheck.is_some();
            container.health = if probed { Health::Healthy } else { Health::None };
        }
    }

    pub(crate) fn container(&mut self, service: &str, index: u32) -> &mut ObservedContainer {
        let mut all = self.observed.containers.values_mut();
        all.find(|it| it.container.service.as_str() == service && it.container.index == index).unwrap()
    }

    pub(crate) fn id(&mut self, service: &str, index: u32) -> ContainerId {
        self.container(service, index).container.id.clone()
    }

    /// A process ends after it has run for `ran` milliseconds.
    pub(crate) fn exit_after(&mut self, service: &str, ran: u64, exit: Exit) {
        let now = self.now;
        let container = self.container(service, 1);
        container.state = State::Exited { exit, started: Now(now.0 - ran), finished: now };
    }

    pub(crate) fn exit(&mut self, service: &str, code: i32) {
        self.exit_after(service, 500, Exit { code: Some(code), ..Exit::default() });
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let before = self.observed.clone();
        self.change(&op.action, &op.key);
        note_success(&mut self.history, op, &before, self.now);
    }

    fn change(&mut self, action: &Action, key: &Key) {
        let now = self.now;
        match action {
            Action::PullImage { image } => {
                let facts = self.registry[image].clone();
                self.observed.images.insert(image.clone(), facts);
            }
            Action::EnsureNetwork(plan) => {
                self.observed.networks.insert(plan.network.clone(), plan.done());
            }
            Action::RemoveNetwork { .. } => self.remove_network(key),
            Action::EnsureVolume(plan) => drop(self.observed.volumes.insert(plan.name.clone())),
            Action::RemoveVolume { name } => self.remove_volume(name),
            Action::CreateContainer(container) => {
                let (container, health, hooks) = ((**container).clone(), Health::None, Hooks::default());
                let made = ObservedContainer {
                    container,
                    state: State::Created,
                    health,
                    attached: true,
                    paused: false,
                    hooks,
                };
                assert!(self.observed.containers.insert(made.container.id.clone(), made).is_none());
            }
            Action::StartContainer { id } => self.start(id),
            Action::StopContainer { id, grace, .. } => {
                let deaf = self.deaf.contains(&self.observed.containers[id].container.service);
                let stopping = Stopping { since: now, deadline: now.plus(*grace), killed: false };
                let exit = Exit { code: Some(0), requested: true, ..Exit::default() };
                self.end(id, if deaf { None } else { Some(exit) }, stopping);
            }
            Action::KillContainer { id } => {
                let stopping = Stopping { since: now, deadline: now, killed: true };
                self.end(id, Some(Exit { signal: Some(9), requested: true, ..Exit::default() }), stopping);
            }
            Action::RunHooks { id, stage, generation } => {
                let done = match self.bad_hooks.contains(stage) {
                    true => HookState::Failed { generation: *generation, text: "it has failed".to_owned() },
                    false => HookState::Done { generation: *generation },
                };
                *self.observed.containers.get_mut(id).unwrap().hooks.of_mut(*stage) = done;
            }
            Action::PauseContainer { id } => self.observed.containers.get_mut(id).unwrap().paused = true,
            Action::UnpauseContainer { id } => self.observed.containers.get_mut(id).unwrap().paused = false,
            Action::RemoveContainer { id } => drop(self.observed.containers.remove(id).unwrap()),
            Action::WriteLimits { id, limits } => {
                self.observed.containers.get_mut(id).unwrap().container.spec.limits = (**limits).clone();
            }
            Action::UpdateRecord(container) => {
                self.observed.containers.get_mut(&container.id).unwrap().container = (**container).clone();
            }
            Action::AttachContainer { id } => self.observed.containers.get_mut(id).unwrap().attached = true,
            Action::ApplyRuleset(ruleset) => self.apply_ruleset(ruleset),
            Action::PublishNames(names) => self.publish(names),
        }
    }

    fn remove_network(&mut self, key: &Key) {
        let Key::Network(name) = key else { panic!("{key} is not a network") };
        let name: &NetworkName = name;
        let used =
            self.observed.containers.values().any(|it| it.container.endpoints.iter().any(|e| e.network == *name));
        assert!(!used, "{name} is removed under a container");
        self.observed.networks.remove(name);
    }

    fn remove_volume(&mut self, name: &VolumeName) {
        let running = self.observed.containers.values().filter(|it| it.is_running());
        for container in running {
            let text = format!("{:?}", container.container.mounts);
            assert!(!text.contains(name.as_str()), "{name} is deleted under a process");
        }
        self.observed.volumes.remove(name);
    }

    fn start(&mut self, id: &ContainerId) {
        let now = self.now;
        let container = &self.observed.containers[id].container;
        for endpoint in &container.endpoints {
            let network = &self.observed.networks[&endpoint.network];
            assert_eq!(network.gateway.unwrap().trunc(), endpoint.address.trunc(), "{} starts off its network", id);
        }
        let (service, index) = (container.service.clone(), container.index);
        for other in self.observed.containers.values().filter(|other| other.is_running()) {
            let same = other.container.service == service && other.container.index == index;
            assert!(!same, "two containers of {service}/{index} run at once");
            for (a, b) in other.container.endpoints.iter().flat_map(|a| container.endpoints.iter().map(move |b| (a, b)))
            {
                assert!(a.network != b.network || a.address != b.address, "{} is on the network twice", a.address);
            }
        }
        let state = match self.jobs.get(&service) {
            Some(code) => {
                let exit = Exit { code: Some(*code), ..Exit::default() };
                State::Exited { exit, started: now, finished: now }
            }
            None => State::Running { pid: 100, started: now, stopping: None },
        };
        let container = self.observed.containers.get_mut(id).unwrap();
        (container.state, container.attached) = (state, true);
        container.hooks = Hooks::default();
    }

    fn end(&mut self, id: &ContainerId, exit: Option<Exit>, asked: Stopping) {
        let now = self.now;
        let container = self.observed.containers.get_mut(id).unwrap();
        let State::Running { pid, started, stopping } = container.state else { panic!("{id} does not run") };
        container.state = match exit {
            Some(exit) => State::Exited { exit, started, finished: now },
            None => State::Running { pid, started, stopping: Some(stopping.unwrap_or(asked)) },
        };
        container.health = Health::None;
    }

    fn apply_ruleset(&mut self, ruleset: &Ruleset) {
        self.observed.ruleset = if ruleset.is_empty() { None } else { Some(ruleset.clone()) };
    }

    fn publish(&mut self, names: &Names) {
        self.observed.names = if names.views.is_empty() { None } else { Some(names.clone()) };
    }
}
