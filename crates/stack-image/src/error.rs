//! What can go wrong with an image, in words that name the registry, the reference, the digest or the path.

use std::io;
use std::path::PathBuf;

use stack_model::Fault;

use crate::config::ConfigError;
use crate::manifest::DocumentError;
use crate::reference::InvalidReference;
use crate::trouble::Trouble;
use crate::unpack::UnpackError;

/// An image that cannot be found, fetched, read or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The reference breaks the rules.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// The registry does not have it.
    #[error("image {reference} not found in registry {registry}: {code}")]
    NotFound {
        /// The image.
        reference: String,
        /// Host and port.
        registry: String,
        /// What the registry called it, such as `manifest unknown`.
        code: String,
    },
    /// No answer from the registry.
    #[error("registry {registry} is unreachable, so image {reference} cannot be pulled: {reason}")]
    Unreachable {
        /// The image.
        reference: String,
        /// Host and port.
        registry: String,
        /// The last link of the chain of causes, such as `connection refused`.
        reason: String,
    },
    /// The registry wants other credentials.
    #[error("registry {registry} refuses image {reference}: {reason}")]
    Unauthorized {
        /// The image.
        reference: String,
        /// Host and port.
        registry: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry wants fewer requests.
    #[error("registry {registry} has had too many requests for now, image {reference} cannot be pulled")]
    TooManyRequests {
        /// The image.
        reference: String,
        /// Host and port.
        registry: String,
        /// When it wants to be asked again.
        after: Option<std::time::Duration>,
    },
    /// The registry answers, but not with the image.
    #[error("registry {registry} cannot give image {reference}")]
    Registry {
        /// The image.
        reference: String,
        /// Host and port.
        registry: String,
        /// What it said.
        source: Box<RegistryTrouble>,
    },
    /// The image is for other machines.
    #[error("image {reference} is not for {wanted}; it is for {available}")]
    WrongPlatform {
        /// The image.
        reference: String,
        /// This machine.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// Content is not what its digest says.
    #[error("{what} of image {reference} is not what was promised: expected {expected}, got {found}")]
    Mismatch {
        /// Such as `layer`.
        what: &'static str,
        /// The image.
        reference: String,
        /// The promise.
        expected: String,
        /// The truth.
        found: String,
    },
    /// A manifest or index cannot be used.
    #[error("manifest {digest} of image {reference} cannot be used")]
    Manifest {
        /// The image.
        reference: String,
        /// The document.
        digest: String,
        /// Why.
        source: BadDocument,
    },
    /// A configuration cannot be used.
    #[error("configuration {digest} of image {reference} cannot be used")]
    Config {
        /// The image.
        reference: String,
        /// The document.
        digest: String,
        /// Why.
        source: BadConfig,
    },
    /// Something is larger than what is read.
    #[error("{what} of image {reference} has {size} bytes; at most {max} are read")]
    TooLarge {
        /// Such as `manifest`.
        what: &'static str,
        /// The image.
        reference: String,
        /// In bytes.
        size: u64,
        /// In bytes.
        max: u64,
    },
    /// A layer in a form that is not supported.
    #[error("layer {digest} of image {reference} has the unsupported type `{media_type}`")]
    LayerType {
        /// The image.
        reference: String,
        /// The layer.
        digest: String,
        /// Its type.
        media_type: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {digest} of image {reference} cannot be unpacked")]
    Unpack {
        /// The image.
        reference: String,
        /// The layer.
        digest: String,
        /// Why.
        source: UnpackError,
    },
    /// A file is not an image archive.
    #[error("{} is no image archive that can be loaded: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The built-in image is not in any registry.
    #[error("image {0} is built in; no other can have its name")]
    BuiltIn(String),
    /// The store itself fails.
    #[error("cannot {action} {}", path.display())]
    Store {
        /// Such as `write`.
        action: &'static str,
        /// What of.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No image of the store has the name.
    #[error("there is no image {0} in the store")]
    NotHere(String),
    /// Several images have ids that begin so.
    #[error("several images have ids that begin with {0}")]
    Ambiguous(String),
    /// A worker thread died.
    #[error("a worker ended without a result while image {0} was pulled")]
    Worker(String),
}

/// Why a manifest or an index cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadDocument(pub(crate) DocumentError);

/// Why a registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RegistryTrouble(pub(crate) Trouble);

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadConfig(pub(crate) ConfigError);

impl ImageError {
    pub(crate) fn store(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Store { action, path, source: bare(source) }
    }

    /// What kind of thing failed.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Reference(_) | Self::WrongPlatform { .. } | Self::Archive { .. } | Self::BuiltIn(_) => Fault::User,
            Self::NotFound { .. } | Self::NotHere(_) => Fault::Missing,
            Self::Ambiguous(_) => Fault::User,
            Self::Unauthorized { .. } => Fault::Denied,
            Self::Unreachable { .. } | Self::TooManyRequests { .. } | Self::Registry { .. } => Fault::Transient,
            Self::Mismatch { .. } | Self::Manifest { .. } | Self::Config { .. } => Fault::User,
            Self::TooLarge { .. } | Self::LayerType { .. } => Fault::User,
            Self::Unpack { source, .. } => source.fault(),
            Self::Store { source, .. } => fault_of(source),
            Self::Worker(_) => Fault::Bug,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Reference(_) => "write it as in `nginx:1.29` or `registry.example.com:5000/team/app:tag`".to_owned(),
            Self::NotFound { reference, .. } => {
                format!("check name and tag, push it, or load it from a file with `stack load`: {reference}")
            }
            Self::Unreachable { registry, .. } => {
                format!("is {registry} the right registry, and does it run? Images that were pulled before still work")
            }
            Self::Unauthorized { registry, .. } => {
                format!(
                    "log in with `docker login {registry}` or `skopeo login {registry}`, or check the name: \
                         registries answer so for images that do not exist, too"
                )
            }
            Self::TooManyRequests { after: Some(after), .. } => {
                format!("it wants to be asked again in {} seconds; or log in to the registry", after.as_secs())
            }
            Self::TooManyRequests { .. } => "wait some minutes, or log in to the registry".to_owned(),
            Self::WrongPlatform { .. } => "use a tag that was built for this machine".to_owned(),
            Self::Mismatch { .. } => "it is damaged or forged: push or save the image again".to_owned(),
            Self::LayerType { .. } => "push the image with gzip or zstd layers".to_owned(),
            Self::Archive { .. } => "make it with `docker save` or `skopeo copy … oci-archive:FILE`".to_owned(),
            Self::Unpack { source, .. } => return source.hint(),
            Self::Store { source, path, .. } => return io_hint(source, path),
            Self::Registry { .. } | Self::Manifest { .. } | Self::Config { .. } => return None,
            Self::NotHere(_) => "`stack images` lists them".to_owned(),
            Self::Ambiguous(_) => "give more of the id".to_owned(),
            Self::TooLarge { .. } | Self::BuiltIn(_) | Self::Worker(_) => return None,
        };
        Some(text)
    }
}

/// The error of the kernel without the path that `fs_err` puts in front of it: the path is said already.
pub fn bare(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|outer| outer.source()).and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.and_then(io::Error::raw_os_error).map_or(error, io::Error::from_raw_os_error)
}

pub(crate) fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Denied,
        io::ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Transient,
    }
}

pub(crate) fn io_hint(error: &io::Error, path: &std::path::Path) -> Option<String> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
            "free some space on the file system of {}, or choose another store with --root",
            path.display()
        )),
        io::ErrorKind::PermissionDenied => Some("run it as root, or choose another store with --root".to_owned()),
        _ => None,
    }
}
