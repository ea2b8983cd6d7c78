//! `stack create`.

use clap::Args;
use stack_model::{ServiceName, UpOptions};

use super::follow;
use crate::context::Context;
use crate::error::CliError;

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Number of containers of a service
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = super::scale_of)]
    scale: Vec<(ServiceName, u32)>,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Only these and what they depend on; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &CreateArgs) -> Result<u8, CliError> {
    let services = super::services(&args.services);
    let scale = args.scale.iter().cloned().collect();
    follow::up(context, UpOptions { services, scale, no_start: true, ..UpOptions::default() })
}
