//! What can go wrong with a build.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use stack_image::ImageError;
use stack_model::{Diagnostic, Fault, Label, Origin, Severity};
use stack_runtime::RuntimeError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something in the Dockerfile, with its place.
    #[error("{}", .0.diagnostic)]
    Dockerfile(Box<Mistake>),
    /// The request itself.
    #[error("{message}")]
    Request {
        /// What is wrong with it.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The store or a registry.
    #[error("image")]
    Image(#[from] ImageError),
    /// The runtime.
    #[error("cannot run a step")]
    Runtime(#[from] RuntimeError),
    /// The cgroup of the steps.
    #[error("cannot limit the build")]
    Cgroup(#[from] stack_cgroup::CgroupError),
    /// The network of a step.
    #[error("cannot make the network of a step")]
    Network(#[from] stack_net::NetError),
    /// A file or directory.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// As it fits "cannot {action}".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another stage that this one needs has failed; that failure is reported.
    #[error("another stage has failed")]
    Elsewhere,
    /// Something has to be made, and the builder only finds what was made before.
    #[error("not every step was made before")]
    Unmade,
}

/// A mistake with its place and the text that it is in.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// What is wrong.
    pub diagnostic: Diagnostic,
    /// The Dockerfile, by the name that the diagnostic uses.
    pub texts: BTreeMap<String, String>,
    /// Its kind.
    pub fault: Fault,
}

impl BuildError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: stack_image::bare(source) }
    }

    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::Request { message: message.into(), hint: None }
    }

    /// Its kind.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Dockerfile(mistake) => mistake.fault,
            Self::Request { .. } => Fault::User,
            Self::Image(error) => error.fault(),
            Self::Runtime(error) => error.fault(),
            Self::Cgroup(error) => error.fault(),
            Self::Network(error) => error.fault(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Fault::Denied,
                io::ErrorKind::NotFound => Fault::Missing,
                _ => Fault::Transient,
            },
            Self::Elsewhere | Self::Unmade => Fault::Transient,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request { hint, .. } => hint.clone(),
            Self::Image(error) => error.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Cgroup(error) => error.hint(),
            Self::Network(error) => error.hint(),
            Self::Dockerfile(_) | Self::Io { .. } | Self::Elsewhere | Self::Unmade => None,
        }
    }
}

/// A Dockerfile that mistakes can point into.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// As the user would name it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What is wrong at a place, before the text is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) bytes: Range<usize>,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Wrong {
    pub(crate) fn new(bytes: Range<usize>, code: &'static str, message: impl Into<String>) -> Self {
        Self { bytes, code, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Text {
    /// Turns a mistake into an error that shows its line.
    pub(crate) fn mistake(&self, wrong: Wrong) -> BuildError {
        self.failure(wrong, Fault::User, None)
    }

    pub(crate) fn failure(&self, wrong: Wrong, fault: Fault, reason: Option<String>) -> BuildError {
        let Wrong { bytes, code, message, help } = wrong;
        let start = self.text.floor_char_boundary(bytes.start.min(self.text.len()));
        let end = self.text.floor_char_boundary(bytes.end.clamp(start, self.text.len()));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let origin = Origin {
            file: self.name.clone(),
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        };
        let label = Label { origin, bytes: start..end, text: String::new() };
        let diagnostic = Diagnostic {
            code: code.to_owned(),
            severity: Severity::Error,
            message,
            labels: vec![label],
            reason,
            help,
            patch: None,
        };
        let texts = BTreeMap::from([(self.name.clone(), self.text.clone())]);
        BuildError::Dockerfile(Box::new(Mistake { diagnostic, texts, fault }))
    }
}
