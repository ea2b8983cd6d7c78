//! What a build tells while it works.

/// A step of a stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId {
    /// The stage's number.
    pub stage: usize,
    /// The stage's name, or `stage-<number>`.
    pub name: String,
    /// From 1: FROM is the first.
    pub number: usize,
    /// How many the stage has.
    pub total: usize,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEvent {
    /// A step begins.
    Started {
        /// Which.
        step: StepId,
        /// The instruction.
        text: String,
    },
    /// A program of a step has written a line.
    Output {
        /// Which.
        step: StepId,
        /// The line, without its end.
        line: String,
    },
    /// A step is done.
    Done {
        /// Which.
        step: StepId,
        /// It was made before.
        cached: bool,
        /// How long it took.
        milliseconds: u64,
    },
    /// A step has failed; the error of the build says why.
    Failed {
        /// Which.
        step: StepId,
    },
}
