//! `stack start`.

use clap::Args;
use stack_model::PolicyChange;

use super::follow;
use crate::context::Context;
use crate::error::CliError;

/// Options of `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Only these; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: StartArgs) -> Result<u8, CliError> {
    follow::change(context, PolicyChange::Start { services: super::services(&args.services) })
}
