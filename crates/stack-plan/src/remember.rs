//! What the engine writes into the history after each step, so that it and the plan agree on the numbers.

use stack_model::{Action, Cause, Effect, Failed, Failure, History, Key, Now, Observed, Op, Restarts};

use crate::restart::{backoff, loop_count};

/// Notes that a step worked. `observed` is what the step was planned from.
pub fn note_success(history: &mut History, op: &Op, observed: &Observed, now: Now) {
    history.failed.remove(&op.key);
    match &op.action {
        Action::CreateContainer(_) => history.sequence += 1,
        Action::StartContainer { id } => {
            let Key::Container(service, index) = &op.key else { return };
            let key = (service.clone(), *index);
            match (&op.cause, observed.containers.get(id)) {
                (Cause::Policy(_) | Cause::Drift(_), Some(container)) => {
                    let window = container.container.spec.restart_window;
                    let count = loop_count(history.restarts.get(&key), container, window).saturating_add(1);
                    history.restarts.insert(key, Restarts { count, last: now });
                }
                // Started for another reason than its own end: patience begins anew.
                (_, Some(_) | None) => drop(history.restarts.remove(&key)),
            }
        }
        Action::RemoveContainer { .. } if op.effect == Effect::Remove => {
            if let Key::Container(service, index) = &op.key {
                history.restarts.remove(&(service.clone(), *index));
            }
        }
        Action::PullImage { .. }
        | Action::EnsureNetwork(_)
        | Action::RemoveNetwork { .. }
        | Action::EnsureVolume(_)
        | Action::RemoveVolume { .. }
        | Action::PauseContainer { .. }
        | Action::RunHooks { .. }
        | Action::UnpauseContainer { .. }
        | Action::StopContainer { .. }
        | Action::KillContainer { .. }
        | Action::RemoveContainer { .. }
        | Action::WriteLimits { .. }
        | Action::UpdateRecord(_)
        | Action::AttachContainer { .. }
        | Action::ApplyRuleset(_)
        | Action::PublishNames(_) => {}
    }
}

/// Notes that a step did not work and when it may be tried again: 100 ms later, doubling, at most 30 s.
pub fn note_failure(history: &mut History, op: &Op, failure: Failure, generation: u64, now: Now) -> Now {
    let attempts = match history.failed.get(&op.key) {
        Some(failed) if failed.generation == generation => failed.attempts.saturating_add(1),
        Some(_) | None => 1,
    };
    let not_before = now.plus(backoff(attempts - 1));
    let failed = Failed { op: op.action.to_string(), failure, attempts, not_before, generation };
    history.failed.insert(op.key.clone(), failed);
    not_before
}
