//! Newtypes for every name and identifier, so that two of them cannot be swapped.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A name that breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a valid {kind}: it must match `{rule}`")]
pub struct InvalidName {
    /// What the name was to be, such as "project name".
    pub kind: &'static str,
    /// The name as given.
    pub name: String,
    /// The rule as a regular expression.
    pub rule: &'static str,
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that the caller has checked.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_newtype! {
    /// A project: `^[a-z0-9][a-z0-9_-]*$`.
    ProjectName
}
text_newtype! {
    /// A service as the file calls it.
    ServiceName
}
text_newtype! {
    /// A network as the file calls it; [`crate::Network::name`] holds its real name.
    NetworkName
}
text_newtype! {
    /// A volume by its real name (`<project>_<key>` unless the file names it).
    VolumeName
}
text_newtype! {
    /// A container: 16 lower-case hexadecimal digits, chosen by the plan.
    ContainerId
}
text_newtype! {
    /// A network interface; at most 15 bytes (`IFNAMSIZ` - 1, netdevice(7)).
    IfName
}
text_newtype! {
    /// An image as the file writes it, such as `nginx:1.29` or `127.0.0.1:5000/a@sha256:…`.
    ImageReference
}
text_newtype! {
    /// An image by the digest of its configuration, `sha256:<64 hex>`.
    ImageId
}
text_newtype! {
    /// An uncompressed layer by its digest, `sha256:<64 hex>` (OCI image-spec, config, `rootfs.diff_ids`).
    DiffId
}

impl ProjectName {
    /// Checks the rule of the Compose specification.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let mut chars = text.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        if first && rest {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName { kind: "project name", name: text.to_owned(), rule: "^[a-z0-9][a-z0-9_-]*$" })
        }
    }
}

impl ContainerId {
    /// The first twelve digits, as people see them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}
