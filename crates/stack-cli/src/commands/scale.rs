//! `stack scale`.

use clap::Args;
use stack_model::{ServiceName, UpOptions};

use super::follow;
use crate::context::Context;
use crate::error::CliError;

/// Options of `scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Services with the number of containers that they are to have
    #[arg(value_name = "SERVICE=NUMBER", value_parser = super::scale_of, required = true)]
    services: Vec<(ServiceName, u32)>,
}

pub(crate) fn run(context: &Context, args: &ScaleArgs) -> Result<u8, CliError> {
    follow::up(
        context,
        UpOptions {
            services: args.services.iter().map(|(service, _)| service.clone()).collect(),
            scale: args.services.iter().cloned().collect(),
            ..UpOptions::default()
        },
    )
}
