//! The command line: one file per verb, renderers, exit codes.
//!
//! A verb reads the project to say what is wrong with it, asks the supervisor for a change, and shows the events that
//! follow. Verbs that only look work without a supervisor. Only `output` prints.

mod arguments;
mod casualties;
mod client;
mod commands;
mod context;
mod error;
mod log_view;
mod output;
mod session;
mod settle;
mod trust;

use std::process::ExitCode;

use stack_engine::Machine;
use stack_model::Layout;

use crate::arguments::Arguments;
use crate::context::Context;

/// Runs the verb of this process's arguments. `machine` gives the machine for a store and a run directory.
pub fn main(machine: impl Fn(Layout) -> Box<dyn Machine>) -> ExitCode {
    let Arguments { global, verb } = Arguments::given();
    let context = match Context::new(global, machine) {
        Ok(context) => context,
        Err(error) => return ExitCode::from(output::report_error(&error)),
    };
    let code = context
        .check_options(&verb)
        .and_then(|()| commands::run(&context, verb))
        .unwrap_or_else(|error| output::report_error(&error));
    ExitCode::from(code)
}
