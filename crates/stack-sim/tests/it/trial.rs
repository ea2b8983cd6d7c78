//! One history: a world, a journal that outlives engines, and lives of engines on both.

use std::future::pending;
use std::ops::AsyncFnOnce;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use stack_engine::{Clock, Engine, EventBus, Journal, MemoryJournal, Message};
use stack_model::{Desired, Event, History, Plan, PolicyChange, Reply, Stamped, UpOptions};
use stack_sim::{Draft, SharedWorld, SimHost, SimJournal, World};
use tokio::sync::{mpsc, oneshot};

/// Nothing takes longer than this, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Histories of each kind, where one is quick.
pub(crate) const COUNT: u64 = 150;

pub(crate) struct Trial {
    pub(crate) world: SharedWorld,
    pub(crate) kept: MemoryJournal,
    pub(crate) draft: Draft,
}

/// An engine at work, as its clients see it.
pub(crate) struct Life {
    messages: mpsc::Sender<Message>,
    pub(crate) bus: EventBus,
    kept: MemoryJournal,
    world: SharedWorld,
}

/// Runs `history` for `count` seeds, each with a time of its own.
pub(crate) fn histories(count: u64, history: impl AsyncFn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("STACK_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("STACK_SIM_FROM").unwrap_or(0);
            first..first + count * number("STACK_SIM_TIMES").unwrap_or(1)
        }
    };
    for seed in seeds {
        one(seed, async || history(seed).await);
    }
}

/// Runs one history.
pub(crate) fn one<T>(seed: u64, history: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output needs nothing");
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(history()))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        panic!("seed {seed} (STACK_SIM_SEED={seed}): {}", text.unwrap_or_default())
    })
}

impl Trial {
    pub(crate) fn new(seed: u64, draft: Draft) -> Self {
        let world = World::new(seed);
        let kept = MemoryJournal::new(draft.desired.project.clone());
        let trial = Self { world, kept, draft };
        trial.teach();
        trial
    }

    /// Tells the world of what the draft needs.
    pub(crate) fn teach(&self) {
        let mut world = self.world.borrow_mut();
        world.behaviours.extend(self.draft.behaviours.clone());
        world.registry.extend(self.draft.desired.services.values().map(|service| service.container.image.clone()));
    }

    /// Runs an engine for as long as `script` does; `None` when a crash came before its end. Either way the engine is
    /// dropped as it stands, like a process that is killed.
    pub(crate) async fn life<T>(&self, script: impl AsyncFnOnce(&Life) -> T) -> Option<T> {
        let (messages, receiver) = mpsc::channel(8);
        let bus = EventBus::new();
        let journal = Journal::load(SimJournal::new(Rc::clone(&self.world), self.kept.clone()));
        let clock = self.world.borrow().clock;
        let engine = Engine::new(SimHost::new(Rc::clone(&self.world)), clock, journal, bus.clone());
        let life = Life { messages, bus, kept: self.kept.clone(), world: Rc::clone(&self.world) };
        let run = async {
            engine.run(receiver).await;
            pending::<()>().await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = script(&life) => Some(outcome),
            () = run => None,
            () = World::death(&self.world) => None,
        };
        self.world.borrow_mut().bury();
        let spins = |event: &Event| matches!(event, Event::Failed { failure, .. } if failure.message.contains("again"));
        let mut events = life.bus.follow(0);
        if let Some(spin) = std::iter::from_fn(|| events.take()).find(|stamped| spins(&stamped.event)) {
            self.world.borrow_mut().violations.push(format!("the loop spins: {spin:?}"));
        }
        outcome
    }

    /// The world is as it should be, and nothing went wrong on the way there.
    pub(crate) fn check(&self, desired: &Desired) {
        let truth = self.world.borrow_mut().truth();
        for (name, service) in &desired.services {
            let count = truth.containers.values().filter(|it| it.container.service == *name).count();
            assert_eq!(u32::try_from(count), Ok(service.replicas), "containers of {name}");
        }
        let wanted: u32 = desired.services.values().map(|service| service.replicas).sum();
        assert_eq!(u32::try_from(truth.containers.len()), Ok(wanted), "containers that nothing wants are left");
        let networks: Vec<_> = truth.networks.keys().collect();
        assert_eq!(networks, desired.networks.keys().collect::<Vec<_>>());
        self.check_violations();
    }

    pub(crate) fn check_violations(&self) {
        let violations = self.world.borrow().violations.clone();
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// Nothing but volumes and images is left.
    pub(crate) fn check_empty(&self) {
        let truth = self.world.borrow_mut().truth();
        assert!(truth.containers.is_empty(), "{:?}", truth.containers.keys());
        assert!(truth.networks.is_empty(), "{:?}", truth.networks.keys());
        assert_eq!(truth.ruleset, None);
        assert!(truth.names.is_none_or(|names| names.views.is_empty()));
        self.check_violations();
    }
}

impl Life {
    async fn ask(&self, message: impl FnOnce(oneshot::Sender<Reply>) -> Message) -> Reply {
        let (reply, answered) = oneshot::channel();
        self.messages.send(message(reply)).await.expect("the engine runs");
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer").expect("an answer")
    }

