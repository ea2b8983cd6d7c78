//! `create`, `start` and `run`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::net::connect;
use stack_cgroup::Tree;

use super::birth::{Order, Refusal, Report, spawn};
use super::plan::{Plan, annotations, plan};
use super::scope::Begun;
use super::socket::{address_in, listen_at, open_directory, send_terminal, unix_socket};
use super::state::{START_SOCKET, State, now};
use super::{OciError, Runtime, lower, owners, resources};
use crate::attached::relay;
use crate::error::StepFailure;
use crate::spawner::{sealed, wire};
use crate::{hooks, process};

/// How a container is made.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Its name.
    pub id: String,
    /// The directory of its root filesystem and configuration.
    pub bundle: PathBuf,
    /// The configuration, relative to the bundle.
    pub config: PathBuf,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// The socket that takes the master of its terminal.
    pub console_socket: Option<PathBuf>,
    /// Descriptors that its program keeps after the three streams.
    pub preserve_fds: i32,
    /// Without pivot_root(2).
    pub no_pivot: bool,
    /// In a scope that systemd makes.
    pub systemd: bool,
}

/// A container that waits to be started.
#[derive(Debug)]
pub struct Created {
    /// Its process.
    pub pidfd: OwnedFd,
    /// What is unusual about it, for whoever asked.
    pub warnings: Vec<String>,
    terminal: Option<OwnedFd>,
}

impl Runtime {
    /// Makes a container and leaves its process waiting for [`Runtime::start`]. Call it while this process has one
    /// thread.
    ///
    /// # Errors
    /// The name is taken, the configuration is wrong, or a step fails; then nothing is left of the container.
    pub fn create(&self, options: &CreateOptions) -> Result<Created, OciError> {
        sealed::ensure().map_err(OciError::file("seal the program"))?;
        let tree = Tree::detect()?;
        let plan = plan(options, &tree)?;
        let directory = self.claim(&options.id)?;
        let made = self.make_in_scope(options, plan, &directory, &tree);
        made.inspect_err(|_| drop(fs::remove_dir_all(&directory)))
    }

    /// Makes it where systemd wants it, if it is to be asked.
    fn make_in_scope(
        &self,
        options: &CreateOptions,
        plan: Plan,
        directory: &Path,
        tree: &Tree,
    ) -> Result<Created, OciError> {
        let Some((scope, place)) = plan.scope.clone() else { return self.make(options, plan, directory, tree) };
        let begun = Begun::begin(&scope, place, &options.id, tree)?;
        let made = self.make(options, plan, directory, tree).and_then(|made| begun.finish(tree).map(|()| made));
        made.inspect_err(|_| drop(stack_cgroup::stop_scope(&scope.unit)))
    }

