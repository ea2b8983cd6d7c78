//! The spawner: a single-threaded process that makes containers' processes on behalf of the supervisor.
//!
//! ```text
//!  supervisor                      spawner                       container
//!      |  request, orders, socket, netns  |                             |
//!      |--------------------------------->| clone3(CLONE_PARENT)        |
//!      |          spawned pid + pidfd     |---------------------------->|
//!      |<- - - - - - - - - - - - - - - - -|                             | steps
//!      | writes the pid down              |                             |
//!      | go ahead                         |                             |
//!      |--------------------------------------------------------------->| exec
//!      |          failed {step, errno}, or the end of the socket: it has been executed
//!      |<- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -|
//! ```
//!
//! Each request brings a socket of its own for the answers, so many can be under way. The new process is a child of
//! the supervisor, not of the spawner: it outlives both, and its parent learns the exit code.
//!
//! A spawner outlives its supervisor as long as it keeps something for the next one: see `keeper.rs`.

mod child;
mod keeper;
mod parent;
mod predecessors;
pub(crate) mod sealed;
pub(crate) mod wire;

pub use child::spawner_main;
pub use parent::{Spawner, Started};
pub use predecessors::Predecessors;

/// The first argument that makes the program a spawner.
pub const SPAWNER_ARGUMENT: &str = "spawner";
