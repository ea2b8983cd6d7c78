//! Why a layer was refused, and at which entry.

use std::io;
use std::path::PathBuf;

use stack_model::Fault;

use crate::error::{fault_of, io_hint};

/// A layer that was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The stream is not a tar, or ends early.
    #[error("it is damaged after {entries} entries")]
    Damaged {
        /// Entries read before.
        entries: u64,
        /// Why.
        source: io::Error,
    },
    /// An entry that is not allowed.
    #[error("entry `{entry}` is refused: {reason}")]
    Refused {
        /// Path in the layer, shown safely.
        entry: String,
        /// Which rule it breaks.
        reason: Refusal,
    },
    /// A limit was passed.
    #[error("it has more than {max} {what}")]
    Limit {
        /// Such as `entries`.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// It would grow more than honest content does.
    #[error("its {compressed} compressed bytes unpack to more than {max} bytes")]
    Ratio {
        /// In bytes.
        compressed: u64,
        /// In bytes.
        max: u64,
    },
    /// The file system says no.
    #[error("cannot {action} `{entry}` of {size} bytes below {}", below.display())]
    Write {
        /// Such as `write`.
        action: &'static str,
        /// Path in the layer, shown safely.
        entry: String,
        /// Size of the entry in bytes.
        size: u64,
        /// Where it was unpacked.
        below: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The rule that an entry breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `..` in a path.
    #[error("its path leaves the layer")]
    Escape,
    /// A parent is a symbolic link or no directory.
    #[error("its path goes through a link or a file")]
    ThroughLink,
    /// Longer than the kernel takes.
    #[error("its path is too long")]
    TooLong,
    /// A NUL byte in a name.
    #[error("its name holds a NUL byte")]
    Nul,
    /// The root of the layer as anything but a directory.
    #[error("the root of a layer must be a directory")]
    Root,
    /// A whiteout that names nothing, itself or a parent.
    #[error("it is not a valid whiteout")]
    Whiteout,
    /// An opaque mark at the root, which the kernel does not honour.
    #[error("hiding the whole image below is not supported")]
    OpaqueRoot,
    /// A device that no image needs.
    #[error("it is a device node that images may not bring")]
    Device,
    /// A hard link to nothing, to a directory, or to a device.
    #[error("it links to something that is no file of this layer")]
    LinkTarget,
    /// A sparse file in one of GNU tar's formats.
    #[error("sparse files are not supported")]
    Sparse,
    /// An entry type that image layers do not have.
    #[error("its type is not supported in image layers")]
    Type,
    /// Content behind a header of a kind that has none.
    #[error("it has content, which only files have")]
    Content,
    /// A header that readers understand differently.
    #[error("its header says the same thing twice")]
    Ambiguous,
    /// A number in the header is out of range.
    #[error("a number in its header is out of range")]
    Number,
}

impl UnpackError {
    /// What kind of thing failed.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Damaged { source, .. } if source.kind() == io::ErrorKind::ConnectionReset => Fault::Transient,
            Self::Damaged { .. } | Self::Refused { .. } | Self::Limit { .. } | Self::Ratio { .. } => Fault::User,
            Self::Write { source, .. } => fault_of(source),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source, below, .. } => io_hint(source, below),
            Self::Refused { .. } | Self::Limit { .. } | Self::Ratio { .. } => {
                Some("do not trust this image; it was not unpacked".to_owned())
            }
            Self::Damaged { .. } => Some("push or save the image again".to_owned()),
        }
    }
}
