//! What can go wrong with a container, by the step that failed.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stack_model::{Fault, NotExecuted};

/// What is kept of a name in a report.
const TEXT_BYTES_MAX: usize = 1024;

/// A container that cannot be made, started, joined or removed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A record, directory or pipe of the container.
    #[error("container {id}")]
    Record {
        /// The container.
        id: String,
        /// Why; it names the path.
        source: io::Error,
    },
    /// The spawner could not be started or has ended.
    #[error("cannot reach the spawner")]
    Spawner(#[source] io::Error),
    /// Its cgroup.
    #[error("cannot limit the container")]
    Cgroup(#[from] stack_cgroup::CgroupError),
    /// A device of the host.
    #[error("cannot give it a device")]
    Device(#[source] io::Error),
    /// Its profile of system calls.
    #[error("its seccomp profile: {0}")]
    Profile(String),
    /// A step inside the new process failed.
    #[error("{0}")]
    Init(StepFailure),
    /// A signal cannot be sent.
    #[error("cannot send signal {number}")]
    Signal {
        /// Its number.
        number: i32,
        /// Why.
        source: io::Error,
    },
    /// The process is gone.
    #[error("the container does not run")]
    NotRunning,
    /// The command whose streams a container was to have is gone.
    #[error("the command that asked for it (process {pid}) has ended")]
    ClientGone {
        /// Its process id.
        pid: u32,
    },
}

/// What the new process reports before it gives up: data that fits through a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// What was being done, as it fits "cannot {step}".
    pub step: String,
    /// The path or name it was being done to; may be empty.
    pub subject: String,
    /// errno; 0 when `detail` says all.
    pub errno: i32,
    /// What errno does not say.
    pub detail: String,
    /// The program could not be executed, for this reason.
    #[serde(default)]
    pub not_executed: Option<NotExecuted>,
}

impl StepFailure {
    /// A failed system call.
    pub(crate) fn new(step: &str, subject: impl Into<String>, errno: impl Into<io::Error>) -> Self {
        let error: io::Error = errno.into();
        let errno = error.raw_os_error().unwrap_or(0);
        let detail = if errno == 0 { error.to_string() } else { String::new() };
        Self { errno, ..Self::because(step, subject, detail) }
    }

    /// A failure that is no system call's.
    pub(crate) fn because(step: &str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            step: step.to_owned(),
            subject: shorten(subject.into()),
            errno: 0,
            detail: shorten(detail.into()),
            not_executed: None,
        }
    }
}

impl std::fmt::Display for StepFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {}", self.step)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if self.errno != 0 {
            write!(f, ": {}", reason(self.errno))?;
        }
        Ok(())
    }
}

/// A program's name may be as long as a page and comes from the image; the report has to fit into a packet.
fn shorten(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

/// The system's words for an errno, lower case.
pub(crate) fn reason(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}

impl RuntimeError {
    /// Its kind.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Signal { source, .. } if source.raw_os_error() == Some(nix::libc::EINVAL) => Fault::User,
            Self::Record { source, .. }
            | Self::Spawner(source)
            | Self::Signal { source, .. }
            | Self::Device(source) => of_error(source),
            Self::Profile(_) => Fault::User,
            Self::Cgroup(error) => error.fault(),
            // What the container's process is given comes from the file and the image: an edit mends it.
            Self::Init(failure) if failure.errno == 0 => Fault::User,
            Self::Init(failure) => of_errno(failure.errno),
            Self::NotRunning | Self::ClientGone { .. } => Fault::Missing,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cgroup(error) => error.hint(),
            Self::Init(failure) if failure.step == "bind" && failure.errno == nix::libc::ENOENT => {
                Some(format!("create {} or correct the path in `volumes`", failure.subject))
            }
            Self::Init(failure) if failure.step == "execute" => {
                Some("look at `command` and `entrypoint`, and at what the image contains".to_owned())
            }
            Self::Device(_) => Some("look at `devices`".to_owned()),
            Self::Profile(_) => Some("look at the file that `security_opt` names".to_owned()),
            Self::Record { .. }
            | Self::Spawner(_)
            | Self::Init(_)
            | Self::Signal { .. }
            | Self::NotRunning
            | Self::ClientGone { .. } => (self.fault() == Fault::Denied).then(|| "run as root".to_owned()),
        }
    }

    pub(crate) fn record(id: &impl ToString) -> impl FnOnce(io::Error) -> Self {
        let id = id.to_string();
        move |source| Self::Record { id, source }
    }
}

/// An error that carries its path has no number any more, but still its kind.
fn of_error(error: &io::Error) -> Fault {
    match (error.raw_os_error(), error.kind()) {
        (Some(errno), _) => of_errno(errno),
        (None, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Fault::Denied,
        (None, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Fault::Missing,
        (None, io::ErrorKind::AlreadyExists) => Fault::Conflict,
        (None, _) => Fault::Transient,
    }
}

fn of_errno(errno: i32) -> Fault {
    match errno {
        nix::libc::EPERM | nix::libc::EACCES | nix::libc::EROFS => Fault::Denied,
        nix::libc::ENOENT | nix::libc::ENOTDIR | nix::libc::ENOSYS | nix::libc::ENODEV => Fault::Missing,
        nix::libc::EEXIST | nix::libc::EADDRINUSE => Fault::Conflict,
        _ => Fault::Transient,
    }
}

/// A path that is named in errors.
pub(crate) fn shown(path: &std::path::Path) -> String {
    PathBuf::from(path).display().to_string()
}
