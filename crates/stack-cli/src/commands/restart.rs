//! `stack restart`.

use clap::Args;
use stack_model::PolicyChange;

use super::follow;
use crate::context::Context;
use crate::error::CliError;

/// Options of `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Seconds until it is killed, instead of each service's own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Without services that are to be restarted together with them (`depends_on.restart`)
    #[arg(long)]
    no_deps: bool,
    /// Only these; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: RestartArgs) -> Result<u8, CliError> {
    follow::change(
        context,
        PolicyChange::Restart {
            services: super::services(&args.services),
            timeout: super::timeout(args.timeout),
            no_deps: args.no_deps,
        },
    )
}
