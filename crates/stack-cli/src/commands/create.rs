//! `stack create`.

use clap::Args;
use stack_model::{ServiceName, UpOptions};

use super::{follow, provision, recreate};
use crate::context::Context;
use crate::error::CliError;

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Number of containers of a service
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = super::scale_of)]
    scale: Vec<(ServiceName, u32)>,
    #[command(flatten)]
    provision: provision::ProvisionArgs,
    #[command(flatten)]
    recreate: recreate::RecreateArgs,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Accepted for docker compose: nothing is asked
    #[arg(short = 'y', long = "yes", hide = true)]
    _yes: bool,
    /// Only these and what they depend on; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &CreateArgs) -> Result<u8, CliError> {
    let project = context.project_to_run()?;
    let desired = project.lower(&context.machine.layout().instance());
    let services = super::services(&args.services);
    provision::run(context, (&project, &desired), &args.provision, (&services, args.recreate.no_deps()))?;
    let scale = args.scale.iter().cloned().collect();
    follow::up(context, desired, UpOptions { services, scale, no_start: true, ..args.recreate.options() })
}
