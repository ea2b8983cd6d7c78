//! Running a program inside a container that runs already.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};
use stack_cgroup::Hierarchy;
use stack_model::{Container, Layout, ProjectName};

use crate::error::{StepFailure, shown};
use crate::spec::{ProcessSpec, Security, render_process};
use crate::users::Identity;
use crate::{RuntimeError, Spawner, Started, init, record, users};

/// Joins the cgroups, which are reached through the host's mounts, and then every namespace of a process.
pub(crate) fn join(container: BorrowedFd<'_>, cgroup_procs: &[PathBuf]) -> Result<(), StepFailure> {
    init::join_process_rules()?;
    for procs in cgroup_procs {
        fs_err::write(procs, "0").map_err(|error| StepFailure::new("join", shown(procs), error))?;
    }
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    // setns(2) takes a pidfd since Linux 5.8 and then joins all of them or none. It also moves root and working
    // directory to those of the mount namespace.
    setns(container, all).map_err(|error| StepFailure::new("join", "the container's namespaces", error))
}

/// Turns a process that has joined into the program. Returns only when that fails.
pub(crate) fn become_program(process: &ProcessSpec, output: Option<BorrowedFd<'_>>) -> StepFailure {
    let prepare = || -> Result<(Identity, Vec<(String, String)>), StepFailure> {
        if let Some(output) = output {
            redirect(output)?;
        }
        let identity = users::look_up(std::path::Path::new("/"), &process.user)?;
        let environment = init::environment(process, &identity);
        init::assume(process, &identity)?;
        Ok((identity, environment))
    };
    match prepare() {
        Ok((identity, environment)) => init::execute(process, &identity, &environment),
        Err(failure) => failure,
    }
}

/// Its standard input is the spawner's: `/dev/null` of the host. The container's own may be anything by now.
fn redirect(output: BorrowedFd<'_>) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("redirect", "the output", error);
    rustix::stdio::dup2_stdout(output).map_err(failed)?;
    rustix::stdio::dup2_stderr(output).map_err(failed)
}

/// What a program inside a container is to be, beyond what the container's own process is.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables over those of the container.
    pub env: Vec<(String, String)>,
    /// Instead of the container's user.
    pub user: Option<String>,
    /// Instead of the container's working directory.
    pub cwd: Option<String>,
    /// All capabilities.
    pub privileged: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// How far it is trusted: as the container itself is.
    pub security: Security,
}

/// Renders what is executed.
pub(crate) fn render(container: &Container, options: &ExecOptions) -> ProcessSpec {
    let mut source = container.clone();
    source.spec.privileged |= options.privileged;
    let mut process = render_process(&source, options.security);
    for (name, value) in &options.env {
        process.env.retain(|(have, _)| have != name);
        process.env.push((name.clone(), value.clone()));
    }
    if options.tty && !process.env.iter().any(|(name, _)| name == "TERM") {
        process.env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    process.argv.clone_from(&options.argv);
    if let Some(user) = &options.user {
        process.user.clone_from(user);
    }
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    process
}

/// The files through which a process joins a container's cgroups.
pub(crate) fn cgroup_procs(
    hierarchy: &Hierarchy,
    layout: &Layout,
    project: &ProjectName,
    container: &Container,
) -> Vec<PathBuf> {
    hierarchy.procs(&layout.cgroup(project).join(container.id.as_str()))
}

/// Runs a program in a container with its output to one descriptor and nothing to read: a health check.
///
/// # Errors
/// The container does not run, or the program cannot be executed.
pub fn exec_quietly(
    spawner: &Spawner,
    hierarchy: &Hierarchy,
    (layout, project, container): (&Layout, &ProjectName, &Container),
    argv: Vec<String>,
    output: OwnedFd,
) -> Result<Started, RuntimeError> {
    let adopted = record::adopt(layout, project, &container.id)?.ok_or(RuntimeError::NotRunning)?;
    let options = ExecOptions { argv, ..ExecOptions::default() };
    let procs = cgroup_procs(hierarchy, layout, project, container);
    spawner.enter(adopted.pidfd.as_fd(), render(container, &options), procs, output.as_fd())
}
