//! What the user asked for, lowered from the file: no interpolation, no defaults to look up, no front-end words.

mod build;
mod confinement;
mod container;
mod service;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{IfName, Millis, NetworkName, Origin, ProjectName, ServiceName, VolumeName};

pub use build::{Build, BuildNetwork, Dockerfile, NamedContext, SecretSource};
pub use confinement::{Device, Dns, ExtraHost, HostAddress, Joint, Namespace, Namespaces, Seccomp, Security, Ulimit};
pub use container::{
    Attachment, Below, Blkio, ContainerSpec, FileKind, FileMount, Healthcheck, HostPort, Limits, Logging, Mount,
    MountSource, NetworkMode, PortSpec, Probe, Protocol, PullPolicy, RestartPolicy, VolumesFrom,
};
pub use service::{Client, Condition, Dependency, OneOff, Power, Service, StartRequest};

/// A whole project at one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The project's name.
    pub project: ProjectName,
    /// Distinguishes projects of the same name under different run directories; empty for the default one. It is a
    /// part of every kernel-wide name (bridge, table, cgroup).
    pub instance: String,
    /// Grows by one with every accepted input.
    pub generation: u64,
    /// Networks by the file's name; only those that a service uses.
    pub networks: BTreeMap<NetworkName, Network>,
    /// Volumes by real name; only those that a service uses.
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// Services by name; only those that are active.
    pub services: BTreeMap<ServiceName, Service>,
    /// Volumes to delete although nothing uses them any more: the consent of `down -v`.
    pub discard_volumes: Vec<VolumeName>,
    /// Instead of each container's own grace period: `stack down -t 0`.
    pub stop_grace: Option<Millis>,
}

/// A network that services share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Real name, `<project>_<key>` unless the file names it.
    pub name: String,
    /// Made and removed by someone else: another project that calls it so, or whoever made a bridge of that name.
    #[serde(default)]
    pub external: bool,
    /// No way out: no default route, no masquerade, no forwarding of names.
    pub internal: bool,
    /// A subnet that the file asks for; the plan picks one otherwise.
    pub subnet: Option<Ipv4Net>,
    /// A gateway that the file asks for.
    pub gateway: Option<Ipv4Addr>,
    /// IPv6 as well; without a word of the file the plan picks a unique local subnet (RFC 4193).
    #[serde(default)]
    pub ipv6: Option<Ipv6Wish>,
    /// Part of the subnet that addresses are taken from; fixed ones may lie outside.
    #[serde(default)]
    pub ip_range: Option<Ipv4Net>,
    /// Addresses that others have, by what they are called.
    #[serde(default)]
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Name of its interface; one is made up otherwise.
    #[serde(default)]
    pub bridge: Option<IfName>,
    /// How its interfaces are.
    #[serde(default)]
    pub link: LinkOptions,
    /// Addresses of containers are seen outside as they are: no masquerade.
    #[serde(default)]
    pub routed: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is declared.
    pub origin: Origin,
}

/// What a file says about the IPv6 of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Wish {
    /// A subnet.
    pub subnet: Option<Ipv6Net>,
    /// Address of the bridge in it.
    pub gateway: Option<Ipv6Addr>,
}

/// How the interfaces of a network are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOptions {
    /// Largest packet in bytes; `None` is the kernel's 1500.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Containers do not reach each other on it.
    #[serde(default)]
    pub isolated: bool,
}

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Made and removed by someone else; it must exist.
    pub external: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is declared.
    pub origin: Origin,
}
