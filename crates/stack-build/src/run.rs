//! A program in the container of a step: the same runtime that runs services.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, poll};
use stack_cgroup::Hierarchy;
use stack_image::StoredLayer;
use stack_model::{
    BuildNetwork, Bytes, Container, ContainerId, ContainerSpec, Exit, ImageId, Limits, Millis, NetworkMode, Now,
    Process, ResolvedMount, ResolvedSource, ServiceName, Ulimit,
};
use stack_runtime::{GeneratedFile, RuntimeError, Spawner, StartSpec};

use crate::error::BuildError;
use crate::network::{BuildNet, Place};
use crate::workshop::Workshop;

/// What docker allows and the services of a project do not get by default.
const MORE_CAPABILITIES: [&str; 3] = ["MKNOD", "NET_RAW", "AUDIT_WRITE"];
/// Where resolvers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What to run and with what.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) network: BuildNetwork,
    pub(crate) mounts: Vec<ResolvedMount>,
    pub(crate) extra_hosts: Vec<(String, String)>,
    pub(crate) shm_size: Option<u64>,
    pub(crate) ulimits: BTreeMap<String, Ulimit>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    /// The directory that holds what it changed.
    pub(crate) upper: PathBuf,
    /// Paths that are there for mounts only, relative to the root.
    pub(crate) mount_points: Vec<PathBuf>,
    /// The container, to be removed.
    pub(crate) container: ContainerId,
}

/// What a runner needs of its surroundings.
pub(crate) struct Runner<'r> {
    pub(crate) spawner: &'r Spawner,
    pub(crate) hierarchy: &'r Hierarchy,
    pub(crate) workshop: &'r Workshop<'r>,
}

impl Runner<'_> {
    /// Runs a program to its end; `line` gets what it writes.
    pub(crate) fn run(
        &self,
        command: &Command,
        layers: Vec<PathBuf>,
        line: &mut dyn FnMut(&str),
    ) -> Result<Ran, BuildError> {
        self.start(command, layers, false, |pidfd, pipes, _| follow(pidfd, pipes, line))
    }

    /// Keeps a container with these layers for as long as `work` takes, which is told its id.
    pub(crate) fn hold(
        &self,
        command: &Command,
        layers: Vec<PathBuf>,
        work: &mut dyn FnMut(&ContainerId),
    ) -> Result<(), BuildError> {
        let held = self.start(command, layers, true, |pidfd, _, id| {
            work(id);
            // It may have ended by itself.
            drop(stack_runtime::signal(pidfd.as_fd(), nix::libc::SIGKILL));
            Ok(())
        })?;
        Ok(self.remove(&held.container)?)
    }

    fn start(
        &self,
        command: &Command,
        layers: Vec<PathBuf>,
        init: bool,
        work: impl FnOnce(&OwnedFd, [&OwnedFd; 2], &ContainerId) -> io::Result<()>,
    ) -> Result<Ran, BuildError> {
        let Workshop { layout, project, .. } = self.workshop;
        self.workshop.ensure_cgroup()?;
        let mut container = self.container(command);
        container.spec.init = init;
        let upper = layout.container(project, &container.id).join("upper");
        stack_runtime::create_container(layout, project, &container)?;
        let (output, error) = stack_runtime::open_output(layout, project, &container.id)
            .map_err(BuildError::io("open the output of", layout.container_run(project, &container.id)))?;
        let network = match command.network {
            BuildNetwork::Default => Some(self.workshop.network()?),
            BuildNetwork::None | BuildNetwork::Host => None,
        };
        let place = network.as_ref().map(|network| network.join(&container.id)).transpose()?;
        let alone = match command.network {
            BuildNetwork::None => Some(stack_net::Net::start()?.create_sandbox(&[])?),
            BuildNetwork::Default | BuildNetwork::Host => None,
        };
        let namespace = place.as_ref().map(Place::namespace).or(alone.as_ref());
        let files = self.files(command, network.as_deref())?;
        let mut mount_points: Vec<PathBuf> =
            ["proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"].map(PathBuf::from).into();
        let relative = |target: &str| PathBuf::from(target.trim_start_matches('/').trim_end_matches('/'));
        mount_points.extend(container.mounts.iter().map(|mount| relative(&mount.target)));
        let cgroup = layout.cgroup(project).join(container.id.as_str());
        let started = self.spawner.start_container(&StartSpec {
            layout,
            project,
            container: &container,
            layers,
            netns: namespace.map(AsFd::as_fd),
            mounted_layers: BTreeMap::new(),
            pid_of: None,
            ipc_of: None,
            files,
            hierarchy: self.hierarchy,
            cgroup: cgroup.clone(),
        })?;
        let followed = work(&started.pidfd, [&output, &error], &container.id);
        if followed.is_err() {
            stack_runtime::signal(started.pidfd.as_fd(), nix::libc::SIGKILL)?;
        }
        let exit = stack_runtime::exit_of(started.pidfd.as_fd());
        followed.map_err(BuildError::io("read the output of", upper.clone()))?;
        Ok(Ran { exit, upper, mount_points, container: container.id })
    }

    /// Removes the container of a step.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let Workshop { layout, project, .. } = self.workshop;
        stack_runtime::remove_container(layout, project, id, self.hierarchy).map(drop)
    }

    fn container(&self, command: &Command) -> Container {
        let id = ContainerId::new(format!("{:016x}", self.workshop.number()));
        let spec = serde_json::json!({
            "image": "build", "network": "host", "stop_grace": 0, "cap_add": MORE_CAPABILITIES,
        });
        let mut spec: ContainerSpec = serde_json::from_value(spec).expect("every field without a default is there");
        spec.limits = Limits::default();
        spec.ulimits.clone_from(&command.ulimits);
        if command.network != BuildNetwork::Host {
            spec.network = NetworkMode::Attached(BTreeMap::new());
        }
        spec.stop_grace = Millis(0);
        let mut mounts = command.mounts.clone();
        if let Some(size) = command.shm_size {
            mounts.push(ResolvedMount {
                target: "/dev/shm".to_owned(),
                read_only: false,
                source: ResolvedSource::Tmpfs { size: Some(Bytes(size)), mode: 0o1777 },
            });
        }
        Container {
            schema: 1,
            name: format!("{}-{id}", self.workshop.project),
            id,
            service: ServiceName::new("build"),
            index: 1,
            spec,
            restart_request: 0,
            recreate_request: 0,
            renew_request: 0,
            one_off: None,
            image: ImageId::new("build"),
            layers: Vec::new(),
            process: Process {
                argv: command.argv.clone(),
                env: command.env.clone(),
                cwd: command.cwd.clone(),
                user: command.user.clone(),
                hostname: "build".to_owned(),
                domainname: None,
                extra_hosts: Vec::new(),
                stop_signal: nix::libc::SIGKILL,
            },
            healthcheck: None,
            mounts,
            joins: BTreeMap::new(),
            endpoints: Vec::new(),
            ports: std::collections::BTreeSet::new(),
            created: Now(0),
        }
    }

    /// Names and resolvers.
    fn files(&self, command: &Command, network: Option<&BuildNet>) -> Result<Vec<GeneratedFile>, BuildError> {
        let directory = self.workshop.scratch()?;
        let hosts = directory.join("hosts");
        let mut text = "127.0.0.1\tlocalhost build\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        for (name, address) in &command.extra_hosts {
            // Inside the host's network the host is loopback.
            let host = network.map_or(Ipv4Addr::LOCALHOST, BuildNet::gateway).to_string();
            let address = if address == "host-gateway" { &host } else { address };
            text.push_str(&[address, "\t", name, "\n"].concat());
        }
        fs::write(&hosts, text).map_err(BuildError::io("write", &hosts))?;
        let mut files = vec![GeneratedFile { source: hosts, target: "/etc/hosts".to_owned(), read_only: false }];
        if command.network != BuildNetwork::None {
            let resolvers = directory.join("resolv.conf");
            let text = match network {
                Some(_) => BuildNet::resolv_conf(),
                None => fs::read_to_string(RESOLV_CONF).unwrap_or_default(),
            };
            fs::write(&resolvers, text).map_err(BuildError::io("write", &resolvers))?;
            files.push(GeneratedFile { source: resolvers, target: RESOLV_CONF.to_owned(), read_only: false });
        }
        Ok(files)
    }
}

