//! What there is: read from the kernel and the disk, never from memory of what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    Below, Bytes, ContainerId, ContainerSpec, DiffId, Ending, Healthcheck, Hooks, IfName, ImageFacts, ImageId,
    ImageReference, Joint, LinkOptions, Millis, Names, NetworkName, Now, OneOff, OutOfMemory, PublishedPort, Ruleset,
    ServiceName, VolumeName,
};

/// A look at the machine, restricted to one project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Images that are in the store, by the references the project uses.
    pub images: BTreeMap<ImageReference, ImageFacts>,
    /// Bridges of the project, found by their alias.
    pub networks: BTreeMap<NetworkName, ObservedNetwork>,
    /// Volumes that exist, by real name.
    pub volumes: BTreeSet<VolumeName>,
    /// Containers of the project in any state.
    pub containers: BTreeMap<ContainerId, ObservedContainer>,
    /// The project's table as the kernel holds it; `None` when it is absent or differs from every rendering.
    pub ruleset: Option<Ruleset>,
    /// The names that are being answered; `None` when nobody answers.
    pub names: Option<Names>,
    /// What the plan must stay clear of.
    pub host: HostFacts,
}

/// Facts about the host that restrict choices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Destinations of the host's own routes and addresses, without the project's bridges and the default route.
    pub routes: Vec<Ipv4Net>,
    /// Ports that other processes or projects hold, with an owner that can be shown.
    pub busy_ports: Vec<(PublishedPort, String)>,
    /// Bridges that are none of the project's.
    #[serde(default)]
    pub bridges: Vec<Bridge>,
    /// Containers of other projects on bridges that the project has to do with.
    #[serde(default)]
    pub neighbours: Vec<Neighbour>,
}

/// A bridge that is none of the project's, as a network that it can join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Real name of the network that another project made it for; that of the interface otherwise.
    pub name: String,
    /// Its interface name.
    pub bridge: IfName,
    /// Its address and prefix, if it has one.
    pub gateway: Option<Ipv4Net>,
    /// The same of IPv6.
    #[serde(default)]
    pub gateway6: Option<Ipv6Net>,
    /// No way out.
    pub internal: bool,
}

/// An interface of another project's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its container.
    pub id: ContainerId,
    /// The bridge that it is on.
    pub bridge: IfName,
    /// Its address.
    pub address: Ipv4Addr,
    /// The same of IPv6.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Its names on this network.
    pub names: BTreeSet<String>,
    /// It runs.
    pub runs: bool,
}

/// A bridge of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedNetwork {
    /// Its interface name.
    pub bridge: IfName,
    /// Its address and prefix; `None` when it has lost it.
    pub gateway: Option<Ipv4Net>,
    /// The same of IPv6.
    #[serde(default)]
    pub gateway6: Option<Ipv6Net>,
    /// It is up.
    pub up: bool,
    /// Real name, where the bridge says it.
    #[serde(default)]
    pub name: Option<String>,
    /// Largest packet in bytes.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// Everything that was decided about one container. The plan writes it into the operation that creates the container;
/// the host stores it as a file and gives it back with every observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Version of this format; readers accept what they know, with defaults for what is absent.
    pub schema: u32,
    /// Identifier.
    pub id: ContainerId,
    /// Name that people use: `<project>-<service>-<n>`.
    pub name: String,
    /// Its service.
    pub service: ServiceName,
    /// Its number in the service, from 1.
    pub index: u32,
    /// The specification it was made from; the next plan compares it field by field.
    pub spec: ContainerSpec,
    /// The restart request it has already followed.
    pub restart_request: u64,
    /// The request to be replaced that it was made after.
    #[serde(default)]
    pub recreate_request: u64,
    /// The request for new volumes that its volumes without a name are of.
    #[serde(default)]
    pub renew_request: u64,
    /// It was asked for once.
    #[serde(default)]
    pub one_off: Option<OneOff>,
    /// Its image.
    pub image: ImageId,
    /// Layers, the lowest first.
    pub layers: Vec<DiffId>,
    /// What to run: specification and image configuration merged.
    pub process: Process,
    /// Health check in force.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    /// Mounts with every name resolved.
    pub mounts: Vec<ResolvedMount>,
    /// The containers whose network and namespaces it is in.
    #[serde(default, deserialize_with = "joins")]
    pub joins: BTreeMap<Joint, ContainerId>,
    /// Interfaces.
    pub endpoints: Vec<Endpoint>,
    /// Ports with every choice made.
    #[serde(default)]
    pub ports: BTreeSet<PublishedPort>,
    /// When it was decided.
    pub created: Now,
}

/// Records of earlier versions name the container whose network it is, or none.
fn joins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Joint, ContainerId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Network(Option<ContainerId>),
        All(BTreeMap<Joint, ContainerId>),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Network(id) => id.into_iter().map(|id| (Joint::Network, id)).collect(),
        Written::All(all) => all,
    })
}

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Environment in order, without duplicates.
    pub env: Vec<(String, String)>,
    /// Working directory; made if absent, as docker does.
    pub cwd: String,
    /// `user[:group]`, names or numbers, looked up in the container's own files; empty is root.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// NIS domain.
    #[serde(default)]
    pub domainname: Option<String>,
    /// Further lines of `/etc/hosts`.
    #[serde(default)]
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Signal that asks it to stop.
    pub stop_signal: i32,
}

/// A mount with every name resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedMount {
    /// What.
    pub source: ResolvedSource,
    /// Where: an absolute path inside the container.
    pub target: String,
    /// Without write permission.
    pub read_only: bool,
}

