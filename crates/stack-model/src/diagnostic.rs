//! What went wrong, for the person at the keyboard.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Ending, Origin};

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is applied.
    Error,
    /// Applied, but probably not what was meant.
    Warning,
}

/// A marked stretch of an input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Where the stretch begins.
    pub origin: Origin,
    /// Byte range in the file's text.
    pub bytes: std::ops::Range<usize>,
    /// What to say under the caret; may be empty.
    pub text: String,
}

/// A replacement that would mend the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// The stretch to replace.
    pub label: Label,
    /// The text to put there.
    pub replacement: String,
}

/// One problem in the input, with its place and a next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable kebab-case code, such as `unknown-key`.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence without a period.
    pub message: String,
    /// The place; the first label is the primary one. Empty only when no file is concerned.
    pub labels: Vec<Label>,
    /// Why it is so, where that is not obvious.
    pub reason: Option<String>,
    /// What to do next.
    pub help: Option<String>,
    /// A replacement that would mend it.
    pub patch: Option<Patch>,
}

impl fmt::Display for Diagnostic {
    /// One line: `compose.yaml:3:5: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = self.labels.first() {
            write!(f, "{}: ", label.origin)?;
        }
        f.write_str(&self.message)
    }
}

/// What kind of thing failed; retry policy and exit code read only this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The input is wrong; trying again without an edit is useless.
    User,
    /// A permission is missing.
    Denied,
    /// Something that was named does not exist.
    Missing,
    /// Something else holds what is needed.
    Conflict,
    /// Likely to work later.
    Transient,
    /// A mistake in `stack`.
    Bug,
}

/// An operation that did not work, as data that crosses sockets and threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub fault: Fault,
    /// The whole chain on one line, outermost first: `cannot start: mount /data: permission denied`.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// A program that could not be executed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Box<Ending>>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None, ending: None }
    }

    /// The chain of `error` and its sources, joined by `: `.
    pub fn from_error(fault: Fault, error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        Self::new(fault, chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
