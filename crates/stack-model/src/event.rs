//! What happened: one enum feeds the terminal, the log of the supervisor and the tests.

use serde::{Deserialize, Serialize};

use crate::{ContainerId, Diagnostic, Effect, Exit, Failure, Health, Key, Now, Plan, ServiceName};

/// An event with its time and its place in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Counts from 1 for each supervisor.
    pub sequence: u64,
    /// When.
    pub at: Now,
    /// What.
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The input was accepted as a new generation.
    Accepted {
        /// The generation.
        generation: u64,
        /// Why it was read: `up`, `compose.yaml saved`.
        reason: String,
        /// Warnings of the loader.
        warnings: Vec<Diagnostic>,
    },
    /// The input was refused; what runs is untouched.
    Rejected {
        /// Why it was read.
        reason: String,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// A plan that is not empty and differs from the last one.
    Planned {
        /// Generation it leads to.
        generation: u64,
        /// The plan.
        plan: Plan,
    },
    /// A step begins.
    Started(OpReport),
    /// A step is done.
    Finished {
        /// The step.
        op: OpReport,
        /// How long it took, in microseconds.
        micros: u64,
    },
    /// A step did not work.
    Failed {
        /// The step.
        op: OpReport,
        /// Why.
        failure: Failure,
        /// When it is tried again; `None`: not before the input changes.
        retry: Option<Now>,
    },
    /// Process 1 of a container ended.
    Exited {
        /// The container.
        id: ContainerId,
        /// Its service.
        service: ServiceName,
        /// Its number.
        index: u32,
        /// How.
        exit: Exit,
    },
    /// A verdict of a health check changed.
    Health {
        /// The container.
        id: ContainerId,
        /// Its service.
        service: ServiceName,
        /// Its number.
        index: u32,
        /// The verdict.
        health: Health,
    },
    /// Progress of something long, such as a pull.
    Progress {
        /// What it is about.
        key: Key,
        /// In words.
        text: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 when unknown.
        total: u64,
    },
    /// The machine is as the input says, at this generation.
    Converged {
        /// The generation.
        generation: u64,
    },
    /// Nothing of the project is left; the supervisor ends.
    Down,
    /// Something the user should know.
    Warning {
        /// In words.
        text: String,
    },
}

/// A step as events name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpReport {
    /// What it is about.
    pub key: Key,
    /// The step in the words of a plan line.
    pub action: String,
    /// What the user feels.
    pub effect: Effect,
    /// Why, in the words of a plan line.
    pub cause: String,
    /// The container it is about.
    pub container: Option<ContainerId>,
}
