//! When a request has had its effect: a reducer over the events that follow it.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{Blocked, Event, Failure, Fault, Key, OpReport, Plan, ServiceName, Stamped, Until};

/// A step that may work a moment later is given up after it failed this often in a row.
const ATTEMPTS_MAX: u32 = 3;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Something is under way, or waits for something that may still come.
    Pending,
    /// Everything that was asked for is there, or does what its restart policy says.
    Settled,
    /// Nothing moves any more and something is missing.
    Stuck,
    /// Nothing of the project is left.
    Down,
}

/// Something that did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What.
    pub(crate) key: Key,
    /// The step that is missing, such as `start`.
    pub(crate) step: String,
    /// Why.
    pub(crate) failure: Failure,
}

/// Something that waits for a [`Trouble`] to go away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// What.
    pub(crate) key: Key,
    /// What for, in the words of a plan line.
    pub(crate) until: String,
}

/// What the events since a request say about it.
#[derive(Debug)]
pub(crate) struct Settlement {
    generation: u64,
    /// The last plan, without the steps that are done.
    plan: Option<Plan>,
    /// Nothing was done since the plan was made, so what it says of the rest is the last word.
    current: bool,
    under_way: BTreeSet<Key>,
    failed: BTreeMap<Key, Attempts>,
    converged: bool,
    down: bool,
}

#[derive(Debug)]
struct Attempts {
    step: String,
    failure: Failure,
    count: u32,
}

impl Settlement {
    /// Nothing has followed yet.
    pub(crate) fn new(generation: u64) -> Self {
        let (under_way, failed) = (BTreeSet::new(), BTreeMap::new());
        Self { generation, plan: None, current: false, under_way, failed, converged: false, down: false }
    }

