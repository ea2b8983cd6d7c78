//! What one container of a service is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Device, Dns, ExtraHost, Joint, Namespaces, Security, Ulimit};
use crate::{Bytes, Hook, ImageReference, Millis, NanoCpus, NetworkName, ServiceName, Stage, VolumeName};

/// The part of a service that a container is made of. Each field has a class in `stack-plan`'s `classify.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The image to run.
    pub image: ImageReference,
    /// When to ask the registry.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// A name of its own instead of `<project>-<service>-<n>`.
    #[serde(default)]
    pub container_name: Option<String>,
    /// Arguments; `None` takes the image's, an empty list clears them.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Program; `None` takes the image's, an empty list clears it. Any value drops the image's command.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Variables over those of the image; `None` removes the image's.
    #[serde(default)]
    pub environment: BTreeMap<String, Option<String>>,
    /// Working directory; `None` takes the image's.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// `uid[:gid]` or names of the image's own files; `None` takes the image's.
    #[serde(default)]
    pub user: Option<String>,
    /// Host name; `None` is the short container id.
    #[serde(default)]
    pub hostname: Option<String>,
    /// NIS domain; together with the host name it is the full name in `/etc/hosts`.
    #[serde(default)]
    pub domainname: Option<String>,
    /// Further lines of `/etc/hosts`.
    #[serde(default)]
    pub extra_hosts: Vec<ExtraHost>,
    /// How other names are resolved.
    #[serde(default)]
    pub dns: Dns,
    /// Further groups of the program, by name or number.
    #[serde(default)]
    pub group_add: BTreeSet<String>,
    /// Limits of getrlimit(2) by the name of prlimit(1): `nofile`.
    #[serde(default)]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters of the container's own namespaces.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm`; `None` is 64 MiB.
    #[serde(default)]
    pub shm_size: Option<Bytes>,
    /// Added to what the kernel thinks of the program when memory is short, -1000 to 1000 (proc(5)).
    #[serde(default)]
    pub oom_score_adj: i32,
    /// How the program is confined, beyond its capabilities.
    #[serde(default)]
    pub security: Security,
    /// Whose its namespaces are.
    #[serde(default, alias = "host_namespaces")]
    pub namespaces: Namespaces,
    /// Devices of the host.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Rules for devices in the form of the kernel: `c 1:3 mr`.
    #[serde(default)]
    pub device_cgroup_rules: Vec<String>,
    /// Leave a reaping process 1 in front of the program.
    #[serde(default)]
    pub init: bool,
    /// Give the program a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Keep standard input open.
    #[serde(default)]
    pub stdin_open: bool,
    /// Mount the root filesystem read-only.
    #[serde(default)]
    pub read_only: bool,
    /// All capabilities and devices, no masked paths, no system call filter.
    #[serde(default)]
    pub privileged: bool,
    /// Capabilities to add, in the form `NET_ADMIN`, or `ALL`.
    #[serde(default)]
    pub cap_add: BTreeSet<String>,
    /// Capabilities to drop, in the form `NET_ADMIN`, or `ALL`.
    #[serde(default)]
    pub cap_drop: BTreeSet<String>,
    /// Resource limits.
    #[serde(default)]
    pub limits: Limits,
    /// Volumes, bind mounts and temporary filesystems, in the file's order; targets are unique.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Services whose volumes it has too, where nothing of its own is at the same place.
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    /// Secrets and configs.
    #[serde(default)]
    pub files: Vec<FileMount>,
    /// Which networks it is on.
    pub network: NetworkMode,
    /// Further names of services, for this container alone.
    #[serde(default)]
    pub links: BTreeMap<String, ServiceName>,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// Its log.
    #[serde(default)]
    pub logging: Logging,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When to start it again after it ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Time from its end to that start; `None` begins with 100 ms and doubles.
    #[serde(default)]
    pub restart_delay: Option<Millis>,
    /// A run of this length ends a series of restarts; `None` is 10 s.
    #[serde(default)]
    pub restart_window: Option<Millis>,
    /// Signal that asks it to stop, as a number (signal(7)); `None` takes the image's, else SIGTERM.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// How long it may take to stop before it is killed.
    pub stop_grace: Millis,
    /// What to run inside of it, one after the other, once it has started. Whoever waits for it waits for them.
    #[serde(default)]
    pub post_start: Vec<Hook>,
    /// What to run inside of it, one after the other, before the signal that asks it to stop.
    #[serde(default)]
    pub pre_stop: Vec<Hook>,
    /// Health check; `None` takes the image's, and `Some` with [`Probe::None`] turns that off.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
}

