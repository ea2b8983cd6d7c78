//! `stack exec`.

use clap::Args;
use stack_model::Failure;
use stack_runtime::{ExecOptions, RuntimeError};

use super::{program, targets};
use crate::context::Context;
use crate::error::CliError;

/// Options of `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    program: program::ProgramArgs,
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
    // A failure comes back when the program is to be run, behind what else may be wrong.
    drop(stack_runtime::ensure_sealed());
    let (project, container) = targets::running(context, &args.service, args.index)?;
    targets::require_awake(&container)?;
    let options = ExecOptions {
        argv: args.command,
        env: args.program.variables(context).collect(),
        tty: args.program.has_terminal(),
        user: args.program.user,
        cwd: args.program.workdir,
        privileged: args.privileged,
        detach: args.detach,
    };
    let hierarchy = super::hierarchy()?;
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