    pub(crate) async fn up_with(&self, desired: &Desired, options: UpOptions) -> Reply {
        let (desired, reason) = (desired.clone(), "up".to_owned());
        self.ask(|reply| Message::Input {
            desired,
            reason,
            warnings: Vec::new(),
            options: Some(options),
            reply: Some(reply),
        })
        .await
    }

    /// Asks for all of it, and tells the generation.
    pub(crate) async fn up(&self, desired: &Desired) -> u64 {
        accepted(self.up_with(desired, UpOptions::default()).await)
    }

    pub(crate) async fn save(&self, desired: &Desired) {
        let (desired, reason) = (desired.clone(), "compose.yaml saved".to_owned());
        let message = Message::Input { desired, reason, warnings: Vec::new(), options: None, reply: None };
        self.messages.send(message).await.expect("the engine runs");
    }

    pub(crate) async fn send(&self, message: Message) {
        self.messages.send(message).await.expect("the engine runs");
    }

    pub(crate) async fn change(&self, change: PolicyChange) -> Reply {
        self.ask(|reply| Message::Change(change, reply)).await
    }

    pub(crate) async fn plan(&self, desired: &Desired) -> Plan {
        self.plan_of(desired, Some(UpOptions::default())).await
    }

    pub(crate) async fn plan_of(&self, desired: &Desired, options: Option<UpOptions>) -> Plan {
        let desired = desired.clone();
        match self.ask(|reply| Message::Plan { desired, options, reply }).await {
            Reply::Plan(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for an event, and gives all up to it.
    pub(crate) async fn until(&self, what: &str, is_it: impl Fn(&Event) -> bool) -> Vec<Stamped> {
        let (mut events, mut seen) = (self.bus.follow(0), Vec::new());
        let waiting = async {
            while let Some(stamped) = events.next().await {
                let found = is_it(&stamped.event);
                seen.push(stamped);
                if found {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await.unwrap_or(false);
        assert!(found, "never {what}:\n{}", self.story());
        seen
    }

    pub(crate) async fn converged(&self, generation: u64) {
        self.until("converged", |event| matches!(event, Event::Converged { generation: at } if *at >= generation))
            .await;
    }

    pub(crate) async fn down(&self, volumes: bool) {
        let reply = self.change(PolicyChange::Down { volumes, timeout: None }).await;
        accepted(reply);
        self.until("down", |event| *event == Event::Down).await;
    }

    /// What is wanted now.
    pub(crate) fn wanted(&self) -> Desired {
        let journal = Journal::load(self.kept.clone());
        let base = journal.desired().expect("the project is up");
        journal.policy().apply(base, journal.generation())
    }

    /// Waits until nothing is left to do, and stays so without the engine's memory.
    pub(crate) async fn settled(&self) -> Desired {
        let mut plan = Plan::default();
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let desired = self.wanted();
            let truth = self.world.borrow_mut().truth();
            let now = self.world.borrow().clock.now();
            plan = stack_plan::plan(&desired, &truth, &History::default(), now);
            if plan.is_converged() {
                return desired;
            }
        }
        panic!("does not settle:\n{plan}\n{}", self.story());
    }

    /// Steps that were begun, as `key action`.
    pub(crate) fn steps(&self, after: u64) -> Vec<String> {
        let mut events = self.bus.follow(after);
        let all = std::iter::from_fn(|| events.take());
        let steps = all.filter_map(|stamped| match stamped.event {
            Event::Started(op) => Some(format!("{} {}", op.key, op.action)),
            _ => None,
        });
        steps.collect()
    }

    /// Everything that was said, for a failed test.
    pub(crate) fn story(&self) -> String {
        let mut events = self.bus.follow(0);
        let all: Vec<Stamped> = std::iter::from_fn(|| events.take()).collect();
        let first = all.first().map_or(0, |stamped| stamped.at.0);
        let skip = all.len().saturating_sub(2000);
        let lines = all.iter().skip(skip).map(|Stamped { at, event, .. }| match event {
            Event::Planned { plan, generation } => format!("{} planned {generation}:\n{plan}", at.0 - first),
            Event::Started(op) => format!("{} started {} {} ({})", at.0 - first, op.key, op.action, op.cause),
            Event::Finished { op, .. } => format!("{} finished {} {}", at.0 - first, op.key, op.action),
            Event::Failed { op, failure, .. } => format!("{} failed {} {}: {failure}", at.0 - first, op.key, op.action),
            other => format!("{} {other:?}", at.0 - first),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn accepted(reply: Reply) -> u64 {
    match reply {
        Reply::Accepted { generation, .. } => generation,
        other => panic!("{other:?}"),
    }
}
