//! Beginning and ending steps, and what is written down about them.

use std::rc::Rc;

use stack_model::{Action, ContainerId, Event, Failure, Fault, Millis, Now, Op, OpReport};

use crate::engine::{Engine, SAVE_PAUSE, Want};
use crate::flight::{Flying, Landed, is_foreseen};
use crate::input::answer;
use crate::journal::Survives;
use crate::latency::kind;
use crate::{Clock, Host};

/// A step of one kind that works more often than this within [`REPEAT_WINDOW`] has no effect.
const REPEATS_MAX: u32 = 20;
/// See [`REPEATS_MAX`].
const REPEAT_WINDOW: Millis = Millis(1_000);

impl<H: Host, C: Clock> Engine<H, C> {
    /// Begins every step that may and that there is room for.
    pub(crate) fn begin(&mut self) {
        if self.quitting.is_some() {
            return;
        }
        for pulls in [false, true] {
            while self.flight.has_room(pulls, self.host.steps_max()) {
                let Some((slot, op)) = self.schedule.take(pulls) else { break };
                self.publish(Event::Started(report(&op)));
                let generation = self.desired.as_ref().map_or(0, |desired| desired.generation);
                let flying = Flying { op, slot: Some(slot), generation, basis: Rc::clone(&self.outlook.observed) };
                self.flight.launch(flying, |op| self.host.apply(op));
            }
        }
    }

    pub(crate) fn finish(&mut self, landed: Landed) {
        let Some(Flying { op, slot, generation, basis }) = self.flight.retire(&landed) else { return };
        let now = self.clock.now();
        self.journal.latency.record(kind(&op.action), landed.micros);
        let mut worked = landed.worked;
        if worked.is_ok() {
            stack_plan::note_success(&mut self.journal.history, &op, &basis, now);
            if self.is_spinning(&op, now) {
                worked = Err(Failure::new(Fault::Bug, "the step works again and again without effect"));
            }
        }
        let is_ok = worked.is_ok();
        match worked {
            Ok(()) => self.publish(Event::Finished { op: report(&op), micros: landed.micros }),
            Err(failure) => {
                let history = &mut self.journal.history;
                let retry = Some(stack_plan::note_failure(history, &op, failure.clone(), generation, now));
                // What a failed step has left behind is not known.
                (self.fresh, self.want) = (true, self.want.max(Want::Soon));
                self.publish(Event::Failed { op: report(&op), failure, retry })
            }
        };
        self.journal.touch(Survives::Crash);
        self.outlook.outdated = true;
        let dropped = match slot {
            Some(slot) => {
                self.schedule.finish(slot, is_ok);
                false
            }
            None => self.schedule.release(&op.key, is_ok && is_foreseen(&op)),
        };
        if dropped {
            self.want = self.want.max(Want::Soon);
        }
    }

    /// A host that says yes and does nothing must not make the loop spin.
    fn is_spinning(&mut self, op: &Op, now: Now) -> bool {
        let entry = self.repeats.entry((op.key.clone(), kind(&op.action))).or_insert((now, 0));
        if now.since(entry.0) >= REPEAT_WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
        entry.1 > REPEATS_MAX
    }

    pub(crate) fn forget_repeats(&mut self) {
        self.repeats.clear();
    }

    pub(crate) fn save_in_time(&mut self) {
        let now = self.clock.now();
        match self.journal.unsaved() {
            Some((Survives::Crash, saved)) if now.since(saved) < SAVE_PAUSE => {}
            Some((Survives::PowerLoss | Survives::Crash, _)) => self.save(),
            None => {}
        }
    }

    pub(crate) fn save(&mut self) {
        let saved = self.journal.save(self.clock.now());
        for (reply, said) in std::mem::take(&mut self.replies) {
            answer(reply, said);
        }
        match saved {
            Ok(()) => self.told.journal = false,
            // Once: every step that ends would say it again.
            Err(error) if !self.told.journal => {
                self.told.journal = true;
                let failure = Failure::from_error(Fault::Denied, &error);
                let text = format!("{failure}; a new supervisor will not know what was asked for");
                self.publish(Event::Warning { text });
            }
            Err(_) => {}
        }
    }
}

fn report(op: &Op) -> OpReport {
    OpReport {
        key: op.key.clone(),
        action: op.action.to_string(),
        effect: op.effect,
        cause: op.cause.to_string(),
        container: container_of(&op.action).cloned(),
    }
}

fn container_of(action: &Action) -> Option<&ContainerId> {
    match action {
        Action::CreateContainer(container) | Action::UpdateRecord(container) => Some(&container.id),
        Action::StartContainer { id }
        | Action::PauseContainer { id }
        | Action::RunHooks { id, .. }
        | Action::UnpauseContainer { id }
        | Action::StopContainer { id, .. }
        | Action::KillContainer { id }
        | Action::RemoveContainer { id }
        | Action::WriteLimits { id, .. }
        | Action::AttachContainer { id } => Some(id),
        Action::PullImage { .. }
        | Action::EnsureNetwork(_)
        | Action::RemoveNetwork { .. }
        | Action::EnsureVolume(_)
        | Action::RemoveVolume { .. }
        | Action::ApplyRuleset(_)
        | Action::PublishNames(_) => None,
    }
}
