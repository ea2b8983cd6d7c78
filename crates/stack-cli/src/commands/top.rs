//! `stack top`.

use clap::Args;
use stack_model::ObservedContainer;
use stack_runtime::{HostFacts, ProcessRow};

use super::targets;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Only these; all by default
    services: Vec<String>,
}

const HEADS: [&str; 10] = ["SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
pub(crate) fn run(context: &Context, args: &TopArgs) -> Result<u8, CliError> {
    let (project, mut containers) = targets::of_services(context, &args.services)?;
    containers.retain(ObservedContainer::is_running);
    let hierarchy = super::hierarchy()?;
    let host = HostFacts::read();
    let mut rows = Vec::new();
    for container in &containers {
        let record = &container.container;
        let mut pids = hierarchy.processes(&context.machine.layout().cgroup(&project).join(record.id.as_str()));
        pids.sort_unstable();
        for process in pids.into_iter().filter_map(ProcessRow::read) {
            let service = record.one_off.as_ref().map_or(&record.service, |one_off| &one_off.of);
            let mut row = vec![service.to_string(), record.index.to_string()];
            row.extend(process.columns(&host));
            rows.push(row);
        }
    }
    if !rows.is_empty() {
        output::result(output::table(&HEADS, &rows).as_bytes())?;
    }
    Ok(0)
}
