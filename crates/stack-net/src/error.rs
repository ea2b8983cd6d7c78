//! What can go wrong with a network, and what to do about it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use nix::libc::{ENOSYS, EOPNOTSUPP, EPROTONOSUPPORT};
use stack_model::{Fault, IfName, NetworkName, Protocol};

use crate::wire::WireError;

/// An operation on the network that did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The thread that speaks netlink could not start.
    #[error("cannot {step}")]
    Start {
        /// What was being done.
        step: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// The thread that speaks netlink is gone.
    #[error("the network thread has ended")]
    Ended,
    /// Entering or making a network namespace.
    #[error("cannot {step} a network namespace")]
    Namespace {
        /// What was being done.
        step: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// A setting below `/proc/sys`; the source names the file.
    #[error("cannot change a kernel setting")]
    Setting(#[source] io::Error),
    /// A step on a bridge.
    #[error("cannot {step} bridge {bridge}")]
    Bridge {
        /// The bridge.
        bridge: IfName,
        /// What was being done.
        step: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// Another interface has the name of a bridge.
    #[error("interface {bridge} exists and is not the bridge of this network")]
    BridgeTaken {
        /// The name.
        bridge: IfName,
    },
    /// A bridge that an endpoint needs does not exist.
    #[error("bridge {bridge} of {interface} does not exist")]
    BridgeMissing {
        /// The bridge.
        bridge: IfName,
        /// The interface that was to be attached to it.
        interface: IfName,
    },
    /// The subnet is in use on this host.
    #[error("subnet {subnet} of bridge {bridge} overlaps {clash}")]
    SubnetClash {
        /// The bridge.
        bridge: IfName,
        /// Its subnet.
        subnet: Ipv4Net,
        /// What holds the addresses.
        clash: Clash,
        /// Nobody asked for this very subnet.
        picked: bool,
    },
    /// A step on an interface of a container.
    #[error("cannot {step} interface {interface}")]
    Interface {
        /// The interface.
        interface: IfName,
        /// What was being done.
        step: &'static str,
        /// Why it did not work.
        source: WireError,
    },
    /// Looking at links, addresses or routes.
    #[error("cannot list the {what} of this host")]
    Observe {
        /// What was being read.
        what: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// The packet filter.
    #[error("cannot {step} nftables table {table}")]
    Ruleset {
        /// The table.
        table: String,
        /// What was being done.
        step: &'static str,
        /// Why it did not work.
        source: WireError,
    },
    /// A name does not fit where the kernel keeps it.
    #[error("network name `{network}` is too long")]
    NameTooLong {
        /// The name.
        network: NetworkName,
    },
    /// Another process listens on a published port.
    #[error("port {} is taken by {}", PortWords(*.protocol, *.address, *.port), OwnerWords(.owner))]
    PortTaken {
        /// Protocol.
        protocol: Protocol,
        /// Address of the host.
        address: IpAddr,
        /// Port of the host.
        port: u16,
        /// Who holds it, where that can be seen.
        owner: Option<PortOwner>,
    },
    /// A published port names an address that this host does not have.
    #[error("port {} names an address that this host does not have", PortWords(*.protocol, *.address, *.port))]
    AddressMissing {
        /// Protocol.
        protocol: Protocol,
        /// Address that is missing.
        address: IpAddr,
        /// Port of the host.
        port: u16,
    },
    /// A published port cannot be reserved for another reason.
    #[error("cannot listen on port {}", PortWords(*.protocol, *.address, *.port))]
    Port {
        /// Protocol.
        protocol: Protocol,
        /// Address of the host.
        address: IpAddr,
        /// Port of the host.
        port: u16,
        /// Why it did not work.
        source: io::Error,
    },
}

/// What holds addresses that a subnet wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clash {
    /// An address of an interface.
    Address {
        /// The interface.
        interface: String,
        /// Its address.
        address: Ipv4Net,
    },
    /// A route.
    Route {
        /// The interface it leads to; empty if to none.
        interface: String,
        /// Its destination.
        destination: Ipv4Net,
    },
}

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// Its process id.
    pub pid: u32,
    /// Its name (`/proc/<pid>/comm`).
    pub command: String,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { interface, address } => write!(f, "address {address} of interface {interface}"),
            Self::Route { interface, destination } if interface.is_empty() => write!(f, "route {destination}"),
            Self::Route { interface, destination } => write!(f, "route {destination} through {interface}"),
        }
    }
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// `0.0.0.0:8080/tcp`.
struct PortWords(Protocol, IpAddr, u16);

impl fmt::Display for PortWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(protocol, address, port) = self;
        write!(f, "{}/{protocol}", SocketAddr::new(*address, *port))
    }
}

struct OwnerWords<'a>(&'a Option<PortOwner>);

