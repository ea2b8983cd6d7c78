//! A service: a container specification, how many of it, and when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Build, ContainerSpec};
use crate::{ImageId, Now, Origin, ServiceName};

/// One service of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What each of its containers is.
    pub container: ContainerSpec,
    /// How its image is made; `None` for one that comes from a registry.
    #[serde(default)]
    pub build: Option<Box<Build>>,
    /// What the name of its image meant when the input was accepted: a container of it is not replaced when the name
    /// moves on. `None` for one that was not in the store.
    #[serde(default)]
    pub accepted_image: Option<ImageId>,
    /// How many containers; they are numbered from 1.
    pub replicas: u32,
    /// What must hold before a container starts. Includes implied dependencies.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// Whether it should run at all (`stop` turns it off).
    pub power: Power,
    /// Grows with each `stack restart`; a running container with a smaller number is restarted.
    pub restart_request: u64,
    /// Nobody follows the last of them, however much they ask for it (`depends_on.restart`).
    #[serde(default)]
    pub restart_alone: bool,
    /// When somebody asked last that it runs.
    #[serde(default)]
    pub start_request: StartRequest,
    /// Grows with each `up --force-recreate`; a container with a smaller number is replaced.
    #[serde(default)]
    pub recreate_request: u64,
    /// Grows with each `up --renew-anon-volumes`; volumes without a name that have a smaller number are not used again.
    #[serde(default)]
    pub renew_request: u64,
    /// A container that is there stays as it is, whatever the file says by now: `up --no-recreate`.
    #[serde(default)]
    pub keep: bool,
    /// `up` shows its log, unless it is told otherwise.
    #[serde(default = "shown")]
    pub attach: bool,
    /// It was asked for once: it is never replaced and never started again.
    #[serde(default)]
    pub one_off: Option<OneOff>,
    /// It runs once, before each start of the service of this name that somebody asks for.
    #[serde(default)]
    pub before: Option<ServiceName>,
    /// Where each field was written, by the file's key (`mem_limit`, `environment.DEBUG`, `image`).
    pub origins: BTreeMap<String, Origin>,
    /// Where the service is declared.
    pub origin: Origin,
}

/// What [`Service::attach`] is where nothing is written.
fn shown() -> bool {
    true
}

impl Service {
    /// Where `field` was written: its own place, that of the nearest enclosing field, or the service's.
    pub fn origin_of(&self, field: &str) -> &Origin {
        let mut path = field;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return origin;
            }
            match path.rfind('.') {
                Some(end) => path = &path[..end],
                None => return &self.origin,
            }
        }
    }
}

/// Somebody has asked that a service runs: what ended before is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequest {
    /// When.
    pub at: Now,
    /// What has ended with success, too.
    pub done_too: bool,
}

/// Whether a service should run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It runs, under its restart policy.
    #[default]
    On,
    /// Its containers exist but are stopped.
    Off,
    /// Its containers are made and not started; what runs of it goes on.
    Created,
    /// What runs of it is frozen, and left alone until it may go on.
    Paused,
    /// What runs of it goes on until it ends, and is not started again then: somebody has asked it to end.
    Once,
}

/// How a service that was asked for once is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneOff {
    /// The service of the file that it is like.
    pub of: ServiceName,
    /// Its container goes away when it has ended.
    pub remove: bool,
    /// Its standard streams are this command's own, or its terminal is this command's to show.
    pub client: Option<Client>,
}

/// A command that somebody waits in front of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its process id.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

/// An edge of the dependency graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// What must hold.
    pub condition: Condition,
    /// Restart the dependent when an explicit operation restarts or replaces the dependency.
    pub restart: bool,
    /// Without it, the absence or failure of the dependency is a warning.
    pub required: bool,
    /// Where it is written.
    pub origin: Origin,
}

/// What a dependency waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All its containers have been started.
    Started,
    /// All its containers pass their health check.
    Healthy,
    /// All its containers have ended with exit code 0.
    CompletedSuccessfully,
}
