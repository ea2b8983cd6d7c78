//! `create`, `start` and `run`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stack_cgroup::{Join, Tree};
use stack_sys::{Cloned, MountChange, Namespaces, SingleThreaded, change_mount, clone_process};

use super::document::read_spec;
use super::lower::{self, Surroundings};
use super::state::{START_SOCKET, State, now, shown};
use super::{OciError, Runtime, mount_options, resources};
use crate::attached::relay;
use crate::error::StepFailure;
use crate::init::{self, Course};
use crate::seccomp::Listener;
use crate::spawner::{sealed, wire};
use crate::spec::{CgroupView, InitSpec, NamespaceSpec};
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

/// From `create` to the new process.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// The maps are written; this is its id as the host sees it.
    Begin(u32),
    /// The cgroups are joined, and the hooks have run.
    GoOn,
}

/// From the new process to `create`.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The pidfd of the process that belongs to other users is attached.
    Born,
    Mounted,
    /// The master is attached.
    Terminal,
    Created,
    Failed(StepFailure),
}

/// From the process that waits to `start`.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal(StepFailure);

/// Everything that is ready before the clone.
struct Plan {
    spec: Spec,
    text: Vec<u8>,
    init: InitSpec,
    cgroup: PathBuf,
    born_in: Namespaces,
    /// Joined around the clone.
    joined: Vec<(OwnedFd, LinkNameSpaceType)>,
    /// The user namespace that the process is made in, and belongs to.
    users: Option<OwnedFd>,
    /// Joined by the process itself.
    inner: Vec<(OwnedFd, LinkNameSpaceType)>,
    prepared: Vec<OwnedFd>,
    state: Map<String, Value>,
}

