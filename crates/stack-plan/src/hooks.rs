//! What runs inside a container after its start and before its stop.

use stack_model::{Action, Effect, Failure, Fault, HookState, ObservedContainer, Stage, Until};

use crate::draft::Frame;

/// What is to be done about the hooks of one stage.
#[derive(Debug)]
pub(crate) enum Due {
    /// Nothing: there are none, or they have ended well.
    Nothing,
    /// They are to be begun.
    Begin(Action),
    /// They run, or have failed and nobody has asked for them again.
    Wait(Until),
}

/// Looks at the hooks of a container that runs. Those of what was asked for once are left out, as docker compose does.
pub(crate) fn due(frame: Frame<'_>, container: &ObservedContainer, stage: Stage) -> Due {
    let record = &container.container;
    if record.one_off.is_some() || container.paused || record.spec.hooks(stage).is_empty() {
        return Due::Nothing;
    }
    let generation = frame.desired.generation;
    match container.hooks.of(stage) {
        HookState::Done { generation: done } if stage == Stage::PostStart || *done == generation => Due::Nothing,
        HookState::Running => Due::Wait(Until::Hooks(record.id.clone(), stage)),
        HookState::Failed { generation: failed, text } if *failed == generation => {
            Due::Wait(Until::Failed(failure(text, record.service.as_str(), stage)))
        }
        // What was done before a stop that did not come about is done again before the next one.
        HookState::Pending | HookState::Done { .. } | HookState::Failed { .. } => {
            Due::Begin(Action::RunHooks { id: record.id.clone(), stage, generation })
        }
    }
}

fn failure(text: &str, service: &str, stage: Stage) -> Failure {
    let way_out = match stage {
        Stage::PostStart => format!("what it wrote is in `stack logs {service}`; the next `stack up` runs it again"),
        Stage::PreStop => "mend it and stop again, or stop with `-t 0`, which leaves it out".to_owned(),
    };
    Failure::new(Fault::User, text).hint(way_out)
}

/// What the user feels of hooks after a start.
pub(crate) const AFTER_START: Effect = Effect::New;
