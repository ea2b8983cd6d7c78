//! `stack scale`.

use clap::Args;
use stack_model::{ServiceName, UpOptions};

use super::follow;
use crate::context::Context;
use crate::error::CliError;
use crate::session::{Session, Turn};

/// Options of `scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Services with the number of containers that they are to have
    #[arg(value_name = "SERVICE=NUMBER", value_parser = super::scale_of, required = true)]
    services: Vec<(ServiceName, u32)>,
}

pub(crate) fn run(context: &Context, args: &ScaleArgs) -> Result<u8, CliError> {
    let project = context.project()?;
    let name = project.name().clone();
    let desired = project.lower(&context.machine.layout().instance());
    let options = UpOptions {
        services: args.services.iter().map(|(service, _)| service.clone()).collect(),
        scale: args.services.iter().cloned().collect(),
        ..UpOptions::default()
    };
    let (client, accepted) = context.request(&name, |client| client.up(context.source.clone(), options.clone()))?;
    let mut session = Session::new(context, name.clone(), Some(desired), client, accepted)?;
    let ask = || context.connect_if_running(&name)?.plan(context.source.clone(), options.clone()).ok();
    let turn = session.until_settled(ask)?;
    session.settle_display();
    if turn == Turn::Ended { Err(Session::lost()) } else { follow::conclude(&session) }
}
