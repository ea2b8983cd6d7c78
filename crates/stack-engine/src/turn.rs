//! One turn of the loop: look, plan, and put the new plan in the place of the old one.

use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;

use stack_model::{Desired, Event, Observed, Plan, Ruleset};

use crate::engine::{Engine, Outlook, Want};
use crate::journal::Survives;
use crate::schedule::Schedule;
use crate::{Clock, Ended, Host, Policy};

impl<H: Host, C: Clock> Engine<H, C> {
    /// Looks while steps go on. Those that end meanwhile still count as under way for what is decided from the look:
    /// it may show them or not.
    pub(crate) async fn look(&mut self, desired: &Desired, fresh: bool) -> Observed {
        let Self { host, flight, landed, .. } = self;
        let mut looking = pin!(host.observe(desired, fresh));
        loop {
            tokio::select! {
                biased;
                observed = &mut looking => return observed,
                one = flight.land() => landed.push(one),
            }
        }
    }

    pub(crate) async fn turn(&mut self) {
        let Some(desired) = self.desired.clone() else { return };
        let fresh = std::mem::take(&mut self.fresh);
        self.want = Want::Nothing;
        let began = self.clock.now();
        let mut observed = self.look(&desired, fresh).await;
        self.flight.foresee(&mut observed);
        let desired = self.forget_ended(desired, &observed);
        let now = self.clock.now();
        let plan = stack_plan::plan(&desired, &observed, &self.journal.history, now);
        self.tell(desired.generation, &plan);
        self.note_steps(&plan);
        let Plan { ops, blocked, warnings: _ } = plan;
        self.outlook = Outlook {
            observed: Rc::new(observed),
            converged: ops.is_empty() && blocked.is_empty(),
            blocked,
            at: now,
            fresh_at: if fresh { began } else { self.outlook.fresh_at },
            outdated: !self.landed.is_empty(),
        };
        let (schedule, slots) = Schedule::new(ops, self.flight.ops());
        self.schedule = schedule;
        self.flight.place(slots);
        for landed in std::mem::take(&mut self.landed) {
            self.finish(landed);
        }
        self.settle(desired.generation);
        if let Some((Survives::PowerLoss, _)) = self.journal.unsaved() {
            self.save();
        }
    }

    /// What is wanted, without what was to go when it ends and has ended.
    fn forget_ended(&mut self, desired: Rc<Desired>, observed: &Observed) -> Rc<Desired> {
        if !self.journal.policy.forget_ended(observed) {
            return desired;
        }
        self.journal.touch(Survives::PowerLoss);
        self.want_now();
        self.desired.clone().unwrap_or(desired)
    }

    /// Says what is new in a plan. What stood in the last one and is still to be done is not new.
    fn tell(&mut self, generation: u64, plan: &Plan) {
        let warnings: BTreeSet<String> = plan.warnings.iter().cloned().collect();
        for text in warnings.difference(&self.told.warnings) {
            self.publish(Event::Warning { text: text.clone() });
        }
        self.told.warnings = warnings;
        let steps = plan.ops.iter().map(|op| format!("{} {}", op.key, op.action));
        let waits = plan.blocked.iter().map(|it| format!("{} {} {}", it.key, it.step, it.until));
        let lines: BTreeSet<String> = steps.chain(waits).collect();
        if !lines.is_subset(&self.told.lines) {
            self.publish(Event::Planned { generation, plan: plan.clone() });
        }
        self.told.lines = lines;
    }

    /// Names the steps that are about to be under way in the journal.
    fn note_steps(&mut self, plan: &Plan) {
        if plan.ops.is_empty() && self.journal.steps.is_empty() {
            return;
        }
        self.journal.steps = plan.ops.iter().map(|op| format!("{} {}", op.key, op.action)).collect();
        self.journal.touch(Survives::Crash);
    }

    fn settle(&mut self, generation: u64) {
        if !self.outlook.converged || !self.flight.is_empty() {
            self.told.converged = None;
            return;
        }
        if self.journal.policy.down.is_some() || self.told.converged == Some(generation) {
            return;
        }
        self.told.converged = Some(generation);
        self.forget_repeats();
        if !self.journal.history.failed.is_empty() {
            self.journal.history.failed.clear();
            self.journal.touch(Survives::Crash);
        }
        self.publish(Event::Converged { generation });
        // Once for the work that is done, and once more for what follows from saying so.
        self.host.rest();
        self.tired = Some(self.clock.now());
    }

    /// Everything was to go, and everything is gone.
    pub(crate) fn is_down(&self) -> bool {
        self.journal.policy.down.is_some()
            && self.want == Want::Nothing
            && self.outlook.converged
            && self.flight.is_empty()
            && is_nothing_left(&self.outlook.observed)
    }

    /// Ends for good: the journal forgets the project.
    pub(crate) fn farewell(mut self) -> Ended {
        self.journal.base = None;
        self.journal.policy = Policy::default();
        self.journal.touch(Survives::PowerLoss);
        self.save();
        self.publish(Event::Down);
        self.bus.close();
        Ended::Down
    }
}

/// Volumes and images may stay.
fn is_nothing_left(observed: &Observed) -> bool {
    let Observed { images: _, networks, volumes: _, containers, ruleset, names, host: _ } = observed;
    networks.is_empty()
        && containers.is_empty()
        && ruleset.as_ref().is_none_or(Ruleset::is_empty)
        && names.as_ref().is_none_or(|names| names.views.is_empty())
}
