//! Starting: dependencies first, each behind its gate, and what has ended again when its policy says so.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{
    Action, Cause, Condition, Container, Dependency, Effect, Exit, Failure, Fault, Health, Key, NetworkName,
    ObservedContainer, Power, Service, ServiceName, Stage, State, Until,
};

use crate::allot::Slot;
use crate::arrive::Arrivals;
use crate::draft::{Draft, Frame, Handle, Reason};
use crate::graph::Dependencies;
use crate::hooks::{AFTER_START, Due, due};
use crate::leave::Departures;
use crate::network::{Segment, Standing};
use crate::restart::{AfterExit, after_exit};
use crate::survey::{Replica, Survey, Verdict, replicas_of};

pub(crate) struct Start<'d, 'a> {
    pub(crate) draft: &'d mut Draft<'a>,
    pub(crate) frame: Frame<'a>,
    pub(crate) survey: &'d Survey<'a>,
    pub(crate) segments: &'d BTreeMap<&'a NetworkName, Segment<'a>>,
    pub(crate) graph: &'d Dependencies<'a>,
    pub(crate) departures: &'d Departures<'a>,
    pub(crate) arrivals: &'d Arrivals<'a>,
    progress: BTreeMap<Slot<'a>, Progress>,
    /// For a service that starts behind its gate: what it comes after, however far.
    reach: BTreeMap<&'a ServiceName, BTreeSet<&'a ServiceName>>,
    expected: BTreeSet<Slot<'a>>,
}

/// How far a replica has come when all steps of the plan are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Starting(Handle),
    Running,
    /// It has ended and stays so.
    Ended(Exit),
    Pending,
}

/// What to do about a replica that does not run.
enum Intent<'a> {
    Start {
        container: &'a Container,
        reason: Reason,
        gated: bool,
        need: Option<Handle>,
    },
    Wait(Effect, Until),
    /// It is expected to run later, and other lines of the plan say what is waited for.
    Later,
    Stay(Progress),
}

/// What a start waits for.
enum Gate {
    Open(Vec<Handle>),
    Closed(Until),
}

impl<'d, 'a> Start<'d, 'a> {
    pub(crate) fn new(
        draft: &'d mut Draft<'a>,
        frame: Frame<'a>,
        (survey, segments): (&'d Survey<'a>, &'d BTreeMap<&'a NetworkName, Segment<'a>>),
        graph: &'d Dependencies<'a>,
        (departures, arrivals): (&'d Departures<'a>, &'d Arrivals<'a>),
    ) -> Self {
        let (progress, reach, expected) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { draft, frame, survey, segments, graph, departures, arrivals, progress, reach, expected }
    }

    /// Starts what is to be started; returns the replicas that are there to be reached: running, or about to.
    pub(crate) fn start(mut self) -> BTreeSet<Slot<'a>> {
        for &name in self.graph.order() {
            self.service(name);
        }
        self.expected
    }

    fn service(&mut self, name: &'a ServiceName) {
        let mut gate = None;
        let mut all_gated = true;
        for replica in replicas_of(self.survey, name) {
            let intent = self.intent(replica);
            let progress = match intent {
                Intent::Stay(progress) => progress,
                Intent::Later => {
                    self.expected.insert(replica.slot);
                    Progress::Pending
                }
                Intent::Wait(effect, until) => {
                    self.expected.insert(replica.slot);
                    self.draft.block(replica.key(), "start", effect, until);
                    Progress::Pending
                }
                Intent::Start { container, reason, gated, need } => {
                    self.expected.insert(replica.slot);
                    all_gated &= gated;
                    let gate = gated.then(|| &*gate.get_or_insert_with(|| self.gate(name, replica.service)));
                    self.push(replica, container, reason, need.into_iter(), gate)
                }
            };
            if progress == Progress::Running {
                self.expected.insert(replica.slot);
            }
            let progress = self.after_hooks(replica, progress);
            self.progress.insert(replica.slot, progress);
        }
        if gate.is_none() || !all_gated {
            self.reach.remove(name);
        }
    }

