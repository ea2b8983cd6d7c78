//! What a container finds around its program: names, limits of processes, devices, rules.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ServiceName;

/// A further name in `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub address: HostAddress,
}

/// An address, known or not before the container is on its networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAddress {
    /// This one.
    Ip(IpAddr),
    /// The host, as the container reaches it.
    Gateway,
}

/// How names that are none of the project's are resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers instead of the host's.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    /// Search domains.
    #[serde(default)]
    pub search: Vec<String>,
    /// Options as in resolv.conf(5).
    #[serde(default)]
    pub options: Vec<String>,
}

/// A limit of getrlimit(2); -1 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The limit that counts.
    pub soft: i64,
    /// What the soft limit may be raised to.
    pub hard: i64,
}

/// How a program is confined, beyond its capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Its system call filter. A privileged container has none whatever this says.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// No program gains rights by a set-user-ID bit or a file capability. Off unless asked for, as Docker and Podman
    /// have it: `sudo` and `su` of images would fail, and what such a program can gain is bounded by the container's
    /// capabilities anyway.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Paths of `/proc` and `/sys` are neither hidden nor read-only.
    #[serde(default)]
    pub unmask: bool,
}

/// The system call filter of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The profile that Docker has by default.
    #[default]
    Standard,
    /// None.
    Unconfined,
    /// The text of a profile in Docker's JSON.
    Profile(String),
}

/// A device of the host, or every device below a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: String,
    /// Some of `r`, `w` and `m`.
    pub permissions: String,
}

/// Whose the namespaces of a container are, beside that of its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Process ids.
    #[serde(default)]
    pub pid: Namespace,
    /// System V IPC, POSIX message queues and `/dev/shm`.
    #[serde(default)]
    pub ipc: Namespace,
    /// There is no `/dev/shm`; only where the IPC is its own.
    #[serde(default)]
    pub without_shm: bool,
    /// The host name is the host's.
    #[serde(default)]
    pub uts: bool,
    /// The view of cgroups is the host's.
    #[serde(default)]
    pub cgroup: bool,
}

/// Whose a namespace is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "Whose")]
pub enum Namespace {
    /// The container's own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// That of another service's first container.
    Service(ServiceName),
}

impl Namespace {
    /// The service whose first container's it is.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service(name) => Some(name),
            Self::Own | Self::Host => None,
        }
    }
}

/// A [`Namespace`] as records have it; in those of earlier versions it is a word about the host.
#[derive(Deserialize)]
#[serde(untagged, rename_all = "snake_case")]
enum Whose {
    IsHost(bool),
    Named(Word),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Own,
    Host,
    Service(ServiceName),
}

impl From<Whose> for Namespace {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::IsHost(false) | Whose::Named(Word::Own) => Self::Own,
            Whose::IsHost(true) | Whose::Named(Word::Host) => Self::Host,
            Whose::Named(Word::Service(name)) => Self::Service(name),
        }
    }
}

/// What a container can have of another one instead of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joint {
    /// Interfaces, addresses and ports.
    Network,
    /// Process ids.
    Pid,
    /// System V IPC, POSIX message queues and `/dev/shm`.
    Ipc,
}
