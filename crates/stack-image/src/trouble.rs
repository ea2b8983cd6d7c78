//! Answers of a registry that are none.

use std::time::Duration;

use oci_client::errors::OciDistributionError;
use reqwest::StatusCode;

/// Why a registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It says so itself.
    #[error("it answers {status}")]
    Status {
        /// Of HTTP.
        status: StatusCode,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// The request could not be made or followed.
    #[error(transparent)]
    Request(reqwest::Error),
    /// A part of a blob that nobody asked for.
    #[error("it sends the part of a blob from byte {start} on where byte {asked} was asked for")]
    Range {
        /// Offset in bytes.
        asked: u64,
        /// Offset in bytes.
        start: u64,
    },
    /// While something was pushed.
    #[error(transparent)]
    Push(OciDistributionError),
}

impl Trouble {
    /// Trouble of the moment: the server's own, or a connection that broke.
    pub(crate) fn is_passing(&self) -> bool {
        let passes = |code: u16| code >= 500 || code == 408 || code == 429;
        match self {
            Self::Status { status, .. } => passes(status.as_u16()),
            Self::Push(OciDistributionError::ServerError { code, .. }) => passes(*code),
            Self::Push(OciDistributionError::RequestError(cause)) => {
                cause.status().is_none_or(|status| passes(status.as_u16()))
            }
            Self::Push(OciDistributionError::IoError(_)) => true,
            Self::Request(_) | Self::Range { .. } | Self::Push(_) => false,
        }
    }

    /// When the server wants to be asked again.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::Status { after, .. } => *after,
            Self::Request(_) | Self::Range { .. } | Self::Push(_) => None,
        }
    }
}