impl MountSource {
    /// The named volume that it is or lies in.
    pub fn volume(&self) -> Option<&VolumeName> {
        match self {
            Self::Volume { name, .. } | Self::Subpath { name, .. } => Some(name),
            Self::Anonymous | Self::Bind { .. } | Self::Mounted { .. } | Self::Tmpfs { .. } | Self::Image { .. } => {
                None
            }
        }
    }
}

impl ContainerSpec {
    /// The named volumes that its mounts are or lie in.
    pub fn named_volumes(&self) -> impl Iterator<Item = &VolumeName> {
        self.mounts.iter().filter_map(|mount| mount.source.volume())
    }

    /// The images that it takes: the one it is made of, and those that are mounted.
    pub fn images(&self) -> impl Iterator<Item = &ImageReference> {
        std::iter::once(&self.image).chain(self.mounted_images())
    }

    /// The images that are mounted into it.
    pub fn mounted_images(&self) -> impl Iterator<Item = &ImageReference> {
        self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Image { image, .. } => Some(image),
            _ => None,
        })
    }

    /// What it has of other services' first containers instead of its own.
    pub fn joined(&self) -> impl Iterator<Item = (Joint, &ServiceName)> {
        let network = match &self.network {
            NetworkMode::Service(name) => Some(name),
            NetworkMode::None | NetworkMode::Host | NetworkMode::Attached(_) => None,
        };
        let Namespaces { pid, ipc, .. } = &self.namespaces;
        let all = [(Joint::Network, network), (Joint::Pid, pid.service()), (Joint::Ipc, ipc.service())];
        all.into_iter().filter_map(|(what, name)| Some((what, name?)))
    }

    /// What to run at a point of its life.
    pub fn hooks(&self, stage: Stage) -> &[Hook] {
        match stage {
            Stage::PostStart => &self.post_start,
            Stage::PreStop => &self.pre_stop,
        }
    }

    /// A container of an image with everything else at its default, and without a network.
    pub fn new(image: ImageReference) -> Self {
        Self {
            image,
            pull_policy: PullPolicy::default(),
            container_name: None,
            command: None,
            entrypoint: None,
            environment: BTreeMap::new(),
            working_dir: None,
            user: None,
            hostname: None,
            domainname: None,
            extra_hosts: Vec::new(),
            dns: Dns::default(),
            group_add: BTreeSet::new(),
            ulimits: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            shm_size: None,
            oom_score_adj: 0,
            security: Security::default(),
            namespaces: Namespaces::default(),
            devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            init: false,
            tty: false,
            stdin_open: false,
            read_only: false,
            privileged: false,
            cap_add: BTreeSet::new(),
            cap_drop: BTreeSet::new(),
            limits: Limits::default(),
            mounts: Vec::new(),
            volumes_from: Vec::new(),
            files: Vec::new(),
            network: NetworkMode::None,
            links: BTreeMap::new(),
            ports: Vec::new(),
            logging: Logging::default(),
            labels: BTreeMap::new(),
            restart: RestartPolicy::default(),
            restart_delay: None,
            restart_window: None,
            stop_signal: None,
            stop_grace: Millis(0),
            post_start: Vec::new(),
            pre_stop: Vec::new(),
            healthcheck: None,
        }
    }
}

/// When to ask the registry for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When it is not in the store.
    #[default]
    Missing,
    /// Whenever `up` is asked for.
    Always,
    /// Never; it must be in the store.
    Never,
    /// Whenever `up` is asked for and the last answer of the registry is older than this.
    Every(Millis),
    /// It is not asked: the image is built whenever `up` is asked for.
    Build,
}

