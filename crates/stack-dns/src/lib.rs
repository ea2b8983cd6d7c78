//! Names of a project, answered on 127.0.0.11 in each container.
//!
//! [`answer`] is all of the protocol, pure: a packet and a zone in, a packet out. [`Server`] owns the sockets, one task
//! for each container, and passes questions about the rest of the world on to the host's resolvers.

mod answer;
mod resolvers;
mod server;

pub use answer::{Answer, Transport, answer};
pub use server::{ADDRESS, Server, open_sockets};
