//! What is known about an image in the store.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{DiffId, Healthcheck, ImageId};

/// An image that is unpacked and ready to mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Digest of its configuration.
    pub id: ImageId,
    /// Layers, the lowest first.
    pub layers: Vec<DiffId>,
    /// Its configuration.
    pub config: ImageConfig,
}

/// The part of an OCI image configuration that a container takes over (image-spec `config.md`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// Program.
    pub entrypoint: Vec<String>,
    /// Arguments.
    pub cmd: Vec<String>,
    /// Working directory; empty is `/`.
    pub working_dir: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Stop signal as a number.
    pub stop_signal: Option<i32>,
    /// Health check.
    pub healthcheck: Option<Healthcheck>,
    /// Paths that want a volume.
    pub volumes: BTreeSet<String>,
    /// Labels. They are shown and never acted upon.
    pub labels: BTreeMap<String, String>,
}
