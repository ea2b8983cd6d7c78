//! Bridges, veths, addresses, routes and the nftables table of a project.
//!
//! [`Net`] speaks netlink with the network namespace of the thread that started it. Work on the host's side runs on
//! one dedicated thread through rtnetlink; work inside containers runs on short-lived threads that enter the namespace
//! and end there, so no other thread ever changes its namespace. [`Ports`] holds the listening sockets that reserve
//! published ports. What the rules are is decided by the pure [`nft::render`].

mod bridge;
mod claim;
mod error;
mod give;
mod net;
pub mod nft;
mod observe;
mod ports;
mod sandbox;
mod sysctl;
mod unlink;
mod watch;
mod wire;

pub use error::{Clash, NetError, PortOwner};
pub use give::give_interface;
pub use net::Net;
pub use observe::{NetObserved, alias, full_alias};
pub use ports::{Ports, free_port};
pub use watch::Notice;
pub use wire::WireError;