impl Runtime {
    /// Makes a container and leaves its process waiting for [`Runtime::start`]. Call it while this process has one
    /// thread.
    ///
    /// # Errors
    /// The name is taken, the configuration is wrong, or a step fails; then nothing is left of the container.
    pub fn create(&self, options: &CreateOptions) -> Result<Created, OciError> {
        sealed::ensure().map_err(OciError::file("seal the program"))?;
        let plan = plan(options)?;
        let directory = self.claim(&options.id)?;
        let tree = Tree::detect()?;
        let made = self.make(options, plan, &directory, &tree);
        made.inspect_err(|_| drop(fs::remove_dir_all(&directory)))
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
        let mut warnings = Vec::new();
        if !is_new && !tree.processes(&plan.cgroup).is_empty() {
            warnings.push(format!("container's cgroup is not empty: {}", plan.cgroup.display()));
        }
        let settings = resources.map(|resources| resources::lower(resources, tree.is_v2(), true)).unwrap_or_default();
        let undo = |error: OciError| {
            if is_new {
                drop(tree.remove(&plan.cgroup));
            }
            error
        };
        tree.set(&plan.cgroup, &settings).map_err(|error| undo(error.into()))?;
        let listener = listen_at(directory).map_err(OciError::file("listen for `start`")).map_err(undo)?;
        let (reports, theirs) = wire::pair().map_err(OciError::file("make a socket")).map_err(undo)?;
        let join = tree.join(&plan.cgroup).map_err(|error| undo(error.into()))?;
        plan.init.cgroup_tasks.clone_from(&join.tasks);
        let (pid, pidfd, reports) = spawn(&plan, &join, (reports, theirs), listener).map_err(undo)?;
        let follow = || -> Result<Created, OciError> {
            prepare(&plan, pid)?;
            order(&reports, &Order::Begin(pid))?;
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

fn order(to: &OwnedFd, order: &Order) -> Result<(), OciError> {
    wire::send(to.as_fd(), order, &[]).map_err(OciError::file("tell the process"))
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
        created: now(),
        annotations: annotations(&plan.spec),
        poststart: lowered(hooks.map(oci_spec::runtime::Hooks::poststart)),
        poststop: lowered(hooks.map(oci_spec::runtime::Hooks::poststop)),
        owner: rustix::process::getuid().as_raw(),
    }
}

fn annotations(spec: &Spec) -> Map<String, Value> {
    spec.annotations().clone().unwrap_or_default().into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Reads the bundle and renders all of it.
fn plan(options: &CreateOptions) -> Result<Plan, OciError> {
    let file = options.bundle.join(&options.config);
    let text = fs::read(&file).map_err(OciError::file(format!("read {}", file.display())))?;
    let spec = read_spec(&text)?;
    check(&spec, options)?;
    let tree = Tree::detect()?;
    let cgroup = lower::cgroup_path(&spec, &options.id);
    let views = tree.hierarchies().into_iter().map(|(hierarchy, mount)| CgroupView {
        hierarchy,
        directory: mount.join(cgroup.strip_prefix("/").unwrap_or(&cgroup)),
    });
    let (born_in, joined, mut inner, namespaces) = namespaces(&spec)?;
    let users = inner.pop_if(|(_, kind)| *kind == LinkNameSpaceType::User).map(|(users, _)| users);
    let sockets = passed_sockets();
    let has_users = born_in.user || users.is_some();
    // Without root's rights outside there is nothing that could be opened there in advance.
    let outside = has_users && rustix::process::geteuid().is_root();
    let state = shown(spec.version(), &options.id, &options.bundle, &annotations(&spec));
    let around = Surroundings {
        bundle: &options.bundle,
        cgroup_views: views.collect(),
        preserved: options.preserve_fds + sockets,
        no_pivot: options.no_pivot,
        outside,
        state: state.clone(),
        namespaces,
    };
    let mut init = lower::lower(&spec, around)?;
    if let Some(filter) = init.process.seccomp.as_mut().filter(|filter| filter.notifies) {
        filter.listener = Some(find_listener(&spec, &state)?);
    }
    if sockets > 0 {
        // The program is process 1 of its own.
        let variables = [("LISTEN_FDS", sockets.to_string()), ("LISTEN_PID", "1".to_owned())];
        init.process.env.retain(|(name, _)| variables.iter().all(|(own, _)| name != own));
        init.process.env.extend(variables.map(|(name, value)| (name.to_owned(), value)));
    }
    let prepared = prepare_sources(&spec, &options.bundle, outside)?;
    Ok(Plan { spec, text, init, cgroup, born_in, joined, users, inner, prepared, state })
}

/// Sockets that whoever called passes to the program: descriptors from 3 on (sd_listen_fds(3)).
fn passed_sockets() -> i32 {
    let asked = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok());
    asked.filter(|count| (1..=1024).contains(count)).unwrap_or(0)
}

fn check(spec: &Spec, options: &CreateOptions) -> Result<(), OciError> {
    let wrong = |text: &str| Err(OciError::Spec(text.to_owned()));
    let mut version = spec.version().split('.');
    match (version.next().map(str::parse::<u32>), version.next().map(str::parse::<u32>)) {
        (Some(Ok(1)), Some(Ok(0..=3))) => {}
        _ => return Err(OciError::Spec(format!("`ociVersion` {} is not one of 1.0.0 to 1.3.0", spec.version()))),
    }
    lower::refuse_unsupported(spec)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let unified = resources.and_then(|resources| resources.unified().as_ref());
    if unified.is_some_and(|unified| !unified.is_empty()) && Tree::detect().is_ok_and(|tree| !tree.is_v2()) {
        return wrong("invalid configuration: `linux.resources.unified` needs cgroup v2");
    }
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
    if options.console_socket.is_some() && !terminal {
        return wrong("a console socket is given, and `process.terminal` is not set");
    }
    let root = spec.root().as_ref().map(|root| options.bundle.join(root.path()));
    if let Some(root) = root.filter(|root| !root.is_dir()) {
        return Err(OciError::Spec(format!("the root filesystem {} is no directory", root.display())));
    }
    let linux = spec.linux().as_ref();
    let asks = |kind| linux.is_some_and(|linux| namespace(linux.namespaces().as_deref(), kind).is_some());
    if spec.hostname().as_ref().is_some_and(|name| !name.is_empty()) && !asks(LinuxNamespaceType::Uts) {
        return wrong("`hostname` needs a UTS namespace of its own");
    }
    for name in linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten().map(|(name, _)| name) {
        let name = name.replace('/', ".");
        let ipc = ["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."].iter().any(|start| name.starts_with(start));
        let own = ipc && asks(LinuxNamespaceType::Ipc)
            || name.starts_with("net.") && asks(LinuxNamespaceType::Network)
            || name == "kernel.domainname" && asks(LinuxNamespaceType::Uts);
        if !own {
            return Err(OciError::Spec(format!("the sysctl `{name}` is not in a namespace of the container's own")));
        }
    }
    Ok(())
}

fn namespace(all: Option<&[LinuxNamespace]>, kind: LinuxNamespaceType) -> Option<&LinuxNamespace> {
    all?.iter().find(|one| one.typ() == kind)
}

type Joined = Vec<(OwnedFd, LinkNameSpaceType)>;

/// Those that the process is born in, those that are joined around the clone, those that it joins itself, and those
/// that it makes later.
fn namespaces(spec: &Spec) -> Result<(Namespaces, Joined, Joined, NamespaceSpec), OciError> {
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    let (mut born, mut joined, mut inner) = (Namespaces::default(), Vec::new(), Vec::new());
    let mut own = NamespaceSpec::default();
    for one in all.unwrap_or_default() {
        let kind = match one.typ() {
            LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
            LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
            LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
            LinuxNamespaceType::User => LinkNameSpaceType::User,
            LinuxNamespaceType::Pid => LinkNameSpaceType::ProcessID,
            LinuxNamespaceType::Network => LinkNameSpaceType::Network,
            LinuxNamespaceType::Time => LinkNameSpaceType::Time,
        };
        own.mount |= one.typ() == LinuxNamespaceType::Mount;
        if let Some(path) = one.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            let open = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let open = open.map_err(|error| OciError::file(format!("open {}", path.display()))(error.into()))?;
            let itself = matches!(one.typ(), LinuxNamespaceType::Mount | LinuxNamespaceType::User);
            if itself {
                inner.push((open, kind))
            } else {
                joined.push((open, kind))
            }
            continue;
        }
        match one.typ() {
            LinuxNamespaceType::Mount => born.mount = true,
            LinuxNamespaceType::Cgroup => own.cgroup = true,
            LinuxNamespaceType::Uts => born.uts = true,
            LinuxNamespaceType::Ipc => born.ipc = true,
            LinuxNamespaceType::User => born.user = true,
            LinuxNamespaceType::Pid => born.pid = true,
            LinuxNamespaceType::Network => born.network = true,
            LinuxNamespaceType::Time => own.time = Some(lower::time_offsets(spec)),
        }
    }
    // The users are taken from the end.
    inner.sort_by_key(|(_, kind)| *kind == LinkNameSpaceType::User);
    Ok((born, joined, inner, own))
}

/// Clones the process in the namespaces that are joined for that moment.
fn spawn(
    plan: &Plan,
    join: &Join,
    (reports, theirs): (OwnedFd, OwnedFd),
    listener: OwnedFd,
) -> Result<(u32, OwnedFd, OwnedFd), OciError> {
    let several = || io::Error::other("the process has several threads");
    let whole = SingleThreaded::prove().ok_or_else(several).map_err(OciError::file("clone a process"))?;
    let mut back = Vec::new();
    for (namespace, kind) in &plan.joined {
        let name = match *kind {
            LinkNameSpaceType::ControlGroup => "cgroup",
            LinkNameSpaceType::HostNameAndNISDomainName => "uts",
            LinkNameSpaceType::InterProcessCommunication => "ipc",
            LinkNameSpaceType::ProcessID => "pid",
            LinkNameSpaceType::Time => "time",
            _ => "net",
        };
        let own = rustix::fs::open(format!("/proc/self/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        back.push((own.map_err(|error| OciError::file("open a namespace")(error.into()))?, *kind));
        move_into_link_name_space(namespace.as_fd(), Some(*kind))
            .map_err(|error| OciError::file(format!("join the {name} namespace"))(error.into()))?;
    }
    let cgroup = join.v2_dir.as_ref().map(AsFd::as_fd);
    let namespaces = if plan.users.is_some() { Namespaces::default() } else { plan.born_in };
    match clone_process(whole, namespaces, false, cgroup).map_err(OciError::file("clone a process"))? {
        Cloned::Child => {
            // The end of the socket is to be seen when the runtime is gone.
            drop(reports);
            // Into the cgroups first: they belong to whoever the process is outside.
            let ready = init::join_cgroups(&plan.init.cgroup_tasks).and_then(|()| match &plan.users {
                Some(users) => follow_users(plan, users, &theirs, whole),
                None => become_root(plan.born_in.user),
            });
            become_container(plan, ready, (&theirs, &listener), whole)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            for (own, kind) in back {
                move_into_link_name_space(own.as_fd(), Some(kind))
                    .map_err(|error| OciError::file("return to the host's namespaces")(error.into()))?;
            }
            if plan.users.is_none() {
                return Ok((pid, pidfd, reports));
            }
            let born = born(&reports);
            process::exit_of(pidfd.as_fd());
            born.map(|(pid, pidfd)| (pid, pidfd, reports))
        }
    }
}

/// The process that its leader tells of.
fn born(reports: &OwnedFd) -> Result<(u32, OwnedFd), OciError> {
    let told = wire::receive::<Report>(reports.as_fd()).map_err(OciError::file("hear from the process"))?;
    match told {
        Some((Report::Born, mut attached)) => {
            let pidfd = attached.pop();
            let pid = pidfd.as_ref().and_then(|pidfd| process::id_of(pidfd.as_fd()));
            let pid = pid.and_then(|pid| u32::try_from(pid).ok());
            pid.zip(pidfd).ok_or_else(|| OciError::Step(StepFailure::because("clone", "a process", "it has ended")))
        }
        Some((Report::Failed(failure), _)) => Err(OciError::Step(failure)),
        _ => Err(OciError::Step(StepFailure::because("clone", "a process", "its leader has ended"))),
    }
}

/// Joins a user namespace, and is its process's sibling from then on: what is made there belongs to its users, and a
/// process that has joined cannot go back. Returns in the sibling.
fn follow_users(plan: &Plan, users: &OwnedFd, create: &OwnedFd, whole: SingleThreaded) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("join", "the user namespace", error);
    move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User)).map_err(failed)?;
    become_root(true)?;
    let cloned = clone_process(whole, plan.born_in, true, None);
    match cloned.map_err(|error| StepFailure::new("clone", "a process", error))? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pidfd, .. } => {
            drop(wire::send(create.as_fd(), &Report::Born, &[pidfd.as_fd()]));
            stack_sys::end_process(0)
        }
    }
}

