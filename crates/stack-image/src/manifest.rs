//! Manifests, indexes and the layout's `index.json`: the fields that are read, and the others kept as they are.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::platform::Platform;

/// Largest manifest, index or configuration that is read into memory, in bytes.
pub(crate) const DOCUMENT_MAX: u64 = 4 << 20;
/// Largest blob that a document may speak of, in bytes: nothing larger is ever unpacked.
const BLOB_MAX: u64 = 64 << 30;
/// Most layers of an image. overlayfs itself stops at 500 (`OVL_MAX_STACK`).
pub(crate) const LAYERS_MAX: usize = 500;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub(crate) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// The annotation that names an image of a layout (OCI image-spec, annotations).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// When a registry was last asked for what a name means, in milliseconds since the epoch.
pub(crate) const ASKED: &str = "dev.stack.image.asked";

/// Points to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let (platform, annotations, rest) = (None, BTreeMap::new(), Map::new());
        Self { media_type: media_type.to_owned(), digest, size, platform, annotations, rest }
    }
}

/// An image for one platform.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: OCI_MANIFEST.to_owned(), config, layers }
    }

    /// It is of an image, and not of something else that registries keep, too.
    pub(crate) fn check_kind(&self) -> Result<(), DocumentError> {
        match self.config.media_type.as_str() {
            "" | OCI_CONFIG | DOCKER_CONFIG => Ok(()),
            other => Err(DocumentError::Artifact(other.chars().take(100).collect())),
        }
    }
}

/// Images for several platforms, and the table of contents of a layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests: Vec::new(), rest: Map::new() }
    }
}

impl Index {
    pub(crate) fn named(&self, name: &str) -> Option<&Descriptor> {
        self.manifests.iter().find(|descriptor| descriptor.annotations.get(REF_NAME).is_some_and(|other| other == name))
    }
}

/// What a registry or an archive gives for a reference.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// Why a text is neither manifest nor index.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("it is not the expected JSON")]
    Json(#[from] serde_json::Error),
    #[error("schema version {0} is not supported; version 2 is")]
    Version(u64),
    #[error("it has {0} layers; the kernel mounts at most {LAYERS_MAX}")]
    Layers(usize),
    #[error("it is neither a manifest nor an index")]
    Kind,
    #[error("it is an index inside an index")]
    Nested,
    #[error("it is no image: its configuration is of the type `{0}`")]
    Artifact(String),
    #[error("it says that blob {digest} has {size} bytes; at most {BLOB_MAX} are read")]
    Size { digest: Digest, size: u64 },
}

/// What tells documents apart. Whoever writes a key twice, so that two readers take different values, is refused, too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

pub(crate) fn parse_document(bytes: &[u8]) -> Result<Document, DocumentError> {
    let outline: Outline = serde_json::from_slice(bytes)?;
    match outline.schema_version {
        Some(2) => {}
        other => return Err(DocumentError::Version(other.unwrap_or(0))),
    }
    // A document with both lists is one that two readers understand differently (CVE-2021-41190).
    match (outline.manifests.is_some(), outline.layers.is_some()) {
        (true, false) => {
            let index: Index = serde_json::from_slice(bytes)?;
            if matches!(index.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST) {
                return Err(DocumentError::Kind);
            }
            check_sizes(&index.manifests)?;
            Ok(Document::Index(index))
        }
        (false, true) => {
            let manifest: Manifest = serde_json::from_slice(bytes)?;
            if matches!(manifest.media_type.as_str(), OCI_INDEX | DOCKER_INDEX) {
                return Err(DocumentError::Kind);
            }
            if manifest.layers.len() > LAYERS_MAX {
                return Err(DocumentError::Layers(manifest.layers.len()));
            }
            check_sizes(manifest.layers.iter().chain([&manifest.config]))?;
            Ok(Document::Manifest(manifest))
        }
        _ => Err(DocumentError::Kind),
    }
}

/// So that sums of sizes mean something.
fn check_sizes<'d>(blobs: impl IntoIterator<Item = &'d Descriptor>) -> Result<(), DocumentError> {
    match blobs.into_iter().find(|blob| blob.size > BLOB_MAX) {
        Some(Descriptor { digest, size, .. }) => Err(DocumentError::Size { digest: digest.clone(), size: *size }),
        None => Ok(()),
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Of a media type; `None` for what is not a file system layer.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_LAYER | DOCKER_LAYER => Some(Self::None),
            OCI_LAYER_GZIP | DOCKER_LAYER_GZIP => Some(Self::Gzip),
            OCI_LAYER_ZSTD | DOCKER_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }

    /// By the first bytes (RFC 1952 2.3.1; RFC 8878 3.1.1).
    pub(crate) fn of_content(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::None => OCI_LAYER,
            Self::Gzip => OCI_LAYER_GZIP,
            Self::Zstd => OCI_LAYER_ZSTD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_documents_are_refused() {
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#;
        assert!(matches!(parse_document(both), Err(DocumentError::Kind)));
        assert!(matches!(parse_document(br#"{"schemaVersion":1}"#), Err(DocumentError::Version(1))));
        assert!(matches!(parse_document(br#"{}"#), Err(DocumentError::Version(0))));
        assert!(matches!(parse_document(b"<html>"), Err(DocumentError::Json(_))));
        assert!(matches!(parse_document(br#"{"schemaVersion":2,"manifests":[]}"#), Ok(Document::Index(_))));
        let called = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","manifests":[]}}"#);
        assert!(matches!(parse_document(called.as_bytes()), Err(DocumentError::Kind)));
        let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(matches!(parse_document(twice), Err(DocumentError::Json(_))));
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        let zeros = "0".repeat(64);
        let manifest = |media_type: &str, size: u64| {
            let blob = format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{zeros}","size":{size}}}"#);
            match parse_document(format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[]}}"#).as_bytes()) {
                Ok(Document::Manifest(manifest)) => manifest.check_kind(),
                Ok(Document::Index(_)) => Err(DocumentError::Kind),
                Err(error) => Err(error),
            }
        };
        assert!(matches!(manifest(DOCKER_CONFIG, 7), Ok(())));
        assert!(matches!(manifest("", 7), Ok(())));
        assert!(matches!(manifest("application/vnd.cncf.helm.config.v1+json", 7), Err(DocumentError::Artifact(_))));
        assert!(matches!(manifest(OCI_CONFIG, u64::MAX), Err(DocumentError::Size { size: u64::MAX, .. })));
    }
}
