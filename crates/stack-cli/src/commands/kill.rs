//! `stack kill`.

use std::os::fd::AsFd;

use clap::Args;
use stack_model::{Millis, ObservedContainer, PolicyChange, ProjectName};

use super::{follow, targets};
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// SIGKILL, signal(7).
const SIGKILL: i32 = 9;

/// Options of `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL", value_parser = signal)]
    signal: i32,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Only these; all by default
    services: Vec<String>,
}

/// A service that is killed is one that is stopped without patience. One that is sent the signal that asks it to stop
/// stays down when it ends of it, and any other signal is the program's own business.
pub(crate) fn run(context: &Context, args: &KillArgs) -> Result<u8, CliError> {
    let (project, mut containers) = targets::of_services(context, &args.services)?;
    containers.retain(ObservedContainer::is_running);
    if containers.is_empty() {
        output::note("no container to kill");
        return Ok(0);
    }
    if args.signal == SIGKILL {
        let services = targets::services(&containers);
        return follow::change(context, PolicyChange::Stop { services, timeout: Some(Millis(0)) });
    }
    let asked: Vec<_> =
        containers.iter().filter(|it| it.container.process.stop_signal == args.signal).cloned().collect();
    if !asked.is_empty() {
        let change = PolicyChange::Release { services: targets::services(&asked) };
        context.request(&project, |client| client.change(change.clone()))?;
    }
    containers.iter().try_for_each(|container| send(context, &project, container, args.signal))?;
    Ok(0)
}

fn send(context: &Context, project: &ProjectName, container: &ObservedContainer, signal: i32) -> Result<(), CliError> {
    let failed = |error: stack_runtime::RuntimeError| super::failed(error.fault(), error.hint(), &error);
    let adopted = stack_runtime::adopt(context.machine.layout(), project, &container.container.id).map_err(failed)?;
    // One that has just ended has nothing to be told.
    adopted.map_or(Ok(()), |adopted| stack_runtime::signal(adopted.pidfd.as_fd(), signal).map_err(failed))
}

fn signal(text: &str) -> Result<i32, String> {
    stack_image::parse_signal(text).ok_or_else(|| "no such signal; signal(7) lists them".to_owned())
}
