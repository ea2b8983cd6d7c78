//! Names of a project, answered on 127.0.0.11 inside each container.
//!
//! [`answer`] is pure: a zone and a packet in, a packet out. [`Server`] owns the sockets. How a zone is computed is
//! the plan's business.

mod answer;
mod server;
mod upstream;

pub use answer::{Answer, Transport, answer};
pub use server::{Server, open_sockets};