/// The directories of layers, the lowest first.
pub(crate) fn paths(store: &stack_image::Store, layers: &[StoredLayer]) -> Vec<PathBuf> {
    layers.iter().map(|layer| store.layer_path(&layer.diff_id())).collect()
}

/// Passes on what is written until the process has ended and its pipes are empty.
fn follow(pidfd: &OwnedFd, pipes: [&OwnedFd; 2], line: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut rests = [Vec::new(), Vec::new()];
    loop {
        let ended = {
            let mut watched = [
                PollFd::new(pidfd, PollFlags::IN),
                PollFd::new(pipes[0], PollFlags::IN),
                PollFd::new(pipes[1], PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            watched[0].revents().contains(PollFlags::IN)
        };
        for (pipe, rest) in pipes.iter().zip(&mut rests) {
            drain(pipe, rest, line)?;
        }
        if ended {
            // The whole pid namespace ends with its first process: nobody writes any more.
            for rest in rests.iter().filter(|rest| !rest.is_empty()) {
                line(&String::from_utf8_lossy(rest));
            }
            return Ok(());
        }
    }
}

/// Longest line that is kept together.
const LINE_BYTES_MAX: usize = 64 << 10;

fn drain(pipe: &OwnedFd, rest: &mut Vec<u8>, line: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut file = std::fs::File::from(pipe.try_clone()?);
    let mut buffer = [0; 16 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => rest.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let bytes: Vec<u8> = rest.drain(..=end).collect();
            line(String::from_utf8_lossy(&bytes[..end]).trim_end_matches('\r'));
        }
        if rest.len() > LINE_BYTES_MAX {
            line(&String::from_utf8_lossy(rest));
            rest.clear();
        }
    }
}