/// The new process's side.
fn become_container(
    plan: &Plan,
    ready: Result<(), StepFailure>,
    (create, listener): (&OwnedFd, &OwnedFd),
    whole: SingleThreaded,
) -> ! {
    if let Err(failure) = ready {
        drop(wire::send(create.as_fd(), &Report::Failed(failure), &[]));
        stack_sys::end_process(1)
    }
    let told = |wanted: fn(&Order) -> bool| match wire::receive::<Order>(create.as_fd()) {
        Ok(Some((order, _))) if wanted(&order) => Some(order),
        _ => None,
    };
    let Some(Order::Begin(pid)) = told(|order| matches!(order, Order::Begin(_))) else { stack_sys::end_process(1) };
    let started = std::cell::OnceCell::new();
    let mounted = || {
        let lost = |error: io::Error| StepFailure::new("tell", "the runtime", error);
        wire::send(create.as_fd(), &Report::Mounted, &[]).map_err(lost)?;
        let gone = || StepFailure::because("go on", "", "the runtime has ended");
        told(|order| matches!(order, Order::GoOn)).map(drop).ok_or_else(gone)
    };
    let terminal = |master: OwnedFd| {
        wire::send(create.as_fd(), &Report::Terminal, &[master.as_fd()])
            .map_err(|error| StepFailure::new("pass on", "the terminal", error))
    };
    let may_go = || {
        if wire::send(create.as_fd(), &Report::Created, &[]).is_err() {
            return false;
        }
        let accepted = rustix::io::retry_on_intr(|| accept_with(listener, SocketFlags::CLOEXEC));
        let Ok(connection) = accepted else { return false };
        let is_told = matches!(wire::receive::<Order>(connection.as_fd()), Ok(Some((Order::GoOn, _))));
        drop(started.set(connection));
        is_told
    };
    let mut spec = plan.init.clone();
    if let Some(listener) = spec.process.seccomp.as_mut().and_then(|filter| filter.listener.as_mut()) {
        listener.say(pid);
    }
    let course = Course {
        joined: &plan.inner,
        prepared: &plan.prepared,
        pid: Some(pid),
        mounted: &mounted,
        terminal: &terminal,
        may_go: &may_go,
    };
    let failure = init::run(&spec, &course, whole);
    drop(match started.get() {
        Some(connection) => wire::send(connection.as_fd(), &Refusal(failure), &[]),
        None => wire::send(create.as_fd(), &Report::Failed(failure), &[]),
    });
    stack_sys::end_process(1)
}

