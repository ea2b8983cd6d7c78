//! The loop: look, plan, execute, look again.
//!
//! One task owns everything here; others send [`Message`]s. Wake-ups carry no authority: whatever wakes the loop, it
//! looks and plans anew, and steps of what is already under way are left out of the new plan.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use stack_model::{
    Action, Desired, Diagnostic, Event, Failure, Fault, Key, Millis, Now, Observed, Op, OpReport, Plan, PolicyChange,
    ProjectName, Reply, UpOptions,
};
use tokio::sync::{mpsc, oneshot};

use crate::dag::Dag;
use crate::journal::JournalStore;
use crate::{Changed, Clock, EventBus, Host, Journal, Policy, Wake};

/// Steps under way at the same time. They spend their time in the kernel, so more would only wait for each other.
const IN_FLIGHT_MAX: usize = 32;
/// Even without a wake-up, everything is looked at this often.
const RESYNC: Millis = Millis(30_000);

/// What others ask of the engine.
#[derive(Debug)]
pub enum Message {
    /// The input was read.
    Input {
        /// The file's meaning, before the policy.
        desired: Desired,
        /// Why it was read: `up`, `compose.yaml saved`.
        reason: String,
        /// Warnings of the loader.
        warnings: Vec<Diagnostic>,
        /// The options of an `up`; `None` for a save.
        options: Option<UpOptions>,
        /// Where to answer.
        reply: Option<oneshot::Sender<Reply>>,
    },
    /// The input could not be read.
    Rejected {
        /// Why it was read.
        reason: String,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// What is wanted changes without the input.
    Change(PolicyChange, oneshot::Sender<Reply>),
    /// What is there?
    Status(oneshot::Sender<Reply>),
    /// What would be done?
    Plan {
        /// The file's meaning, before the policy.
        desired: Desired,
        /// The options of an `up`.
        options: UpOptions,
        /// Where to answer.
        reply: oneshot::Sender<Reply>,
    },
    /// End, and leave everything as it is.
    Quit,
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing of the project is left.
    Down,
    /// It was told to, and everything is as it was.
    Quit,
}

/// A step that has ended.
struct Done {
    number: usize,
    /// The plan that the step belongs to.
    round: u64,
    op: Op,
    micros: u64,
    result: Result<Changed, Failure>,
}

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = Done>>>>;

/// The engine of one project.
#[derive(Debug)]
pub struct Engine<H, C, S> {
    host: H,
    clock: C,
    journal: Journal<S>,
    bus: EventBus,
    in_flight: InFlight,
    busy: BTreeMap<Key, Op>,
    dag: Dag,
    round: u64,
    observed: Observed,
    plan: Plan,
    desired: Desired,
    /// Something changed: look and plan before anything else.
    stale: bool,
    /// Look at everything.
    fresh: bool,
    next_resync: Now,
    /// The generation that was last called converged, until something has to be done again.
    converged: Option<u64>,
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Done").field("op", &self.op).field("result", &self.result).finish_non_exhaustive()
    }
}

impl<H: Host, C: Clock, S: JournalStore> Engine<H, C, S> {
    /// An engine that goes on from the journal. Until an input was accepted, now or before, it touches nothing.
    pub fn new(host: H, clock: C, journal: Journal<S>, bus: EventBus) -> Self {
        let generation = journal.record.generation;
        let empty = empty(ProjectName::new(""), String::new());
        let desired = journal.desired().map_or(empty, |base| journal.record.policy.apply(base, generation));
        let next_resync = clock.now().plus(RESYNC);
        Self {
            host,
            clock,
            journal,
            bus,
            in_flight: FuturesUnordered::new(),
            busy: BTreeMap::new(),
            dag: Dag::default(),
            round: 0,
            observed: Observed::default(),
            plan: Plan::default(),
            desired,
            stale: true,
            fresh: true,
            next_resync,
            converged: None,
        }
    }