    /// Takes the next event.
    pub(crate) fn note(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::Planned { generation, plan } if *generation >= self.generation => self.note_plan(plan.clone()),
            Event::Converged { generation } if *generation >= self.generation => self.converged = true,
            Event::Started(op) => {
                self.converged = false;
                self.under_way.insert(op.key.clone());
            }
            Event::Finished { op, .. } => {
                self.under_way.remove(&op.key);
                self.failed.remove(&op.key);
                if let Some(plan) = &mut self.plan {
                    plan.ops.retain(|planned| planned.key != op.key || planned.action.to_string() != op.action);
                }
            }
            Event::Failed { op, failure, .. } => self.note_failure(op, failure),
            Event::Down => self.down = true,
            Event::Planned { .. }
            | Event::Converged { .. }
            | Event::Accepted { .. }
            | Event::Rejected { .. }
            | Event::Exited { .. }
            | Event::Health { .. }
            | Event::Progress { .. }
            | Event::Warning { .. } => {}
        }
    }

    /// Takes a plan that was asked for or announced.
    pub(crate) fn note_plan(&mut self, plan: Plan) {
        self.converged = plan.is_converged();
        self.current = plan.ops.is_empty();
        self.plan = Some(plan);
    }

    /// Nobody can be asked: what is known has to do. Without any plan, nothing had to be done.
    pub(crate) fn note_no_answer(&mut self) {
        self.converged |= self.plan.is_none();
        self.current = true;
    }

    /// Every step of the plan is done, and what follows from that was not said. A plan that holds nothing new is not
    /// announced, so it has to be asked for.
    pub(crate) fn is_drained(&self) -> bool {
        let is_empty = self.plan.as_ref().is_some_and(|plan| plan.ops.is_empty());
        is_empty && !self.current && self.under_way.is_empty() && !self.converged && !self.down
    }

    /// Nothing is to be done and nothing is waited for.
    pub(crate) fn is_converged(&self) -> bool {
        self.converged && self.under_way.is_empty()
    }

    fn note_failure(&mut self, op: &OpReport, failure: &Failure) {
        self.under_way.remove(&op.key);
        let count = self.failed.get(&op.key).map_or(0, |before| before.count) + 1;
        let step = op.action.split(' ').next().unwrap_or_default().to_owned();
        self.failed.insert(op.key.clone(), Attempts { step, failure: failure.clone(), count });
    }

    /// How far the request has come.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.down {
            return Verdict::Down;
        }
        if !self.under_way.is_empty() {
            return Verdict::Pending;
        }
        if self.converged {
            return Verdict::Settled;
        }
        let Some(plan) = &self.plan else { return Verdict::Pending };
        let is_open = !plan.ops.is_empty() && !self.is_retried_plan(plan);
        if is_open || self.is_drained() {
            return Verdict::Pending;
        }
        let stuck = self.stuck_keys(plan);
        let is_open = |blocked: &Blocked| is_awaited(blocked) || self.failed.contains_key(&blocked.key);
        if plan.blocked.iter().any(|blocked| !stuck.contains(&blocked.key) && is_open(blocked)) {
            return Verdict::Pending;
        }
        if stuck.is_empty() { Verdict::Settled } else { Verdict::Stuck }
    }

    /// A plan whose steps have all failed too often already: the retry is the supervisor's business.
    fn is_retried_plan(&self, plan: &Plan) -> bool {
        plan.ops.iter().all(|op| self.failed.get(&op.key).is_some_and(Attempts::is_final))
    }

    /// A container of these services failed, or anything at all where none are named.
    pub(crate) fn concerns(&self, services: &[ServiceName]) -> bool {
        let concerns = |trouble: &Trouble| match &trouble.key {
            Key::Container(service, _) => services.contains(service),
            Key::Image(_) | Key::Network(_) | Key::Volume(_) | Key::Ruleset | Key::Names => false,
        };
        services.is_empty() || self.troubles().iter().any(concerns)
    }

    /// What failed, for the report. Call it when the verdict is [`Verdict::Stuck`].
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let mut troubles: BTreeMap<&Key, Trouble> = BTreeMap::new();
        for (key, attempts) in self.failed.iter().filter(|(_, attempts)| attempts.is_final()) {
            let (step, failure) = (attempts.step.clone(), attempts.failure.clone());
            troubles.insert(key, Trouble { key: key.clone(), step, failure });
        }
        for blocked in self.blocked() {
            if let Until::Failed(failure) = &blocked.until {
                let (step, failure) = (blocked.step.clone(), failure.clone());
                let trouble = Trouble { key: blocked.key.clone(), step, failure };
                troubles.entry(&blocked.key).or_insert(trouble);
            }
        }
        troubles.into_values().collect()
    }

    /// What waits in vain, for the report.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let troubles: BTreeSet<Key> = self.troubles().into_iter().map(|trouble| trouble.key).collect();
        let in_vain = self.blocked().filter(|blocked| !troubles.contains(&blocked.key) && is_awaited(blocked));
        in_vain.map(|blocked| Waiting { key: blocked.key.clone(), until: blocked.until.to_string() }).collect()
    }

    /// Its restart policy starts it again later.
    pub(crate) fn is_started_again(&self, key: &Key) -> bool {
        self.blocked().any(|blocked| blocked.key == *key && !is_awaited(blocked))
    }

    fn blocked(&self) -> impl Iterator<Item = &Blocked> {
        self.plan.iter().flat_map(|plan| &plan.blocked)
    }

    /// Everything that has failed for good, and what waits for it.
    fn stuck_keys(&self, plan: &Plan) -> BTreeSet<Key> {
        let failed = self.failed.iter().filter(|(_, attempts)| attempts.is_final()).map(|(key, _)| key.clone());
        let mut stuck: BTreeSet<Key> = failed.collect();
        loop {
            let before = stuck.len();
            for blocked in &plan.blocked {
                if waits_in_vain(&blocked.until, &stuck) {
                    stuck.insert(blocked.key.clone());
                }
            }
            if stuck.len() == before {
                return stuck;
            }
        }
    }
}

impl Attempts {
    fn is_final(&self) -> bool {
        self.failure.fault != Fault::Transient || self.count >= ATTEMPTS_MAX
    }
}

fn waits_in_vain(until: &Until, stuck: &BTreeSet<Key>) -> bool {
    match until {
        Until::Failed(_) => true,
        Until::Dependency { service, .. } => {
            stuck.iter().any(|key| matches!(key, Key::Container(stuck, _) if stuck == service))
        }
        Until::Image(image) => stuck.contains(&Key::Image(image.clone())),
        Until::Done(key) => stuck.contains(key),
        Until::Exited(_) | Until::Hooks(..) | Until::Time(..) => false,
    }
}

/// A container that is started again later has been started once: nobody waits for it. Everything else is waited for.
fn is_awaited(blocked: &Blocked) -> bool {
    !matches!((&blocked.until, blocked.step.as_str()), (Until::Time(..), "start"))
}

#[cfg(test)]
mod tests {
    use stack_model::{Action, Cause, Condition, Effect, ImageReference, Now, Op, Origin};

    use super::*;

    fn key(service: &str) -> Key {
        Key::Container(service.into(), 1)
    }

    fn op(key: Key, action: &str) -> OpReport {
        OpReport { key, action: action.to_owned(), effect: Effect::New, cause: "missing".to_owned(), container: None }
    }

    fn blocked(key: Key, until: Until) -> Blocked {
        Blocked { key, step: "start".to_owned(), effect: Effect::New, until }
    }

    fn needs(service: &str) -> Until {
        Until::Dependency { service: service.into(), condition: Condition::Healthy, origin: Origin::default() }
    }