/// In a user namespace of its own the process is nobody until it takes an id that is mapped.
fn become_root(is_inside: bool) -> Result<(), StepFailure> {
    if !is_inside {
        return Ok(());
    }
    let failed = |error: rustix::io::Errno| StepFailure::new("become root of", "the user namespace", error);
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)
}

/// What has to be done to the new process from outside.
fn prepare(plan: &Plan, pid: u32) -> Result<(), OciError> {
    if plan.born_in.user {
        let linux = plan.spec.linux().as_ref();
        let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
        let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
        write_maps(pid, uids, gids).map_err(OciError::file("map the users"))?;
    }
    Ok(())
}

fn write_maps(pid: u32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> io::Result<()> {
    let text = |maps: &[LinuxIdMapping]| {
        let lines = maps.iter().map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size()));
        lines.collect::<String>()
    };
    for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
        if !maps.is_empty() {
            fs::write(format!("/proc/{pid}/{file}"), text(maps))?;
        }
    }
    Ok(())
}

/// A copy of the source of each mount that needs one, in the order of the mounts.
fn prepare_sources(spec: &Spec, bundle: &Path, outside: bool) -> Result<Vec<OwnedFd>, OciError> {
    let mut prepared = Vec::new();
    let linux = spec.linux().as_ref();
    for mount in spec.mounts().iter().flatten() {
        let options = mount_options::parse(mount.options().iter().flatten().map(String::as_str));
        if !lower::is_prepared(mount, &options, outside) {
            continue;
        }
        let source = bundle.join(mount.source().clone().unwrap_or_default());
        let open = || -> io::Result<OwnedFd> {
            let place = rustix::fs::open(&source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            init::clone_mount(place.as_fd(), options.bind.unwrap_or(true))
        };
        let copy = open().map_err(OciError::file(format!("open the source {}", source.display())))?;
        if mount.uid_mappings().is_none() && options.idmap.is_none() {
            prepared.push(copy);
            continue;
        }
        let own = |mounts: &Option<Vec<LinuxIdMapping>>, containers: Option<Vec<LinuxIdMapping>>| {
            mounts.clone().or(containers).unwrap_or_default()
        };
        let uids = own(mount.uid_mappings(), linux.and_then(|linux| linux.uid_mappings().clone()));
        let gids = own(mount.gid_mappings(), linux.and_then(|linux| linux.gid_mappings().clone()));
        let map = || -> io::Result<()> {
            let map = user_map(&uids, &gids)?;
            let recursive = options.idmap.unwrap_or(false);
            let change = MountChange { idmap: Some(map.as_fd()), recursive, ..MountChange::default() };
            change_mount(copy.as_fd(), &change)
        };
        map().map_err(OciError::file(format!("map the owners of {}", source.display())))?;
        prepared.push(copy);
    }
    Ok(prepared)
}

/// A user namespace with these maps. A process holds it just long enough to be opened.
fn user_map(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> io::Result<OwnedFd> {
    let whole = SingleThreaded::prove().ok_or_else(|| io::Error::other("the process has several threads"))?;
    let (ours, theirs) = wire::pair()?;
    let namespaces = Namespaces { user: true, ..Namespaces::default() };
    match clone_process(whole, namespaces, false, None)? {
        Cloned::Child => {
            drop(ours);
            drop(wire::receive::<Order>(theirs.as_fd()));
            stack_sys::end_process(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let opened = write_maps(pid, uids, gids).and_then(|()| {
                let path = format!("/proc/{pid}/ns/user");
                Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
            });
            drop(ours);
            process::exit_of(pidfd.as_fd());
            opened
        }
    }
}

fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Through a descriptor: a socket's path has 107 bytes at most, and the directory's may be longer (unix(7)).
fn address_in(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{START_SOCKET}", directory.as_raw_fd()))?)
}

fn listen_at(directory: &Path) -> io::Result<OwnedFd> {
    let place = open_directory(directory)?;
    let socket = unix_socket()?;
    bind(&socket, &address_in(&place)?)?;
    listen(&socket, 1)?;
    Ok(socket)
}

/// Sends the master of a terminal the way engines expect it: a stream socket, the descriptor with its name as data.
pub(super) fn send_terminal(socket: &Path, master: &OwnedFd) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    wire::send_bytes(stream.as_fd(), b"/dev/ptmx", &[master.as_fd()])
}

/// Connects to the socket of whoever decides about the calls that a filter passes on, before the container's
/// namespaces hide it.
fn find_listener(spec: &Spec, state: &Map<String, Value>) -> Result<Listener, OciError> {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let path = seccomp.and_then(|seccomp| seccomp.listener_path().as_ref());
    let missing = || OciError::Spec("seccomp: SCMP_ACT_NOTIFY needs a `listenerPath`".to_owned());
    let path = path.ok_or_else(missing)?;
    let metadata = seccomp.and_then(|seccomp| seccomp.listener_metadata().clone()).unwrap_or_default();
    let mut state = state.clone();
    state.insert("status".to_owned(), "creating".into());
    let message = serde_json::json!({
        "ociVersion": spec.version(), "fds": ["seccompFd"], "pid": 0, "metadata": metadata, "state": state,
    });
    let stream = std::os::unix::net::UnixStream::connect(path)
        .map_err(OciError::file(format!("connect to the seccomp listener {}", path.display())))?;
    let descriptor: RawFd = std::os::fd::IntoRawFd::into_raw_fd(stream);
    Ok(Listener { descriptor, message: message.to_string() })
}
