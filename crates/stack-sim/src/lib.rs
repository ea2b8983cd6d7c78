//! A machine in memory with seeded faults, for tests of the engine.
//!
//! [`World`] is the kernel and the disk: it outlives the engine and goes on while none runs. [`SimHost`] is one life of
//! a host on it, [`SimClock`] its time: tokio's, so that a paused runtime makes hours pass in no time. Whatever the
//! engine must never cause is noted in [`World::violations`] at the moment it happens.

mod clock;
mod effect;
mod host;
mod journal;
mod project;
mod random;
mod script;
mod world;

pub use clock::SimClock;
pub use host::SimHost;
pub use journal::SimJournal;
pub use project::{Draft, depends, healthcheck, mount, on, project};
pub use random::Random;
pub use script::{Behaviour, Faults};
pub use world::{SharedWorld, World};