    /// Runs until the project is down or [`Message::Quit`] comes.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Ended {
        let ended = loop {
            if self.stale {
                self.look_and_plan().await;
                if self.is_down() {
                    self.tell(Event::Down);
                    break Ended::Down;
                }
            }
            self.begin_steps();
            let deadline = self.plan.next_time().map_or(self.next_resync, |at| at.min(self.next_resync));
            tokio::select! {
                biased;
                Some(done) = self.in_flight.next() => self.note(done),
                message = messages.recv() => match message {
                    None | Some(Message::Quit) => break Ended::Quit,
                    Some(message) => self.take(message).await,
                },
                wake = self.host.wait() => self.wake(wake),
                () = self.clock.sleep_until(deadline) => {
                    self.fresh |= self.clock.now() >= self.next_resync;
                    self.stale = true;
                }
            }
            self.take_what_is_ready();
        };
        // Steps under way end with the runtime's worker threads; half-done ones are observed by whoever comes next.
        self.save(false);
        self.bus.close();
        ended
    }

    /// Takes everything that has happened by now, so that one plan serves all of it.
    fn take_what_is_ready(&mut self) {
        while let Some(Some(done)) = self.in_flight.next().now_or_never() {
            self.note(done);
        }
        while let Some(wake) = self.host.wait().now_or_never() {
            self.wake(wake);
        }
    }

    async fn look_and_plan(&mut self) {
        self.stale = false;
        let fresh = std::mem::take(&mut self.fresh);
        if fresh {
            self.next_resync = self.clock.now().plus(RESYNC);
        }
        self.observed = self.host.observe(&self.desired, fresh).await;
        if self.desired.project.as_str().is_empty() {
            // Nothing was ever asked for: what there is may belong to someone whose journal was lost.
            return;
        }
        let now = self.clock.now();
        let plan = stack_plan::plan(&self.desired, &self.observed, &self.journal.record.history, now);
        let is_news = plan != self.plan && !plan.is_converged();
        if is_news {
            let generation = self.desired.generation;
            self.tell(Event::Planned { generation, plan: plan.clone() });
            self.journal.change().in_flight = plan.ops.iter().map(|op| format!("{} {}", op.key, op.action)).collect();
            self.save(false);
        }
        self.round += 1;
        self.dag = Dag::new(plan.ops.clone(), |key| self.busy.contains_key(key));
        let is_converged = plan.is_converged() && self.busy.is_empty();
        self.plan = plan;
        if !is_converged {
            self.converged = None;
        } else if self.converged != Some(self.desired.generation) {
            self.converged = Some(self.desired.generation);
            self.journal.change().in_flight.clear();
            self.save(false);
            self.tell(Event::Converged { generation: self.desired.generation });
        }
    }

    fn begin_steps(&mut self) {
        while self.in_flight.len() < IN_FLIGHT_MAX {
            let Some((number, op)) = self.dag.begin(|key| self.busy.contains_key(key)) else { return };
            self.tell(Event::Started(report(&op)));
            let applying = std::panic::AssertUnwindSafe(self.host.apply(&op)).catch_unwind();
            self.busy.insert(op.key.clone(), op.clone());
            let (round, begun) = (self.round, Instant::now());
            self.in_flight.push(Box::pin(async move {
                let result = applying.await.unwrap_or_else(|_| {
                    Err(Failure::new(Fault::Bug, "the operation panicked")
                        .hint("this is a mistake in stack; please report it"))
                });
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                Done { number, round, op, micros, result }
            }));
        }
    }

    /// Notes the end of a step. The next plan is due when this one has nothing left to begin.
    fn note(&mut self, done: Done) {
        let Done { number, round, op, micros, result } = done;
        self.busy.remove(&op.key);
        self.journal.count(kind(&op.action), micros);
        let now = self.clock.now();
        match result {
            Ok(_) => {
                stack_plan::note_success(&mut self.journal.change().history, &op, &self.observed, now);
                if round == self.round {
                    self.dag.finish(number);
                }
                self.tell(Event::Finished { op: report(&op), micros });
            }
            Err(failure) => {
                let generation = self.desired.generation;
                let history = &mut self.journal.change().history;
                let retry = stack_plan::note_failure(history, &op, failure.clone(), generation, now);
                self.tell(Event::Failed { op: report(&op), failure, retry: Some(retry) });
                self.stale = true;
            }
        }
        let exhausted = self.dag.is_idle() && (self.busy.is_empty() || self.dag.held_back);
        self.stale |= exhausted || round != self.round;
    }

    fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Dirty => self.stale = true,
            Wake::Resync => {
                self.stale = true;
                self.fresh = true;
            }
            Wake::Tell(event) => self.tell(event),
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Input { desired, reason, warnings, options, reply } => {
                let answer = self.accept(desired, reason, warnings, options);
                if let Some(reply) = reply {
                    answer_to(reply, answer);
                }
            }
            Message::Rejected { reason, diagnostics } => self.tell(Event::Rejected { reason, diagnostics }),
            Message::Change(change, reply) => {
                let answer = self.change(&change);
                answer_to(reply, answer);
            }
            Message::Status(reply) => {
                let observed = self.host.observe(&self.desired, false).await;
                answer_to(reply, Reply::Status(Box::new(observed)));
            }
            Message::Plan { desired, options, reply } => {
                let answer = self.preview(&desired, &options).await;
                answer_to(reply, answer);
            }
            // The loop has taken this one.
            Message::Quit => {}
        }
    }

    fn accept(
        &mut self,
        base: Desired,
        reason: String,
        warnings: Vec<Diagnostic>,
        options: Option<UpOptions>,
    ) -> Reply {
        if options.is_none() && (self.journal.desired() == Some(&base) || self.journal.record.policy.is_down()) {
            // A save that means the same, or one while everything goes away.
            return Reply::Accepted { generation: self.desired.generation, sequence: self.bus.sequence() };
        }
        let mut policy = self.journal.record.policy.clone();
        if let Some(options) = &options
            && let Err(failure) = policy.up(options, &base)
        {
            return Reply::Refused(failure);
        }
        let sequence = self.bus.sequence();
        self.journal.change().base = Some(base);
        self.intend(policy);
        self.tell(Event::Accepted { generation: self.desired.generation, reason, warnings });
        Reply::Accepted { generation: self.desired.generation, sequence }
    }

    fn change(&mut self, change: &PolicyChange) -> Reply {
        let mut policy = self.journal.record.policy.clone();
        let Some(base) = self.journal.desired() else {
            return Reply::Refused(Failure::new(Fault::Missing, "the project is not up").hint("run `stack up` first"));
        };
        if let Err(failure) = policy.change(change, base) {
            return Reply::Refused(failure);
        }
        let sequence = self.bus.sequence();
        self.intend(policy);
        Reply::Accepted { generation: self.desired.generation, sequence }
    }

    /// Makes new orders the ones to follow, in writing first.
    fn intend(&mut self, policy: Policy) {
        let record = self.journal.change();
        record.generation += 1;
        record.policy = policy;
        self.save(true);
        let record = &self.journal.record;
        if let Some(base) = &record.base {
            self.desired = record.policy.apply(base, record.generation);
        }
        self.converged = None;
        self.stale = true;
    }

    /// What an `up` would do, without doing it.
    async fn preview(&mut self, base: &Desired, options: &UpOptions) -> Reply {
        let mut policy = self.journal.record.policy.clone();
        if let Err(failure) = policy.up(options, base) {
            return Reply::Refused(failure);
        }
        let desired = policy.apply(base, self.journal.record.generation + 1);
        let observed = self.host.observe(&desired, true).await;
        Reply::Plan(stack_plan::plan(&desired, &observed, &self.journal.record.history, self.clock.now()))
    }

    /// Nothing is wanted and nothing is left.
    fn is_down(&self) -> bool {
        let Observed { images: _, networks, volumes: _, containers, ruleset, names: _, host: _ } = &self.observed;
        let gone = networks.is_empty() && containers.is_empty() && ruleset.is_none();
        self.journal.record.policy.is_down() && gone && self.busy.is_empty() && self.plan.ops.is_empty()
    }

    fn save(&mut self, intent: bool) {
        if let Err(error) = self.journal.save(intent) {
            self.tell(Event::Warning { text: format!("cannot write the journal: {error}") });
        }
    }

    fn tell(&self, event: Event) {
        self.bus.tell(self.clock.now(), event);
    }
}