    fn make(
        &self,
        options: &CreateOptions,
        mut plan: Plan,
        directory: &Path,
        tree: &Tree,
    ) -> Result<Created, OciError> {
        let resources = plan.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let is_new = tree.create(&plan.cgroup)?;
        if !is_new && tree.is_frozen(&plan.cgroup) {
            // Its process would never get as far as saying anything.
            let path = plan.cgroup.display();
            return Err(OciError::Spec(format!(
                "the container's cgroup unexpectedly frozen: thaw {path}, or choose another"
            )));
        }
        let mut warnings = Vec::new();
        if !is_new && !tree.processes(&plan.cgroup).is_empty() {
            warnings.push(format!("container's cgroup is not empty: {}", plan.cgroup.display()));
        }
        let undo = |error: OciError| {
            if is_new {
                drop(tree.remove(&plan.cgroup));
            }
            error
        };
        if let Some(resources) = resources {
            tree.set(&plan.cgroup, &resources::lower(resources, tree.is_v2()))
                .and_then(|()| tree.restrict_devices(&plan.cgroup, &resources::devices(resources)))
                .map_err(|error| undo(error.into()))?;
        }
        let listener = listen_at(directory).map_err(OciError::file("listen for `start`")).map_err(undo)?;
        let (reports, theirs) = wire::pair().map_err(OciError::file("make a socket")).map_err(undo)?;
        let join = tree.join(&plan.cgroup).map_err(|error| undo(error.into()))?;
        plan.init.cgroup_tasks.clone_from(&join.tasks);
        let (pid, pidfd, reports) = spawn(&plan, &join, (reports, theirs), listener).map_err(undo)?;
        let follow = || -> Result<Created, OciError> {
            if plan.born_in.user {
                owners::write_own_maps(&plan.spec, pid)?;
            }
            self.give_interfaces(&plan, pid)?;
            // One that has given up already says why in its report.
            drop(order(&reports, &Order::Begin(pid)));
            let terminal = self.follow(options, &plan, pid, &reports)?;
            let pidfd = pidfd.try_clone().map_err(OciError::file("keep the process"))?;
            Ok(Created { pidfd, warnings, terminal })
        };
        follow().map_err(|error| {
            drop(process::signal(pidfd.as_fd(), nix::libc::SIGKILL));
            process::exit_of(pidfd.as_fd());
            tree.wait_empty(&plan.cgroup);
            undo(error)
        })
    }

    /// Moves interfaces to the new process, which has its namespaces and goes no further before it is told to. What is
    /// not real goes with the namespace when the rest does not work, as it does when the container ends.
    fn give_interfaces(&self, plan: &Plan, pid: u32) -> Result<(), OciError> {
        let devices = plan.spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
        let Some(devices) = devices.filter(|devices| !devices.is_empty()) else { return Ok(()) };
        let Some(give) = self.give_interface else {
            return Err(OciError::Spec("`linux.netDevices` is not supported here; remove it".to_owned()));
        };
        let path = format!("/proc/{pid}/ns/net");
        let namespace = fs::File::open(&path).map_err(OciError::file("open the network namespace"))?;
        for (name, device) in devices {
            let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
            give(name, inside, namespace.as_fd())
                .map_err(|reason| OciError::Step(StepFailure::because("move the network device", name, reason)))?;
        }
        Ok(())
    }

    /// Follows the new process until it waits for `start`, and writes everything down.
    fn follow(
        &self,
        options: &CreateOptions,
        plan: &Plan,
        pid: u32,
        reports: &OwnedFd,
    ) -> Result<Option<OwnedFd>, OciError> {
        let mut terminal = None;
        loop {
            let received = wire::receive::<Report>(reports.as_fd()).map_err(OciError::file("hear from the process"))?;
            match received {
                Some((Report::Mounted, _)) => {
                    let hooks = plan.spec.hooks().as_ref();
                    // The environment is there, which is what the specification calls created (runtime.md, "State").
                    let text = hooks::state_text(&plan.state, "created", Some(pid));
                    let before = hooks.and_then(|hooks| hooks.prestart().clone());
                    let runtime = hooks.and_then(|hooks| hooks.create_runtime().clone());
                    for list in [before, runtime].into_iter().flatten() {
                        let list: Vec<_> = list.iter().map(lower::hook).collect();
                        hooks::run(&list, &text).map_err(OciError::Step)?;
                    }
                    order(reports, &Order::GoOn)?;
                }
                Some((Report::Terminal, mut attached)) => terminal = attached.pop(),
                Some((Report::Created, _)) => break,
                Some((Report::Born, _)) => {}
                Some((Report::Failed(failure), _)) => return Err(OciError::Step(failure)),
                None => {
                    return Err(OciError::Step(StepFailure::because("create", &options.id, "its process has ended")));
                }
            }
        }
        if let (Some(socket), Some(master)) = (&options.console_socket, &terminal) {
            send_terminal(socket, master).map_err(OciError::file(format!("send to {}", socket.display())))?;
            terminal = None;
        }
        self.save(&record(options, plan, pid), &plan.text)?;
        if let Some(file) = &options.pid_file {
            fs::write(file, pid.to_string()).map_err(OciError::file("write the pid file"))?;
        }
        Ok(terminal)
    }

