//! Everything that is ready before the clone.

use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use fs_err as fs;
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;
use serde_json::{Map, Value};
use stack_cgroup::{Scope, Tree};
use stack_sys::Namespaces;

use super::OciError;
use super::create::CreateOptions;
use super::document::read_spec;
use super::lower::{self, Surroundings};
use super::lower_process;
use super::owners::{prepare_devices, prepare_sources};
use super::scope;
use super::state::shown;
use crate::seccomp::Listener;
use crate::spec::{CgroupView, InitSpec, NamespaceSpec};

/// Everything that is ready before the clone.
pub(super) struct Plan {
    pub(super) spec: Spec,
    pub(super) text: Vec<u8>,
    pub(super) init: InitSpec,
    pub(super) cgroup: PathBuf,
    /// The scope of systemd that the cgroup lies in, and where it is.
    pub(super) scope: Option<(Scope, PathBuf)>,
    pub(super) born_in: Namespaces,
    /// Joined around the clone.
    pub(super) joined: Vec<(OwnedFd, LinkNameSpaceType)>,
    /// The user namespace that the process is made in, and belongs to.
    pub(super) users: Option<OwnedFd>,
    /// Joined by the process itself.
    pub(super) inner: Vec<(OwnedFd, LinkNameSpaceType)>,
    pub(super) prepared: Vec<OwnedFd>,
    pub(super) state: Map<String, Value>,
}

/// Reads the bundle and renders all of it.
pub(super) fn plan(options: &CreateOptions, tree: &Tree) -> Result<Plan, OciError> {
    let file = options.bundle.join(&options.config);
    let text = fs::read(&file).map_err(OciError::file(format!("read {}", file.display())))?;
    let spec = read_spec(&text)?;
    check(&spec, options, tree)?;
    let scope = if options.systemd { Some(scope::asked(&spec, &options.id)?) } else { None };
    let cgroup = match &scope {
        Some((_, place)) => place.join(scope::CONTAINER),
        None => lower::cgroup_path(&spec, &options.id),
    };
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
        mount_label: spec.linux().as_ref().and_then(mount_label),
        namespaces,
    };
    let mut init = lower::lower(&spec, around)?;
    if let Some(filter) = init.process.seccomp.as_mut().filter(|filter| filter.notifies) {
        let mut state = state.clone();
        state.insert("status".to_owned(), "creating".into());
        filter.listener = Some(find_listener(&spec, state)?);
    }
    if sockets > 0 {
        // The program is process 1 of its own.
        let variables = [("LISTEN_FDS", sockets.to_string()), ("LISTEN_PID", "1".to_owned())];
        init.process.env.retain(|(name, _)| variables.iter().all(|(own, _)| name != own));
        init.process.env.extend(variables.map(|(name, value)| (name.to_owned(), value)));
    }
    let mut prepared = prepare_sources(&spec, &options.bundle, outside)?;
    if outside {
        prepare_devices(&spec, init.devices.iter_mut().flatten(), &mut prepared)?;
    }
    Ok(Plan { spec, text, init, cgroup, scope, born_in, joined, users, inner, prepared, state })
}

/// The label of the files on new mounts. It confines nobody by itself: where nothing reads labels it is none.
fn mount_label(linux: &Linux) -> Option<String> {
    let label = linux.mount_label().clone().filter(|label| !label.is_empty());
    label.filter(|_| lower_process::Module::Selinux.is_there())
}

/// Sockets that whoever called passes to the program: descriptors from 3 on (sd_listen_fds(3)).
fn passed_sockets() -> i32 {
    let asked = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok());
    asked.filter(|count| (1..=1024).contains(count)).unwrap_or(0)
}

fn has_devices_without_namespace(spec: &Spec) -> bool {
    let Some(linux) = spec.linux() else { return false };
    let mut namespaces = linux.namespaces().iter().flatten();
    linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())
        && !namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Network)
}

fn check(spec: &Spec, options: &CreateOptions, tree: &Tree) -> Result<(), OciError> {
    let wrong = |text: &str| Err(OciError::Spec(text.to_owned()));
    let mut version = spec.version().split('.');
    match (version.next().map(str::parse::<u32>), version.next().map(str::parse::<u32>)) {
        (Some(Ok(1)), Some(Ok(0..=3))) => {}
        _ => return Err(OciError::Spec(format!("`ociVersion` {} is not one of 1.0.0 to 1.3.0", spec.version()))),
    }
    lower::refuse_unsupported(spec)?;
    if has_devices_without_namespace(spec) {
        return wrong("`linux.netDevices` are moved to the container's network namespace, and it has none of its own");
    }
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let unified = resources.and_then(|resources| resources.unified().as_ref());
    if unified.is_some_and(|unified| !unified.is_empty()) && !tree.is_v2() {
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

pub(super) fn annotations(spec: &Spec) -> Map<String, Value> {
    spec.annotations().clone().unwrap_or_default().into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Connects to the socket of whoever decides about the calls that a filter passes on, before the container's
/// namespaces hide it.
pub(super) fn find_listener(spec: &Spec, state: Map<String, Value>) -> Result<Listener, OciError> {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let path = seccomp.and_then(|seccomp| seccomp.listener_path().as_ref());
    let missing = || OciError::Spec("seccomp: SCMP_ACT_NOTIFY needs a `listenerPath`".to_owned());
    let path = path.ok_or_else(missing)?;
    let metadata = seccomp.and_then(|seccomp| seccomp.listener_metadata().clone()).unwrap_or_default();
    let message = serde_json::json!({
        "ociVersion": spec.version(), "fds": ["seccompFd"], "pid": 0, "metadata": metadata, "state": state,
    });
    let stream = std::os::unix::net::UnixStream::connect(path).map_err(|error| {
        OciError::Spec(format!("failed to connect with seccomp agent at `listenerPath` {}: {error}", path.display()))
    })?;
    let descriptor: RawFd = std::os::fd::IntoRawFd::into_raw_fd(stream);
    Ok(Listener { descriptor, message: message.to_string() })
}
