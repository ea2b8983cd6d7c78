//! `exec`: a process beside the container's first one.

use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use stack_cgroup::{Join, Tree};

use super::lower_process::Module;
use super::plan::find_listener;
use super::socket::send_terminal;
use super::{OciError, Runtime, document, lower_process};
use crate::attached::{self, Placement};
use crate::capabilities::{Capabilities, CapabilitySet};
use crate::process;
use crate::spec::{ProcessSpec, UserSpec};

/// What runs, where it differs from the container's own process.
#[derive(Debug, Clone, Default)]
pub struct ProcessOptions {
    /// A file with a whole process in JSON, instead of the following.
    pub process: Option<PathBuf>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Variables on top of the container's.
    pub env: Vec<String>,
    /// `uid[:gid]`.
    pub user: Option<String>,
    /// Further groups.
    pub groups: Vec<u32>,
    /// A terminal.
    pub tty: bool,
    /// Return once it runs.
    pub detach: bool,
    /// Capabilities on top of the container's.
    pub capabilities: Vec<String>,
    /// No new privileges.
    pub no_new_privileges: bool,
    /// AppArmor's profile, instead of the container's.
    pub apparmor: Option<String>,
    /// SELinux' context, instead of the container's.
    pub selinux: Option<String>,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// The socket that takes the master of its terminal.
    pub console_socket: Option<PathBuf>,
    /// Descriptors that it keeps after the three streams.
    pub preserve_fds: i32,
    /// Cgroups below the container's to be in: `[CONTROLLER[,CONTROLLER]:]PATH`.
    pub cgroups: Vec<String>,
    /// Also in a container that is paused; it waits with the others.
    pub ignore_paused: bool,
}

impl Runtime {
    /// Runs a program in a container, follows it unless detached, and returns its exit code the way a shell shows it.
    /// Call it while this process has one thread.
    ///
    /// # Errors
    /// The container does not run, or the program cannot be executed.
    pub fn exec(&self, id: &str, options: &ProcessOptions) -> Result<i32, OciError> {
        let state = self.load(id)?;
        let status = self.status(&state);
        if status == "paused" && !options.ignore_paused {
            return Err(OciError::Paused(id.to_owned()));
        }
        if !matches!(status, "running" | "created" | "paused") {
            return Err(OciError::Status { operation: "exec in", id: id.to_owned(), status: status.to_owned() });
        }
        crate::spawner::sealed::ensure().map_err(OciError::file("seal the program"))?;
        let (mut process, tty) = self.render(id, options)?;
        if let Some(filter) = process.seccomp.as_mut().filter(|filter| filter.notifies) {
            let mut shown = state.shown();
            shown.insert("status".to_owned(), status.into());
            shown.insert("pid".to_owned(), state.pid.into());
            filter.listener = Some(find_listener(&self.config(id)?, shown)?);
        }
        let gone = || OciError::Status { operation: "exec in", id: id.to_owned(), status: "stopped".to_owned() };
        let container = process::open(state.pid).filter(|_| state.is_alive()).ok_or_else(gone)?;
        let placement = Placement {
            container: container.as_fd(),
            join: way_in(&Tree::detect()?, &state.cgroup, &options.cgroups)?,
            kept: 3 + options.preserve_fds,
            silent: false,
        };
        let pid_file = options.pid_file.as_deref();
        let started = |pid: u32| match pid_file {
            Some(file) => fs::write(file, pid.to_string()),
            None => Ok(()),
        };
        let console = options.console_socket.as_deref();
        let send = |master: &std::os::fd::OwnedFd| console.map(|socket| send_terminal(socket, master));
        Ok(attached::run_process(&placement, &process, tty, options.detach, &started, &send)?)
    }

    fn render(&self, id: &str, options: &ProcessOptions) -> Result<(ProcessSpec, bool), OciError> {
        let spec = self.config(id)?;
        if let Some(file) = &options.process {
            let text = fs::read(file).map_err(OciError::file("read the process"))?;
            let process = document::read_process(&text)?;
            let tty = process.terminal().unwrap_or(false) || options.tty;
            return Ok((lower_process::lower_process(&process, &spec)?, tty));
        }
        let process = spec.process().clone().unwrap_or_default();
        let mut lowered = lower_process::lower_process(&process, &spec)?;
        lowered.argv.clone_from(&options.argv);
        if let Some(cwd) = &options.cwd {
            lowered.cwd.clone_from(cwd);
        }
        for text in &options.env {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            lowered.env.retain(|(have, _)| have != name);
            lowered.env.push((name.to_owned(), value.to_owned()));
        }
        if let Some(user) = &options.user {
            lowered.user = parse_user(user)?;
        }
        if let (UserSpec::Numbers { groups, .. }, false) = (&mut lowered.user, options.groups.is_empty()) {
            groups.extend(&options.groups);
        }
        if let (Capabilities::Sets(sets), false) = (&mut lowered.capabilities, options.capabilities.is_empty()) {
            let more = CapabilitySet::of_names(options.capabilities.iter().map(String::as_str));
            for set in [&mut sets.bounding, &mut sets.permitted, &mut sets.effective] {
                *set = set.with(more);
            }
        }
        lowered.no_new_privileges |= options.no_new_privileges;
        if let Some(profile) = lower_process::label(&options.apparmor, Module::AppArmor, "--apparmor")? {
            lowered.labels.apparmor = Some(profile);
        }
        if let Some(label) = lower_process::label(&options.selinux, Module::Selinux, "--process-label")? {
            lowered.labels.selinux = Some(label);
        }
        Ok((lowered, options.tty))
    }
}

/// The way into a container's cgroups, or into some below them: `[CONTROLLER[,CONTROLLER]:]PATH` each.
fn way_in(tree: &Tree, cgroup: &Path, below: &[String]) -> Result<Join, OciError> {
    let mut places = Vec::new();
    for text in below {
        let (controllers, path) = text.split_once(':').map_or((None, text.as_str()), |(one, path)| (Some(one), path));
        let outside = Path::new(path).components().any(|part| part == Component::ParentDir);
        if outside {
            return Err(OciError::Usage(format!("exec: {text} is not a sub cgroup path")));
        }
        let place = cgroup.join(path.trim_start_matches('/'));
        match controllers {
            None => places.push((None, place)),
            Some(names) => places.extend(names.split(',').map(|name| (Some(name.to_owned()), place.clone()))),
        }
    }
    Ok(tree.join_below(cgroup, &places)?)
}

fn parse_user(user: &str) -> Result<UserSpec, OciError> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok(UserSpec::Numbers { uid, gid, groups: Vec::new(), keep_groups: false, umask: None }),
        _ => Ok(UserSpec::Named { user: user.to_owned(), groups: Vec::new() }),
    }
}