/// Limits on what a container may use; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// Memory and swap together.
    #[serde(default)]
    pub memory_and_swap: Option<Bytes>,
    /// Memory that is kept under pressure.
    #[serde(default)]
    pub memory_reservation: Option<Bytes>,
    /// Processor time.
    #[serde(default)]
    pub cpus: Option<NanoCpus>,
    /// Processes and threads; `None` takes the default of 4096, -1 is no limit.
    #[serde(default)]
    pub pids: Option<i64>,
    /// Weight among others when processors are contended, 2 to 262144; `None` is 1024.
    #[serde(default)]
    pub cpu_shares: Option<u64>,
    /// Period of the processor quota in microseconds; `None` is 100000.
    #[serde(default)]
    pub cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds. Not together with `cpus`.
    #[serde(default)]
    pub cpu_quota: Option<u64>,
    /// Processors to run on, as `0-3` or `0,1`.
    #[serde(default)]
    pub cpuset: Option<String>,
    /// How eagerly memory is swapped, 0 to 100 (v1).
    #[serde(default)]
    pub memory_swappiness: Option<u64>,
    /// Wait for memory instead of being killed (v1).
    #[serde(default)]
    pub oom_kill_disable: bool,
    /// Weights and rates of block devices.
    #[serde(default)]
    pub blkio: Blkio,
}

/// Weights and rates of block devices, by the device's path on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blkio {
    /// Weight among others, 10 to 1000.
    #[serde(default)]
    pub weight: Option<u16>,
    /// Weights on single devices.
    #[serde(default)]
    pub weight_device: BTreeMap<PathBuf, u16>,
    /// Most bytes a second to read.
    #[serde(default)]
    pub read_bps: BTreeMap<PathBuf, u64>,
    /// Most bytes a second to write.
    #[serde(default)]
    pub write_bps: BTreeMap<PathBuf, u64>,
    /// Most reads a second.
    #[serde(default)]
    pub read_iops: BTreeMap<PathBuf, u64>,
    /// Most writes a second.
    #[serde(default)]
    pub write_iops: BTreeMap<PathBuf, u64>,
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Where: an absolute path inside the container.
    pub target: String,
    /// Without write permission.
    pub read_only: bool,
}

/// The volumes of another service's first container: named ones, those without a name, and paths of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// The service.
    pub service: ServiceName,
    /// Without write permission.
    pub read_only: bool,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A named volume of [`crate::Desired::volumes`].
    Volume {
        /// Its real name.
        name: VolumeName,
        /// Do not fill an empty volume with what the image has at the target.
        no_copy: bool,
    },
    /// A volume without a name; it lives as long as the container's service.
    Anonymous,
    /// A directory or file inside a named volume; it must exist.
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
        /// Make a missing directory instead of failing.
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
        /// Options, such as `rslave` or `addr=10.0.0.1`.
        options: Vec<String>,
    },
    /// Memory.
    Tmpfs {
        /// Size limit.
        size: Option<Bytes>,
        /// Permission bits of its root; 0o1777 by default.
        mode: Option<u32>,
    },
    /// What an image has, or a part of it; nobody writes to it.
    Image {
        /// The image.
        image: ImageReference,
        /// Relative path inside of it.
        path: Option<String>,
    },
}

/// What becomes of the mounts below a path of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Below {
    /// They are seen, and are read-only where the path is.
    #[default]
    Seen,
    /// They are not seen.
    Hidden,
    /// They are seen and stay writable.
    Writable,
}

/// Whether a [`FileMount`] is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Under `/run/secrets`, 0o444 as docker compose has it unless the file says otherwise.
    Secret,
    /// A configuration file.
    Config,
}

