//! `stack down`.

use clap::Args;
use stack_model::PolicyChange;

use super::follow;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Delete named volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Seconds until a container is killed, instead of each service's own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
}

pub(crate) fn run(context: &Context, args: &DownArgs) -> Result<u8, CliError> {
    let project = context.project_name()?;
    if !context.exists(&project) && context.connect_if_running(&project).is_none() {
        output::note(&format!("project `{project}` is not up"));
        return Ok(0);
    }
    let timeout = super::timeout(args.timeout);
    let mut session = follow::begin(context, project, PolicyChange::Down { volumes: args.volumes, timeout })?;
    follow::until_down(&mut session)
}