    /// Runs what is to run after a start. Until that has ended, nothing that waits for the container goes on.
    fn after_hooks(&mut self, replica: &Replica<'a>, progress: Progress) -> Progress {
        let has_hooks = replica.service.one_off.is_none() && !replica.service.container.post_start.is_empty();
        match (progress, replica.current) {
            (Progress::Starting(_), _) if has_hooks => {
                self.draft.block(replica.key(), "post_start", AFTER_START, Until::Done(replica.key()));
                Progress::Pending
            }
            (Progress::Running, Some(current)) => match due(self.frame, current, Stage::PostStart) {
                Due::Nothing => progress,
                Due::Wait(until) => {
                    self.draft.block(replica.key(), "post_start", AFTER_START, until);
                    Progress::Pending
                }
                Due::Begin(action) => {
                    let reason = Reason::new(AFTER_START, Cause::Missing);
                    let need = self.arrivals.updated.get(&replica.slot).copied();
                    self.draft.push(replica.key(), action, reason, need);
                    let until = Until::Hooks(current.container.id.clone(), Stage::PostStart);
                    self.draft.block(replica.key(), "post_start", AFTER_START, until);
                    Progress::Pending
                }
            },
            (Progress::Starting(_) | Progress::Running | Progress::Ended(_) | Progress::Pending, _) => progress,
        }
    }

    fn push(
        &mut self,
        replica: &Replica<'a>,
        container: &Container,
        reason: Reason,
        needs: impl Iterator<Item = Handle>,
        gate: Option<&Gate>,
    ) -> Progress {
        let mut needs: BTreeSet<Handle> = needs.collect();
        match gate {
            Some(Gate::Closed(until)) => {
                self.draft.block(replica.key(), "start", reason.effect, until.clone());
                return Progress::Pending;
            }
            Some(Gate::Open(before)) => needs.extend(before),
            None => {}
        }
        for endpoint in &container.endpoints {
            match self.arrivals.networks.get(&endpoint.network) {
                Some(handle) => needs.extend(handle),
                None => {
                    let until = Until::Done(Key::Network(endpoint.network.clone()));
                    self.draft.block(replica.key(), "start", reason.effect, until);
                    return Progress::Pending;
                }
            }
        }
        let action = Action::StartContainer { id: container.id.clone() };
        self.draft.push(replica.key(), action, reason, needs).map_or(Progress::Pending, Progress::Starting)
    }

