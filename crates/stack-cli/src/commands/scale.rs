//! `stack scale`.

use clap::Args;
use stack_model::{ServiceName, UpOptions};

use super::follow;
use crate::context::Context;
use crate::error::CliError;

/// Options of `scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Do not start what the services depend on
    #[arg(long)]
    no_deps: bool,
    /// Services with the number of containers that they are to have
    #[arg(value_name = "SERVICE=NUMBER", value_parser = super::scale_of, required = true)]
    services: Vec<(ServiceName, u32)>,
}

pub(crate) fn run(context: &Context, args: &ScaleArgs) -> Result<u8, CliError> {
    follow::up(
        context,
        context.project_to_run()?.lower(&context.machine.layout().instance()),
        UpOptions {
            services: args.services.iter().map(|(service, _)| service.clone()).collect(),
            scale: args.services.iter().cloned().collect(),
            no_deps: args.no_deps,
            ..UpOptions::default()
        },
    )
}