/// What a [`ResolvedMount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedSource {
    /// A volume of the store.
    Volume {
        /// Its real name.
        name: VolumeName,
        /// Fill it from the image when it is empty.
        copy: bool,
    },
    /// A path inside a volume of the store.
    Subpath {
        /// The volume's real name.
        name: VolumeName,
        /// Relative path.
        path: String,
    },
    /// A path of the host.
    Bind {
        /// Absolute path.
        path: PathBuf,
        /// Make a missing directory.
        create: bool,
        /// What becomes of the mounts below it.
        #[serde(default)]
        below: Below,
    },
    /// What mount(8) is told.
    Mounted {
        /// Type of the filesystem, or `bind`.
        filesystem: String,
        /// Device, server or path.
        source: String,
        /// Options.
        options: Vec<String>,
    },
    /// Memory.
    Tmpfs {
        /// Size limit.
        size: Option<Bytes>,
        /// Permission bits.
        mode: u32,
    },
    /// What an image has.
    Image {
        /// The image.
        id: ImageId,
        /// Its layers, the lowest first.
        layers: Vec<DiffId>,
        /// Relative path inside of it.
        path: Option<String>,
    },
}

impl ResolvedSource {
    /// The volume that it is or lies in.
    pub fn volume(&self) -> Option<&VolumeName> {
        match self {
            Self::Volume { name, .. } | Self::Subpath { name, .. } => Some(name),
            Self::Bind { .. } | Self::Mounted { .. } | Self::Tmpfs { .. } | Self::Image { .. } => None,
        }
    }
}

impl Container {
    /// The volumes that its mounts are or lie in.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeName> {
        self.mounts.iter().filter_map(|mount| mount.source.volume())
    }

    /// The images that it takes, with their layers: the one it is made of, and those that are mounted.
    pub fn images(&self) -> impl Iterator<Item = (&ImageId, &[DiffId])> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.source {
            ResolvedSource::Image { id, layers, .. } => Some((id, layers.as_slice())),
            _ => None,
        });
        std::iter::once((&self.image, self.layers.as_slice())).chain(mounted)
    }
}

/// An interface of a container on one network. The plan chooses all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub network: NetworkName,
    /// Its bridge.
    pub bridge: IfName,
    /// The interface on the host's side.
    pub host_interface: IfName,
    /// The interface inside: `eth0`, `eth1`, …
    pub interface: IfName,
    /// Address with the prefix of the subnet.
    pub address: Ipv4Net,
    /// Address of IPv6 with the prefix of the subnet.
    #[serde(default)]
    pub address6: Option<Ipv6Net>,
    /// Default route, on at most one endpoint.
    pub gateway: Option<Ipv4Addr>,
    /// Default route of IPv6, on at most one endpoint.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// Hardware address, derived from the IP address as docker does (`02:42:…`).
    pub mac: [u8; 6],
    /// Names on this network: service, container, short id, aliases.
    pub names: BTreeSet<String>,
    /// The network is internal: no default route, no forwarding of names.
    pub internal: bool,
    /// Further addresses that mean something on this link only.
    #[serde(default)]
    pub link_local: Vec<Ipv4Addr>,
    /// How the interface is.
    #[serde(default)]
    pub link: LinkOptions,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedContainer {
    /// What was decided about it.
    pub container: Container,
    /// What became of it.
    pub state: State,
    /// What its probe says.
    pub health: Health,
    /// Every interface of [`Container::endpoints`] is on its bridge; always true unless it runs.
    pub attached: bool,
    /// It runs, and is frozen.
    #[serde(default)]
    pub paused: bool,
    /// How far the hooks of this run of it are.
    #[serde(default)]
    pub hooks: Hooks,
}

/// The life of a container. Half-done work has a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its directories are being made, or were when something died.
    Creating,
    /// Ready to start; it never ran.
    Created,
    /// Process 1 runs.
    Running {
        /// Process id in the host's namespace.
        pid: u32,
        /// When it started.
        started: Now,
        /// It has been asked to stop.
        stopping: Option<Stopping>,
    },
    /// Process 1 has ended.
    Exited {
        /// How.
        exit: Exit,
        /// When it had started.
        started: Now,
        /// When it ended.
        finished: Now,
    },
    /// Its directories are being deleted, or were when something died.
    Removing,
}

/// A stop in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// When the signal was sent.
    pub since: Now,
    /// When patience ends.
    pub deadline: Now,
    /// SIGKILL has been sent.
    pub killed: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; `None` if it ended by a signal, or when nobody was there to see (`signal` is `None` too).
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it for memory.
    pub out_of_memory: bool,
    /// `stack` asked it to end.
    pub requested: bool,
    /// What there was to see of [`Exit::out_of_memory`].
    #[serde(default)]
    pub memory: Option<OutOfMemory>,
}

impl Exit {
    /// The code as a shell shows it: 128 + n for signal n; 255 when unknown.
    pub fn shell_code(self) -> i32 {
        match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ending::from(*self).fmt(f)
    }
}

/// What a health check says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It has no health check, or does not run.
    #[default]
    None,
    /// No verdict yet.
    Starting,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy {
        /// Failures in a row.
        failures: u32,
        /// What the last probe said.
        output: String,
    },
}

impl ObservedContainer {
    /// Process 1 runs, whether or not it has been asked to stop.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// How long it has run.
    pub fn uptime(&self, now: Now) -> Option<Millis> {
        match self.state {
            State::Running { started, .. } => Some(now.since(started)),
            State::Creating | State::Created | State::Exited { .. } | State::Removing => None,
        }
    }
}

impl Endpoint {
    /// Its addresses, that of IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let first = IpAddr::V4(self.address.addr());
        std::iter::once(first).chain(self.address6.map(|address| IpAddr::V6(address.addr())))
    }
}
