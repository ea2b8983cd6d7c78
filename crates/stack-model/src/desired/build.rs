//! How an image is made: everything of `build.*` of a Compose file, and of the options of `docker build`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Ulimit;

/// One build. Paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// The directory that COPY and ADD read.
    pub context: PathBuf,
    /// Where the Dockerfile is.
    pub dockerfile: Dockerfile,
    /// Build arguments, over the defaults of ARG; `None` takes the value of the environment of the command.
    pub args: BTreeMap<String, Option<String>>,
    /// The stage to build, by name or number; `None` is the last.
    pub target: Option<String>,
    /// Names of the image.
    pub tags: Vec<String>,
    /// Labels over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// Do every step, whatever the cache holds.
    pub no_cache: bool,
    /// Stages of which every step is done, whatever the cache holds.
    pub no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images.
    pub pull: bool,
    /// Images of the store whose layers may serve as cached steps; the cache of this machine is always used.
    pub cache_from: Vec<String>,
    /// Platforms; only the one of this machine can be built.
    pub platforms: Vec<String>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Sockets of ssh agents by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// The network of RUN.
    pub network: BuildNetwork,
    /// Lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Limits of getrlimit(2) of RUN, by the name of prlimit(1): `nofile`.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Further contexts by name: they stand before stages and images in FROM and `--from`.
    pub contexts: BTreeMap<String, NamedContext>,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dockerfile {
    /// A file, absolute or relative to the context.
    File(PathBuf),
    /// Its text (`dockerfile_inline`).
    Inline(String),
}

impl Default for Dockerfile {
    fn default() -> Self {
        Self::File("Dockerfile".into())
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of the command's environment.
    Variable(String),
}

/// The network of RUN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildNetwork {
    /// What reaches the outside.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's own.
    Host,
}

/// A context by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedContext {
    /// A directory of the host.
    Directory(PathBuf),
    /// An image (`docker-image://…`).
    Image(String),
    /// An image that another build makes (`service:…`), by its name. No registry is asked for it.
    Built(String),
}