    fn intent(&mut self, replica: &Replica<'a>) -> Intent<'d>
    where
        'a: 'd,
    {
        let arrivals: &'d Arrivals<'a> = self.arrivals;
        let survey: &'d Survey<'a> = self.survey;
        if let Some(created) = arrivals.created.get(&replica.slot)
            && replica.service.power != Power::Created
            && let Some(Ok(fresh)) = survey.replicas.get(&replica.slot).and_then(|replica| replica.fresh.as_ref())
        {
            let reason = match &replica.verdict {
                Verdict::Replace(cause) => Reason::new(Effect::Replace, cause.clone()),
                Verdict::Create | Verdict::Keep | Verdict::Restart(_) | Verdict::Off => {
                    Reason::new(Effect::New, Cause::Missing)
                }
            };
            return Intent::Start { container: &fresh.container, reason, gated: true, need: Some(*created) };
        }
        let Some(current) = replica.current else { return Intent::Stay(Progress::Pending) };
        if replica.service.power == Power::Off
            || matches!(replica.verdict, Verdict::Off)
            || replica.is_leaving_for_good()
        {
            return Intent::Stay(Progress::Pending);
        }
        let power = replica.service.power;
        let duplicate = replica.surplus.iter().find(|other| other.is_running());
        match &current.state {
            State::Running { .. } if replica.is_leaving() => Intent::Stay(Progress::Pending),
            State::Running { .. } => Intent::Stay(Progress::Running),
            State::Exited { exit, .. } if power != Power::On || replica.is_left_alone() => {
                Intent::Stay(Progress::Ended(*exit))
            }
            State::Created if matches!(power, Power::Paused | Power::Created) => Intent::Stay(Progress::Pending),
            State::Created | State::Exited { .. } if duplicate.is_some() => {
                let id = duplicate.map_or_else(|| current.container.id.clone(), |other| other.container.id.clone());
                Intent::Wait(Effect::Restart, Until::Exited(id))
            }
            State::Created => {
                let reason = Reason::new(Effect::New, Cause::Missing);
                self.with_record(replica, current, reason, true)
            }
            State::Exited { .. } => self.revive(replica, current),
            State::Creating | State::Removing => Intent::Later,
        }
    }

    fn revive(&mut self, replica: &Replica<'a>, current: &'a ObservedContainer) -> Intent<'d>
    where
        'a: 'd,
    {
        if let Verdict::Restart(cause) = &replica.verdict {
            if let Some(hindrance) = self.departures.hindrance(self.graph, replica.slot.0) {
                return Intent::Wait(Effect::Restart, Until::Exited(hindrance.clone()));
            }
            return self.with_record(replica, current, Reason::new(Effect::Restart, cause.clone()), true);
        }
        let key = (replica.slot.0.clone(), replica.slot.1);
        let restarts = self.frame.history.restarts.get(&key);
        match after_exit(replica.service, current, restarts, self.frame.now) {
            AfterExit::Stay(warning) => {
                if let Some(text) = warning {
                    self.draft.warn(text);
                }
                let State::Exited { exit, .. } = current.state else { return Intent::Stay(Progress::Pending) };
                Intent::Stay(Progress::Ended(exit))
            }
            AfterExit::Start(cause) => {
                // What comes back by itself does not ask again whether its dependencies are well.
                let gated = matches!(cause, Cause::Requested(_));
                self.with_record(replica, current, Reason::new(Effect::Restart, cause), gated)
            }
            AfterExit::Wait(at, text) => Intent::Wait(Effect::Restart, Until::Time(at, text)),
        }
    }

    /// A start of a container that is there, after its record is written where that changes.
    fn with_record(
        &self,
        replica: &Replica<'a>,
        current: &'a ObservedContainer,
        reason: Reason,
        gated: bool,
    ) -> Intent<'d>
    where
        'a: 'd,
    {
        if self.is_stranded(&current.container) {
            // What keeps it from being replaced stands in another line of the plan.
            return Intent::Stay(Progress::Pending);
        }
        let need = self.arrivals.updated.get(&replica.slot).copied();
        if need.is_none() && matches!(replica.record, Some(Ok(_))) {
            // The record could not be written just now; the gate of its key has said so.
            return Intent::Later;
        }
        Intent::Start { container: &current.container, reason, gated, need }
    }

    /// Its address belongs to a network that has another shape by now.
    fn is_stranded(&self, container: &Container) -> bool {
        container.endpoints.iter().any(|endpoint| {
            self.segments.get(&endpoint.network).is_some_and(|segment| {
                matches!(segment.standing, Standing::Ready | Standing::Lacking(_)) && segment.is_stale(endpoint)
            })
        })
    }

    /// What the containers of a service wait for before they start.
    fn gate(&mut self, name: &'a ServiceName, service: &'a Service) -> Gate {
        let mut before: BTreeMap<&'a ServiceName, Vec<Handle>> = BTreeMap::new();
        for (dependency, rule) in &service.depends_on {
            let Some((dependency, _)) = self.frame.desired.services.get_key_value(dependency) else {
                let text = format!("dependency {dependency} of {name} is not part of the project");
                if rule.required {
                    let failure = Failure::new(Fault::User, text).hint("declare it, or set `required: false`");
                    return Gate::Closed(Until::Failed(failure));
                }
                self.draft.warn(format!("optional {text}"));
                continue;
            };
            if !self.graph.holds(dependency, name) {
                continue;
            }
            match self.judge(dependency, rule) {
                Ok(handles) if handles.is_empty() => {}
                Ok(handles) => drop(before.insert(dependency, handles)),
                Err(Until::Failed(failure)) if !rule.required => {
                    self.draft.warn(format!("{name} goes on without an optional dependency: {failure}"));
                }
                Err(until) => return Gate::Closed(until),
            }
        }
        Gate::Open(self.nearest(name, before))
    }

    /// Leaves out what another dependency comes after anyway.
    fn nearest(&mut self, name: &'a ServiceName, before: BTreeMap<&'a ServiceName, Vec<Handle>>) -> Vec<Handle> {
        let mut far: BTreeSet<&'a ServiceName> = BTreeSet::new();
        for dependency in before.keys() {
            far.extend(self.reach.get(dependency).into_iter().flatten());
        }
        let near = before.iter().filter(|(dependency, _)| !far.contains(*dependency));
        let handles = near.flat_map(|(_, handles)| handles.iter().copied()).collect();
        far.extend(before.keys());
        self.reach.insert(name, far);
        handles
    }

    /// Whether the condition holds for all containers of a dependency; starts of this plan that it takes.
    fn judge(&self, dependency: &'a ServiceName, rule: &Dependency) -> Result<Vec<Handle>, Until> {
        let (mut handles, mut lost) = (Vec::new(), None);
        for replica in replicas_of(self.survey, dependency) {
            match self.judge_one(dependency, replica, rule) {
                Ok(handle) => handles.extend(handle),
                // One that is lost is no reason not to wait for another that is about to come back: whoever follows
                // that would have to be restarted once more.
                Err(until @ Until::Failed(_)) if !rule.required => lost = lost.or(Some(until)),
                Err(until) => return Err(until),
            }
        }
        lost.map_or(Ok(handles), Err)
    }

    fn judge_one(
        &self,
        dependency: &'a ServiceName,
        replica: &Replica<'a>,
        rule: &Dependency,
    ) -> Result<Option<Handle>, Until> {
        let progress = self.progress.get(&replica.slot).copied().unwrap_or(Progress::Pending);
        let wait = || {
            // What cannot come about is no reason to wait for where it is optional.
            let lost = if rule.required { None } else { self.lost(replica) };
            lost.map_or_else(
                || Until::Dependency {
                    service: dependency.clone(),
                    condition: rule.condition,
                    origin: rule.origin.clone(),
                },
                Until::Failed,
            )
        };
        match (rule.condition, progress) {
            (Condition::Started, Progress::Starting(handle)) => Ok(Some(handle)),
            (Condition::Started, Progress::Running | Progress::Ended(_)) => Ok(None),
            (Condition::Healthy, Progress::Running) => judge_health(replica, rule, wait).map(|()| None),
            (Condition::Healthy, Progress::Ended(exit)) => Err(ended(dependency, exit)),
            (Condition::CompletedSuccessfully, Progress::Ended(exit)) if exit.code == Some(0) => Ok(None),
            (Condition::CompletedSuccessfully, Progress::Ended(exit)) => Err(ended(dependency, exit)),
            (Condition::CompletedSuccessfully, _) if has_completed(replica) => Ok(None),
            (
                Condition::Started | Condition::Healthy | Condition::CompletedSuccessfully,
                Progress::Starting(_) | Progress::Running | Progress::Pending,
            ) => Err(wait()),
        }
    }

    /// Why a replica will not come about.
    fn lost(&self, replica: &Replica<'a>) -> Option<Failure> {
        if let Some(Err(Until::Failed(failure))) = &replica.fresh {
            return Some(failure.clone());
        }
        let images = replica.service.container.images().cloned().map(Key::Image);
        let keys = std::iter::once(replica.key()).chain(images);
        let failed = keys.into_iter().find_map(|key| self.frame.history.failed.get(&key))?;
        let current = failed.generation == self.frame.desired.generation && failed.failure.fault != Fault::Transient;
        current.then(|| failed.failure.clone())
    }
}

impl Replica<'_> {
    /// The container goes, and not only its process.
    fn is_leaving_for_good(&self) -> bool {
        matches!(self.verdict, Verdict::Replace(_)) && self.is_leaving()
    }
}

