//! `stack rm`.

use std::io::BufRead;

use clap::Args;
use stack_model::{ObservedContainer, PolicyChange};

use super::{follow, targets};
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Stop them first
    #[arg(short, long)]
    stop: bool,
    /// Accepted for docker compose: volumes without a name go with their containers
    #[arg(short, long)]
    volumes: bool,
    /// Only these; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &RmArgs) -> Result<u8, CliError> {
    let (_, containers) = targets::of_services(context, &args.services)?;
    // A service goes as a whole: while one of its containers runs, it stays.
    let is_busy = |it: &ObservedContainer| {
        containers.iter().any(|other| other.container.service == it.container.service && other.is_running())
    };
    let doomed: Vec<ObservedContainer> = containers.iter().filter(|it| args.stop || !is_busy(it)).cloned().collect();
    if doomed.is_empty() {
        output::note("no stopped containers");
        return Ok(0);
    }
    let names: Vec<&str> = doomed.iter().map(|it| it.container.name.as_str()).collect();
    if !args.force && !is_agreed(&names.join(", "))? {
        return Ok(0);
    }
    let services = targets::services(&doomed);
    if args.stop {
        return follow::take_away(context, services, None);
    }
    follow::change(context, PolicyChange::Remove { services })
}

fn is_agreed(names: &str) -> Result<bool, CliError> {
    output::note(&format!("going to remove {names}; continue? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| CliError::io("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
