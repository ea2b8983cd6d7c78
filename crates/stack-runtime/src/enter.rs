//! Running a program inside a container that runs already.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};
use stack_cgroup::{CgroupError, Hierarchy, Join};
use stack_model::{Container, Layout, ProjectName};

use crate::error::StepFailure;
use crate::spec::{ProcessSpec, UserSpec, render_process};
use crate::users::Identity;
use crate::{RuntimeError, Spawner, Started, init, process, record};

/// Joins the cgroups, which are reached through the host's mounts, and then every namespace of a process.
pub(crate) fn join(container: BorrowedFd<'_>, cgroup_tasks: &[PathBuf]) -> Result<(), StepFailure> {
    init::join_process_rules()?;
    init::join_cgroups(cgroup_tasks)?;
    let other = other_namespaces(container).map_err(|error| StepFailure::new("look at", "the namespaces", error))?;
    // setns(2) takes a pidfd since Linux 5.8 and then joins all of them or none. It also moves root and working
    // directory to those of the mount namespace.
    setns(container, other).map_err(|error| StepFailure::new("join", "the container's namespaces", error))?;
    if other.contains(CloneFlags::CLONE_NEWUSER) {
        let failed = |error: rustix::io::Errno| StepFailure::new("become root of", "the user namespace", error);
        let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    }
    if !other.contains(CloneFlags::CLONE_NEWNS) {
        // Without a mount namespace of its own the container is where its root is.
        return change_root(container);
    }
    Ok(())
}

/// The namespaces of a process that are not ours: to join one's own user namespace is an error.
fn other_namespaces(process: BorrowedFd<'_>) -> std::io::Result<CloneFlags> {
    let pid = process::id_of(process).ok_or(std::io::ErrorKind::NotFound)?;
    let kinds = [
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("net", CloneFlags::CLONE_NEWNET),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("user", CloneFlags::CLONE_NEWUSER),
        ("time", CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME)),
    ];
    let mut other = CloneFlags::empty();
    for (name, flag) in kinds {
        let of = |pid: &str| fs_err::read_link(format!("/proc/{pid}/ns/{name}"));
        match (of("self"), of(&pid.to_string())) {
            (Ok(own), Ok(its)) if own != its => other |= flag,
            (Ok(_), Ok(_)) | (Err(_), _) => {}
            (Ok(_), Err(error)) => return Err(error),
        }
    }
    Ok(other)
}

fn change_root(container: BorrowedFd<'_>) -> Result<(), StepFailure> {
    let Some(pid) = process::id_of(container) else { return Ok(()) };
    let path = format!("/proc/{pid}/root");
    let failed = |error: rustix::io::Errno| StepFailure::new("change to", &path, error);
    rustix::process::chroot(path.as_str()).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)
}

/// Turns a process that has joined into the program. Returns only when that fails.
pub(crate) fn become_program(process: &ProcessSpec, output: Option<BorrowedFd<'_>>, kept: i32) -> StepFailure {
    let prepare = || -> Result<(Identity, Vec<(String, String)>), StepFailure> {
        if let Some(output) = output {
            redirect(output)?;
        }
        // The leader's session is not seen in here. One that has got a terminal leads its own already.
        let _ = rustix::process::setsid();
        let identity = init::identify(&process.user)?;
        let environment = init::environment(process, &identity);
        init::assume(process, &identity)?;
        Ok((identity, environment))
    };
    match prepare() {
        Ok((identity, environment)) => init::execute(process, &identity, &environment, kept, &|| Ok(())),
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
    /// Return once it runs; it has nothing to read, and nobody reads what it writes.
    pub detach: bool,
}

/// Renders what is executed. It is trusted as far as the container itself is.
///
/// # Errors
/// The container's profile of system calls is not one.
pub(crate) fn render(container: &Container, options: &ExecOptions) -> Result<ProcessSpec, RuntimeError> {
    let mut source = container.clone();
    source.spec.privileged |= options.privileged;
    let mut process = render_process(&source)?;
    for (name, value) in &options.env {
        process.env.retain(|(have, _)| have != name);
        process.env.push((name.clone(), value.clone()));
    }
    if options.tty && !process.env.iter().any(|(name, _)| name == "TERM") {
        process.env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    process.argv.clone_from(&options.argv);
    if let (Some(asked), UserSpec::Named { user, .. }) = (&options.user, &mut process.user) {
        user.clone_from(asked);
    }
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    Ok(process)
}

/// The way into a container's cgroups.
pub(crate) fn way_in(
    hierarchy: &Hierarchy,
    (layout, project, container): (&Layout, &ProjectName, &Container),
) -> Result<Join, CgroupError> {
    hierarchy.join(&layout.cgroup(project).join(container.id.as_str()))
}

/// Runs a program in a container with its output to one descriptor and nothing to read: a health check or a hook.
///
/// # Errors
/// The container does not run, or the program cannot be executed.
pub fn exec_quietly(
    spawner: &Spawner,
    hierarchy: &Hierarchy,
    (layout, project, container): (&Layout, &ProjectName, &Container),
    options: &ExecOptions,
    output: OwnedFd,
) -> Result<Started, RuntimeError> {
    let adopted = record::adopt(layout, project, &container.id)?.ok_or(RuntimeError::NotRunning)?;
    let join = way_in(hierarchy, (layout, project, container))?;
    spawner.enter(adopted.pidfd.as_fd(), render(container, options)?, &join, output.as_fd())
}
