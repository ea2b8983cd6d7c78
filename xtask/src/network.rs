//! A network namespace for what is tested.

use nix::sched::{CloneFlags, unshare};

use crate::Outcome;
use crate::run::{self, program};

/// Moves the calling thread into a new network that has loopback and nothing else. Programs that it starts are there too.
pub(crate) fn enter() -> Outcome {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("cannot make a network namespace: {error}"))?;
    run::run(program("ip").args(["link", "set", "lo", "up"]))
}