/// A file of the host copied into the container's view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMount {
    /// Secret or config.
    pub kind: FileKind,
    /// The file, absolute; empty when there is none.
    pub source: PathBuf,
    /// What stands in it, where that is not in a file of the host.
    #[serde(default)]
    pub text: Option<String>,
    /// [`crate::short_hex`] of its content when the project was loaded: an edit is a change.
    pub content: String,
    /// Absolute path inside the container.
    pub target: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Which networks a container is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Loopback only.
    None,
    /// The host's own.
    Host,
    /// That of another service's first container.
    Service(ServiceName),
    /// Networks of [`crate::Desired::networks`].
    Attached(BTreeMap<NetworkName, Attachment>),
}

/// How a container is on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Further names; the service's and the container's own are implied.
    pub aliases: BTreeSet<String>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address of IPv6.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// A fixed hardware address.
    #[serde(default)]
    pub mac: Option<[u8; 6]>,
    /// The network with the highest one has the default route.
    #[serde(default)]
    pub gateway_priority: i64,
    /// Name of the interface inside the container.
    #[serde(default)]
    pub interface: Option<String>,
    /// The network with the highest one has the first interface.
    #[serde(default)]
    pub priority: i64,
    /// Further addresses that mean something on this link only.
    #[serde(default)]
    pub link_local: Vec<Ipv4Addr>,
}

/// How much is kept of what a container writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Bytes of all files together; `None` is the default of the log.
    #[serde(default)]
    pub most: Option<Bytes>,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The one that is called so, in lower case.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == word)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in IP headers (IANA, "Protocol Numbers").
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port of the container that the host answers on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    /// Port inside the container.
    pub target: u16,
    /// Port of the host.
    pub published: HostPort,
    /// Address of the host; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// Protocol.
    pub protocol: Protocol,
}

/// The host's side of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPort {
    /// Any free one.
    Any,
    /// One of these, both ends included; the n-th replica takes the n-th.
    Range(u16, u16),
}

/// When to start a container again after it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Not by itself.
    #[default]
    No,
    /// Whatever the exit code.
    Always,
    /// After a failure, at most so many times in a row (`None`: without end).
    OnFailure(Option<u32>),
    /// As `Always`, but not when the user stopped it.
    UnlessStopped,
}

/// How health is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// The probe.
    pub probe: Probe,
    /// Time between probes.
    pub interval: Millis,
    /// Time a probe may take.
    pub timeout: Millis,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Time after the start in which failures do not count.
    pub start_period: Millis,
    /// Time between probes in the start period.
    pub start_interval: Millis,
}

/// What a health check does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Nothing: the check is turned off.
    None,
    /// Runs a program inside the container; exit code 0 is healthy.
    Exec(Vec<String>),
    /// Runs a command line with the container's `/bin/sh -c`.
    Shell(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;

    /// Records of an earlier version lack the fields that came later. Each of them has to mean what it meant then, or
    /// every container would be replaced by the first `up` of a new version.
    #[test]
    fn what_a_record_does_not_say_is_the_default() {
        let text = serde_json::json!({ "image": "app:1", "network": "none", "stop_grace": 0 });
        let spec: ContainerSpec = serde_json::from_value(text).unwrap();
        assert_eq!(spec, ContainerSpec::new(ImageReference::new("app:1")));
        let text = serde_json::json!({ "aliases": [], "ipv4": null });
        assert_eq!(serde_json::from_value::<Attachment>(text).unwrap(), Attachment::default());
    }

    #[test]
    fn namespaces_of_the_host_are_read_as_earlier_versions_wrote_them() {
        let shared = serde_json::json!({ "pid": true, "ipc": false, "uts": true, "cgroup": false });
        let text = serde_json::json!({ "image": "a", "network": "none", "stop_grace": 0, "host_namespaces": shared });
        let spec: ContainerSpec = serde_json::from_value(text).unwrap();
        assert_eq!(spec.namespaces, Namespaces { pid: Namespace::Host, uts: true, ..Namespaces::default() });
        let whose = [Namespace::Own, Namespace::Host, Namespace::Service("db".into())];
        let again: Vec<Namespace> = serde_json::from_value(serde_json::to_value(&whose).unwrap()).unwrap();
        assert_eq!(again, whose);
    }
}
