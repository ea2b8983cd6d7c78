//! What a verb can fail with; reported once, at the edge.

use std::collections::BTreeMap;
use std::io;

use stack_model::{Diagnostic, Failure, Fault};

use crate::client::Refusal;

/// A verb that did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The project cannot be read.
    Project {
        /// All that is wrong with it.
        diagnostics: Vec<Diagnostic>,
        /// The files, by the names the diagnostics use.
        texts: BTreeMap<String, String>,
    },
    /// Something else.
    Failed(Failure),
    /// Parts of the project are missing.
    Incomplete(Vec<Casualty>),
    /// Everything has been said; end with this code.
    Code(u8),
}

/// A part of the project that is missing.
#[derive(Debug, Default)]
pub(crate) struct Casualty {
    /// Such as `web-1`.
    pub(crate) subject: String,
    /// Why, with the step in front.
    pub(crate) message: String,
    /// Where the file speaks of it.
    pub(crate) place: Option<String>,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// What waits for it, one line each.
    pub(crate) waiting: Vec<String>,
    /// The last lines of whoever died.
    pub(crate) last_lines: Vec<String>,
}

impl CliError {
    /// A failure of the command itself.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::PermissionDenied => Fault::Denied,
            io::ErrorKind::NotFound => Fault::Missing,
            _ => Fault::Transient,
        };
        Self::Failed(Failure::new(fault, format!("{what}: {error}")))
    }

    /// A mistake in what was typed.
    pub(crate) fn user(message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(Fault::User, message))
    }

    /// Nothing was written because nobody reads any more, as with `stack logs | head`: no error of ours.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Code(0),
            _ => Self::io("cannot write the output", error),
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(diagnostics) => Self::Project { diagnostics, texts: BTreeMap::new() },
            Refusal::Refused(failure) => failure.into(),
        }
    }
}