impl fmt::Display for OwnerWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(owner) => owner.fmt(f),
            None => f.write_str("a process that cannot be seen from here"),
        }
    }
}

impl NetError {
    /// What kind of thing failed.
    pub fn fault(&self) -> Fault {
        if self.lacking().is_some() {
            return Fault::Missing;
        }
        match self {
            Self::Ended => Fault::Bug,
            Self::NameTooLong { .. } => Fault::User,
            // The next plan picks another.
            Self::SubnetClash { picked: true, .. } => Fault::Transient,
            Self::BridgeTaken { .. } | Self::SubnetClash { .. } | Self::PortTaken { .. } => Fault::Conflict,
            Self::BridgeMissing { .. } => Fault::Transient,
            Self::AddressMissing { .. } => Fault::Missing,
            Self::Start { source, .. }
            | Self::Namespace { source, .. }
            | Self::Setting(source)
            | Self::Bridge { source, .. }
            | Self::Observe { source, .. }
            | Self::Port { source, .. } => fault_of(source.kind()),
            Self::Interface { source, .. } | Self::Ruleset { source, .. } => fault_of(source.kind()),
        }
    }

    /// The part of the kernel that is not there, by the name of its module and its option.
    fn lacking(&self) -> Option<(&'static str, &'static str)> {
        let (errno, part) = match self {
            Self::Namespace { source, .. } => (source.raw_os_error(), ("", "CONFIG_NET_NS")),
            Self::Bridge { source, .. } => (source.raw_os_error(), ("bridge", "CONFIG_BRIDGE")),
            Self::Interface { source, .. } => (source.errno(), ("veth", "CONFIG_VETH")),
            Self::Ruleset { source, .. } => (source.errno(), ("nf_tables nft_nat", "CONFIG_NF_TABLES")),
            Self::Start { .. }
            | Self::Ended
            | Self::Setting(_)
            | Self::BridgeTaken { .. }
            | Self::BridgeMissing { .. }
            | Self::SubnetClash { .. }
            | Self::Observe { .. }
            | Self::NameTooLong { .. }
            | Self::PortTaken { .. }
            | Self::AddressMissing { .. }
            | Self::Port { .. } => return None,
        };
        // A kind of link or socket that nobody has registered (rtnetlink(7), netlink(7)), or a system call left out.
        matches!(errno?, EOPNOTSUPP | EPROTONOSUPPORT | ENOSYS).then_some(part)
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        if let Some((module, option)) = self.lacking() {
            let load = if module.is_empty() { String::new() } else { format!("`modprobe -a {module}`, or ") };
            return Some(format!("this kernel cannot do it as it runs now: {load}boot one with {option}"));
        }
        match self {
            Self::BridgeTaken { bridge } => {
                Some(format!("see `ip -details link show {bridge}`; remove it if nothing needs it"))
            }
            Self::SubnetClash { picked: false, .. } => {
                Some("choose another subnet for the network (`ipam.config.subnet`), or leave it out".to_owned())
            }
            Self::PortTaken { port, .. } => {
                Some(format!("stop that process, or publish another port than {port} on the host"))
            }
            Self::AddressMissing { address, .. } => {
                Some(format!("give the host the address {address}, or publish the port on one that it has"))
            }
            Self::NameTooLong { .. } => Some("use a name of at most 180 characters".to_owned()),
            _ if self.fault() == Fault::Denied => Some("networks need root (CAP_NET_ADMIN)".to_owned()),
            _ => None,
        }
    }
}

fn fault_of(kind: io::ErrorKind) -> Fault {
    match kind {
        io::ErrorKind::PermissionDenied => Fault::Denied,
        io::ErrorKind::NotFound => Fault::Missing,
        io::ErrorKind::AlreadyExists | io::ErrorKind::AddrInUse => Fault::Conflict,
        _ => Fault::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(errno: i32) -> NetError {
        let source = io::Error::from_raw_os_error(errno);
        NetError::Bridge { bridge: IfName::new("stk-1"), step: "create", source }
    }

    #[test]
    fn a_part_that_the_kernel_lacks_is_named() {
        let lacking = bridge(EOPNOTSUPP);
        assert_eq!(lacking.fault(), Fault::Missing);
        assert_eq!(
            lacking.hint().as_deref(),
            Some("this kernel cannot do it as it runs now: `modprobe -a bridge`, or boot one with CONFIG_BRIDGE")
        );
        let source = WireError::Socket(io::Error::from_raw_os_error(EPROTONOSUPPORT));
        let rules = NetError::Ruleset { table: "stack_shop".to_owned(), step: "write", source };
        assert!(rules.hint().is_some_and(|hint| hint.contains("nf_tables")));
        assert_eq!(bridge(nix::libc::EPERM).hint().as_deref(), Some("networks need root (CAP_NET_ADMIN)"));
    }
}
