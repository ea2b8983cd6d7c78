//! A shell where the program of a step has failed.
//!
//! It is entered by a child: entering a container wants a process with one thread, and a builder has several.

use std::process::Command;
use std::sync::Arc;

use clap::Args;
use stack_build::{BuildError, Builder, Halted};
use stack_model::ProjectName;
use stack_runtime::ExecOptions;

use super::progress::Progress;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// What the child enters.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    project: String,
    container: String,
    shell: String,
}

/// Opens a shell for every step that fails, while nothing is drawn.
pub(super) fn open_on_error(builder: &mut Builder, progress: &Arc<Progress>) {
    let progress = Arc::clone(progress);
    builder.on_failure(Box::new(move |halted| progress.aside(|| open(halted))));
}

fn open(halted: Result<&Halted, &BuildError>) {
    let result = match halted {
        Ok(halted) => enter(halted).map_err(|error| error.to_string()),
        Err(error) => Err(stack_model::Failure::from_error(error.fault(), error).message),
    };
    if let Err(reason) = result {
        output::note(&format!("no shell can be opened where the step failed: {reason}"));
    }
}

fn enter(halted: &Halted) -> std::io::Result<()> {
    let Halted { layout, project, container, shell } = halted;
    output::note("a shell where the step failed; the build ends with it");
    #[expect(clippy::disallowed_methods, reason = "it runs this very executable as the one that enters")]
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--root").arg(&layout.root).arg("--run-dir").arg(&layout.run);
    // What the shell ends with says nothing about the build.
    command.args(["build-shell", project.as_str(), container.as_str(), shell]).status().map(drop)
}

/// The child: runs the shell to its end.
pub(crate) fn run_shell(context: &Context, args: &ShellArgs) -> Result<u8, CliError> {
    let (layout, project) = (context.machine.layout(), ProjectName::new(&args.project));
    let records = stack_runtime::observe_containers(layout, &project);
    let records = records.map_err(|error| crate::commands::failed(error.fault(), error.hint(), &error))?;
    let found = records.into_iter().map(|(container, _)| container).find(|it| it.id.as_str() == args.container);
    let container = found.ok_or_else(|| CliError::user("the step is not there any more"))?;
    let hierarchy = crate::commands::hierarchy()?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let options = ExecOptions { argv: vec![args.shell.clone()], tty: is_terminal, ..ExecOptions::default() };
    let code = stack_runtime::run_exec(&hierarchy, (layout, &project, &container), &options);
    let code = code.map_err(|error| crate::commands::failed(error.fault(), error.hint(), &error))?;
    Ok(u8::try_from(code).unwrap_or(255))
}