/// It has done its work, although its policy starts it again.
fn has_completed(replica: &Replica<'_>) -> bool {
    replica.stays()
        && replica.current.is_some_and(|current| match current.state {
            State::Exited { exit, .. } => exit.code == Some(0) && !exit.requested,
            State::Creating | State::Created | State::Running { .. } | State::Removing => false,
        })
}

fn judge_health(replica: &Replica<'_>, rule: &Dependency, wait: impl Fn() -> Until) -> Result<(), Until> {
    let Some(current) = replica.current else { return Err(wait()) };
    let service = replica.slot.0;
    match (&current.health, &current.container.healthcheck) {
        (Health::Healthy, _) => Ok(()),
        (_, None) => {
            let failure = Failure::new(Fault::User, format!("dependency {service} has no health check"));
            let hint = format!("give {service} a `healthcheck`, or use `condition: service_started`");
            Err(Until::Failed(failure.hint(hint)))
        }
        (Health::Unhealthy { output, .. }, Some(_)) if !rule.required => {
            Err(Until::Failed(Failure::new(Fault::Transient, format!("dependency {service} is unhealthy: {output}"))))
        }
        (Health::None | Health::Starting | Health::Unhealthy { .. }, Some(_)) => Err(wait()),
    }
}

fn ended(dependency: &ServiceName, exit: Exit) -> Until {
    let text = exit.code.map_or_else(
        || format!("dependency {dependency} has ended: {exit}"),
        |code| format!("dependency {dependency} exited with code {code}"),
    );
    Until::Failed(Failure::new(Fault::User, text).hint(format!("see `stack logs {dependency}`")))
}