    /// Lets a created container execute its program.
    ///
    /// # Errors
    /// It is not waiting, or the program cannot be executed.
    pub fn start(&self, id: &str) -> Result<(), OciError> {
        let state = self.load(id)?;
        let status = self.status(&state);
        if status != "created" {
            return Err(OciError::Status { operation: "start", id: id.to_owned(), status: status.to_owned() });
        }
        let directory = self.directory(id);
        let socket = unix_socket().map_err(OciError::file("make a socket"))?;
        let place = open_directory(&directory).map_err(OciError::file("open the state"))?;
        let address = address_in(&place).map_err(OciError::file("reach the process"))?;
        connect(&socket, &address).map_err(|error| OciError::file("reach the process")(error.into()))?;
        // From here on it is no longer `created`, whatever happens.
        fs::remove_file(directory.join(START_SOCKET)).map_err(OciError::file("write the state"))?;
        order(&socket, &Order::GoOn)?;
        match wire::receive::<Refusal>(socket.as_fd()) {
            Ok(Some((Refusal(failure), _))) => return Err(OciError::Step(failure)),
            Ok(None) => {}
            Err(error) => return Err(OciError::file("hear from the process")(error)),
        }
        let text = hooks::state_text(&state.shown(), "running", Some(state.pid));
        hooks::run(&state.poststart, &text).map_err(OciError::Step)
    }

    /// Creates and starts; unless detached, follows the program to its end, removes the container, and returns the
    /// exit code the way a shell shows it. `warn` is told what is unusual.
    ///
    /// # Errors
    /// As [`Runtime::create`] and [`Runtime::start`].
    pub fn run(
        &self,
        options: &CreateOptions,
        (detach, keep): (bool, bool),
        warn: &dyn Fn(&str),
    ) -> Result<i32, OciError> {
        let created = self.create(options)?;
        created.warnings.iter().for_each(|text| warn(text));
        // Before the program can be there: a signal that comes early waits until it can be passed on.
        let signals = (!detach).then(relay::Signals::catch).transpose().map_err(OciError::file("catch signals"))?;
        created.terminal.iter().for_each(relay::adapt);
        if let Err(error) = self.start(&options.id) {
            drop(self.delete(&options.id, true));
            return Err(error);
        }
        let Some(signals) = signals else { return Ok(0) };
        let code = relay::follow_program(created.pidfd, created.terminal, &signals)?;
        if !keep {
            self.delete(&options.id, true)?;
        }
        Ok(code)
    }
}

fn record(options: &CreateOptions, plan: &Plan, pid: u32) -> State {
    let hooks = plan.spec.hooks().as_ref();
    let lowered = |list: Option<&Option<Vec<oci_spec::runtime::Hook>>>| {
        list.into_iter().flatten().flatten().map(lower::hook).collect::<Vec<_>>()
    };
    State {
        id: options.id.clone(),
        oci_version: plan.spec.version().clone(),
        pid,
        start_ticks: process::start_ticks(pid).unwrap_or(0),
        bundle: options.bundle.clone(),
        rootfs: plan.init.root.mountpoint.clone(),
        cgroup: plan.cgroup.clone(),
        scope: plan.scope.as_ref().map(|(scope, _)| scope.unit.clone()),
        created: now(),
        annotations: annotations(&plan.spec),
        poststart: lowered(hooks.map(oci_spec::runtime::Hooks::poststart)),
        poststop: lowered(hooks.map(oci_spec::runtime::Hooks::poststop)),
        owner: rustix::process::getuid().as_raw(),
    }
}

fn order(to: &OwnedFd, order: &Order) -> Result<(), OciError> {
    wire::send(to.as_fd(), order, &[]).map_err(OciError::file("tell the process"))
}
