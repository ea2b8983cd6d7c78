//! `stack exec`.

use std::io::IsTerminal;

use clap::Args;
use stack_model::Failure;
use stack_runtime::{ExecOptions, RuntimeError};

use super::targets;
use crate::context::Context;
use crate::error::CliError;

/// Options of `exec`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ExecArgs {
    /// Accepted for docker: input is always connected
    #[arg(short, long)]
    interactive: bool,
    /// With a terminal, even where this command has none
    #[arg(short, long)]
    tty: bool,
    /// Without a terminal
    #[arg(short = 'T', long = "no-tty", conflicts_with = "tty")]
    no_tty: bool,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// In this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// With this variable; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// In this container of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Leave it running and return
    #[arg(short, long)]
    detach: bool,
    /// The service
    service: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn run(context: &Context, args: ExecArgs) -> Result<u8, CliError> {
    let (project, container) = targets::running(context, &args.service, args.index)?;
    targets::require_awake(&container)?;
    let tty = !args.no_tty && (args.tty || std::io::stdin().is_terminal() && std::io::stdout().is_terminal());
    let options = ExecOptions {
        argv: args.command,
        env: args.env.iter().filter_map(|text| variable(context, text)).collect(),
        user: args.user,
        cwd: args.workdir,
        privileged: args.privileged,
        tty,
        detach: args.detach,
    };
    let hierarchy =
        stack_cgroup::Hierarchy::detect().map_err(|error| super::failed(error.fault(), error.hint(), &error))?;
    let place = (context.machine.layout(), &project, &container.container);
    match stack_runtime::run_exec(&hierarchy, place, &options) {
        Ok(code) => Ok(u8::try_from(code).unwrap_or(255)),
        Err(error) => {
            let code = if is_missing_program(&error) { 127 } else { 126 };
            let failure = Failure { hint: error.hint(), ..Failure::from_error(error.fault(), &error) };
            crate::output::report_error(&CliError::Failed(failure));
            Err(CliError::Code(code))
        }
    }
}

/// What a shell says when there is no such program.
fn is_missing_program(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::Init(failure) if failure.step == "execute" && failure.errno == nix::errno::Errno::ENOENT as i32)
}

/// `NAME=VALUE`, or `NAME` with the value it has here.
pub(super) fn variable(context: &Context, text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.to_owned(), context.source.environment.get(text)?.clone())),
    }
}
