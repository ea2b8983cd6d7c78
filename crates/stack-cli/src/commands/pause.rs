//! `stack pause` and `stack unpause`.

use clap::Args;
use stack_model::{Failure, Fault, PolicyChange};

use super::{follow, targets};
use crate::context::Context;
use crate::error::CliError;

/// Options of `pause` and `unpause`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Only these; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &PauseArgs, pause: bool) -> Result<u8, CliError> {
    let (_, mut containers) = targets::of_services(context, &args.services)?;
    containers.retain(|it| it.is_running() && (!args.services.is_empty() || it.paused != pause));
    if containers.is_empty() {
        return Ok(0);
    }
    if let Some(container) = containers.iter().find(|it| it.paused == pause) {
        let state = if pause { "paused already" } else { "not paused" };
        return Err(Failure::new(Fault::Conflict, format!("container {} is {state}", container.container.name)).into());
    }
    let services = targets::services(&containers);
    follow::change(context, if pause { PolicyChange::Pause { services } } else { PolicyChange::Unpause { services } })
}
