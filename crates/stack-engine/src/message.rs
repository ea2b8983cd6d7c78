//! What others ask of the engine.

use stack_model::{Desired, Diagnostic, PolicyChange, Reply, UpOptions};
use tokio::sync::oneshot;

/// A message to [`crate::Engine::run`].
#[derive(Debug)]
pub enum Message {
    /// The input was read.
    Input {
        /// What it says, with every service on. Its generation is ignored: the engine counts.
        desired: Desired,
        /// Why it was read: `up`, `compose.yaml saved`.
        reason: String,
        /// Warnings of the loader.
        warnings: Vec<Diagnostic>,
        /// Options of `up`; `None` for a save, which changes neither the selection nor what is stopped.
        options: Option<UpOptions>,
        /// Where the answer goes: [`Reply::Accepted`] or [`Reply::Refused`].
        reply: Option<oneshot::Sender<Reply>>,
    },
    /// The input could not be read. Disturbs nothing.
    Rejected {
        /// Why it was read.
        reason: String,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// A change of what is wanted without new input.
    Change(PolicyChange, oneshot::Sender<Reply>),
    /// What there is: answered with [`Reply::Status`].
    Status(oneshot::Sender<Reply>),
    /// What `up` would do with this input, or what is left to do of it: answered with [`Reply::Plan`].
    Plan {
        /// What the input says.
        desired: Desired,
        /// Options of `up`; without any, nothing new is asked for.
        options: Option<UpOptions>,
        /// Where the answer goes.
        reply: oneshot::Sender<Reply>,
    },
    /// End, and leave the containers running.
    Quit,
}

/// Why the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing of the project is left.
    Down,
    /// It was told to, or nobody can tell it anything any more. Containers go on.
    Quit,
}
