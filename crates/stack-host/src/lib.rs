//! The real machine behind the engine's [`Host`](stack_engine::Host), and the supervisor around both.
//!
//! It maps each operation to the crate that can do it and decides nothing. What it remembers between two looks
//! (`world`) can be rebuilt by looking; nothing is read back from a journal.

mod apply;
mod control;
mod drift;
mod exits;
mod failure;
mod files;
mod hooks;
mod host;
mod inside;
mod kit;
mod machine;
mod names;
mod neighbours;
mod observe;
mod output;
mod probe;
mod project;
mod supervisor;
mod task;
mod volume;
mod watch;
mod world;

pub use machine::LocalMachine;
pub use supervisor::{Assignment, supervise};
