//! From the errors of the crates below to the [`Failure`] that crosses the socket.

use stack_model::{Failure, Fault};

/// An error that knows its kind and its remedy.
pub(crate) trait Explains: std::error::Error + 'static {
    fn fault(&self) -> Fault;
    fn hint(&self) -> Option<String>;
}

/// The whole chain as one failure.
pub(crate) fn failed(error: impl Explains) -> Failure {
    let hint = error.hint();
    Failure { hint, ..Failure::from_error(error.fault(), &error) }
}

macro_rules! explains {
    ($($error:ty),+ $(,)?) => {
        $(impl Explains for $error {
            fn fault(&self) -> Fault {
                <$error>::fault(self)
            }
            fn hint(&self) -> Option<String> {
                <$error>::hint(self)
            }
        })+
    };
}

explains!(
    stack_cgroup::CgroupError,
    stack_image::ImageError,
    stack_net::NetError,
    stack_runtime::RuntimeError,
    VolumeError,
    WatchError,
    FilesError,
);

/// A volume that cannot be made or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("volume {name}")]
    Io { name: String, source: std::io::Error },
}

impl VolumeError {
    fn fault(&self) -> Fault {
        let Self::Io { source, .. } = self;
        fault_of(source)
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

/// The files that are generated for a container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("cannot write a file for the container")]
    Write(#[source] std::io::Error),
    #[error("cannot read the {kind} for {target}")]
    Read { kind: &'static str, target: String, source: std::io::Error },
}

impl FilesError {
    fn fault(&self) -> Fault {
        match self {
            Self::Write(source) | Self::Read { source, .. } => fault_of(source),
        }
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

/// The input files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the input files")]
pub(crate) struct WatchError(#[from] notify::Error);

impl WatchError {
    fn fault(&self) -> Fault {
        Fault::Transient
    }

    fn hint(&self) -> Option<String> {
        matches!(self.0.kind, notify::ErrorKind::MaxFilesWatch).then(|| {
            "raise fs.inotify.max_user_watches with sysctl; until then run `stack up` after an edit".to_owned()
        })
    }
}

/// The kind of an io error.
pub(crate) fn fault_of(error: &std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Fault::Denied,
        std::io::ErrorKind::NotFound => Fault::Missing,
        std::io::ErrorKind::AddrInUse | std::io::ErrorKind::AlreadyExists => Fault::Conflict,
        _ => Fault::Transient,
    }
}
