//! The platform of this machine in the words of images (Go's `GOOS/GOARCH[/variant]`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A platform as an index or a configuration names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

impl Platform {
    pub(crate) fn of_this_machine() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self { architecture: architecture.to_owned(), os: "linux".to_owned(), variant: variant.to_owned() }
    }

    /// This platform runs what was made for `other`. An image that names no variant fits every variant.
    pub(crate) fn runs(&self, other: &Self) -> bool {
        let variant = other.variant.is_empty() || self.variant.is_empty() || other.variant == self.variant;
        self.os == other.os && self.architecture == other.architecture && variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() && self.architecture.is_empty() {
            return f.write_str("a platform that it does not name");
        }
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The platform of this machine, such as `linux/amd64`: operating system, architecture and variant (may be empty).
pub fn platform() -> (String, String, String) {
    let Platform { architecture, os, variant } = Platform::of_this_machine();
    (os, architecture, variant)
}