    fn planned(blocked: Vec<Blocked>) -> Event {
        Event::Planned { generation: 2, plan: Plan { blocked, ..Plan::default() } }
    }

    fn failed(key: Key, fault: Fault) -> Event {
        Event::Failed { op: op(key, "start 12ab"), failure: Failure::new(fault, "no"), retry: Some(Now(1)) }
    }

    fn verdict(events: Vec<Event>) -> (Verdict, Settlement) {
        let mut settlement = Settlement::new(2);
        for (sequence, event) in (1..).zip(events) {
            settlement.note(&Stamped { sequence, at: Now(0), event });
        }
        (settlement.verdict(), settlement)
    }

    #[test]
    fn convergence_of_this_generation_settles() {
        assert_eq!(verdict(vec![Event::Converged { generation: 1 }]).0, Verdict::Pending);
        assert_eq!(verdict(vec![Event::Converged { generation: 2 }]).0, Verdict::Settled);
        assert_eq!(verdict(vec![Event::Started(op(key("a"), "start"))]).0, Verdict::Pending);
    }

    #[test]
    fn a_dependency_that_may_become_healthy_is_waited_for() {
        assert_eq!(verdict(vec![planned(vec![blocked(key("web"), needs("db"))])]).0, Verdict::Pending);
    }

    #[test]
    fn back_off_after_a_start_is_not_waited_for_unless_someone_needs_it() {
        let again = || blocked(key("db"), Until::Time(Now(5), "back-off after exit code 1".to_owned()));
        assert_eq!(verdict(vec![planned(vec![again()])]).0, Verdict::Settled);
        let both = vec![again(), blocked(key("web"), needs("db"))];
        assert_eq!(verdict(vec![planned(both)]).0, Verdict::Pending);
    }

    #[test]
    fn what_depends_on_a_failure_is_stuck_with_it() {
        let image = ImageReference::new("x");
        let retry = blocked(Key::Image(image.clone()), Until::Time(Now(9), "retry".to_owned()));
        let plan = vec![retry, blocked(key("db"), Until::Image(image.clone())), blocked(key("web"), needs("db"))];
        let events = vec![failed(Key::Image(image), Fault::Missing), planned(plan)];
        let (verdict, settlement) = verdict(events);
        assert_eq!(verdict, Verdict::Stuck);
        assert_eq!(settlement.troubles().len(), 1);
        let waiting: Vec<Key> = settlement.waiting().into_iter().map(|waiting| waiting.key).collect();
        assert_eq!(waiting, [key("db"), key("web")]);
    }

    #[test]
    fn a_plan_whose_steps_are_done_is_asked_for_again() {
        let action = Action::RemoveNetwork { bridge: "stk-1".into() };
        let network = Key::Network("old".into());
        let (effect, cause) = (Effect::Remove, Cause::NotWanted);
        let step = Op { key: network.clone(), action: action.clone(), effect, cause, needs: BTreeSet::new() };
        let no = Failure::new(Fault::User, "no");
        let blocked = vec![blocked(key("web"), Until::Failed(no))];
        let plan = Plan { ops: vec![step], blocked: blocked.clone(), ..Plan::default() };
        let report = OpReport { action: action.to_string(), ..op(network, "") };
        let events = vec![
            Event::Planned { generation: 2, plan },
            Event::Started(report.clone()),
            Event::Finished { op: report, micros: 1 },
        ];
        let (verdict, mut settlement) = verdict(events);
        assert_eq!((verdict, settlement.is_drained()), (Verdict::Pending, true));
        settlement.note_plan(Plan { blocked, ..Plan::default() });
        assert_eq!(settlement.verdict(), Verdict::Stuck);
    }

    #[test]
    fn silence_without_an_answer_means_that_nothing_had_to_be_done() {
        let (_, mut settlement) = verdict(Vec::new());
        settlement.note_no_answer();
        assert_eq!(settlement.verdict(), Verdict::Settled);
    }

    #[test]
    fn a_transient_failure_gets_another_chance() {
        let retry = || planned(vec![blocked(key("a"), Until::Time(Now(9), "retry".to_owned()))]);
        let mut events = vec![failed(key("a"), Fault::Transient), retry()];
        assert_eq!(verdict(events.clone()).0, Verdict::Pending);
        events.extend([failed(key("a"), Fault::Transient), failed(key("a"), Fault::Transient), retry()]);
        assert_eq!(verdict(events.clone()).0, Verdict::Stuck);
        events.extend([Event::Finished { op: op(key("a"), "start"), micros: 1 }, Event::Converged { generation: 2 }]);
        assert_eq!(verdict(events).0, Verdict::Settled);
    }
}