fn answer_to(reply: oneshot::Sender<Reply>, answer: Reply) {
    // A client that went away does not want the answer.
    drop(reply.send(answer));
}

fn empty(project: ProjectName, instance: String) -> Desired {
    Desired {
        project,
        instance,
        generation: 0,
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        services: BTreeMap::new(),
        discard_volumes: Vec::new(),
        stop_grace: None,
    }
}

/// A step as events name it.
fn report(op: &Op) -> OpReport {
    let container = match &op.action {
        Action::CreateContainer(container) | Action::UpdateRecord(container) => Some(container.id.clone()),
        Action::StartContainer { id }
        | Action::StopContainer { id, .. }
        | Action::KillContainer { id }
        | Action::RemoveContainer { id }
        | Action::WriteLimits { id, .. }
        | Action::AttachContainer { id } => Some(id.clone()),
        Action::PullImage { .. }
        | Action::EnsureNetwork(_)
        | Action::RemoveNetwork { .. }
        | Action::EnsureVolume(_)
        | Action::RemoveVolume { .. }
        | Action::ApplyRuleset(_)
        | Action::PublishNames(_) => None,
    };
    OpReport {
        key: op.key.clone(),
        action: op.action.to_string(),
        effect: op.effect,
        cause: op.cause.to_string(),
        container,
    }
}

/// The name under which a step's duration is counted.
fn kind(action: &Action) -> &'static str {
    match action {
        Action::PullImage { .. } => "pull-image",
        Action::EnsureNetwork(_) => "ensure-network",
        Action::RemoveNetwork { .. } => "remove-network",
        Action::EnsureVolume(_) => "ensure-volume",
        Action::RemoveVolume { .. } => "remove-volume",
        Action::CreateContainer(_) => "create-container",
        Action::StartContainer { .. } => "start-container",
        Action::StopContainer { .. } => "stop-container",
        Action::KillContainer { .. } => "kill-container",
        Action::RemoveContainer { .. } => "remove-container",
        Action::WriteLimits { .. } => "write-limits",
        Action::UpdateRecord(_) => "update-record",
        Action::AttachContainer { .. } => "attach-container",
        Action::ApplyRuleset(_) => "apply-ruleset",
        Action::PublishNames(_) => "publish-names",
    }
}
