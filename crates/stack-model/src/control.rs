//! What the command line and the supervisor say to each other: one JSON value a line over the control socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Failure, Millis, Observed, Plan, ProjectSource, Service, ServiceName, Stamped};

/// A request of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Read the project and converge to it.
    Up(Box<ProjectSource>, UpOptions),
    /// Change what is wanted without reading the project again.
    Change(PolicyChange),
    /// Send every event with a sequence number above this one, and all that follow.
    Follow(u64),
    /// Answer with [`Reply::Status`].
    Status,
    /// Answer with [`Reply::Plan`] for this project without doing it: what an `up` with these options would do, or what
    /// is left to do of earlier requests.
    Plan(Box<ProjectSource>, Option<UpOptions>),
}

/// Options of `up`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpOptions {
    /// Only these services and what they depend on; empty is all.
    pub services: Vec<ServiceName>,
    /// `--scale`.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Make the containers of services that were not asked for before, and do not start them.
    #[serde(default)]
    pub no_start: bool,
    /// Which containers are replaced.
    #[serde(default)]
    pub recreate: Recreate,
    /// What these services depend on is replaced too.
    #[serde(default)]
    pub recreate_dependencies: bool,
    /// Containers are replaced, and find none of the volumes without a name that they had.
    #[serde(default)]
    pub renew_volumes: bool,
    /// What has ended with success is started again, too; for services that are named it always is.
    #[serde(default)]
    pub rerun: bool,
    /// Only the services themselves, not what they depend on.
    #[serde(default)]
    pub no_deps: bool,
    /// Run this too. No services mean none then.
    #[serde(default)]
    pub errand: Option<Box<Errand>>,
}

/// Which containers `up` replaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recreate {
    /// Those that are not as the file says, where that cannot be changed in place.
    #[default]
    Changed,
    /// All.
    All,
    /// None, until the next request or save.
    None,
}

/// Something to be run once: `stack run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// A name of its own; its container is called `<project>-<name>` unless its specification says otherwise.
    pub name: ServiceName,
    /// What is run; [`Service::one_off`] is set.
    pub service: Service,
}

/// A change of what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyChange {
    /// Stop and remove everything.
    Down {
        /// Delete named volumes too.
        volumes: bool,
        /// Instead of each service's grace period.
        timeout: Option<Millis>,
    },
    /// Stop services; empty is all.
    Stop {
        /// Which.
        services: Vec<ServiceName>,
        /// Instead of each service's grace period.
        timeout: Option<Millis>,
    },
    /// Start stopped services; empty is all.
    Start {
        /// Which.
        services: Vec<ServiceName>,
    },
    /// Freeze what runs of services; empty is all.
    Pause {
        /// Which.
        services: Vec<ServiceName>,
    },
    /// Let frozen services go on; empty is all.
    Unpause {
        /// Which.
        services: Vec<ServiceName>,
    },
    /// Let what ends of services from now on stay down: somebody asks it to end. Empty is all.
    Release {
        /// Which.
        services: Vec<ServiceName>,
    },
    /// Remove the containers of services that are stopped, until they are asked for again; empty is all that are.
    Remove {
        /// Which.
        services: Vec<ServiceName>,
    },
    /// Restart services at the current generation; empty is all.
    Restart {
        /// Which.
        services: Vec<ServiceName>,
        /// Instead of each service's grace period.
        timeout: Option<Millis>,
        /// Services that ask to be restarted together with one of them are not.
        #[serde(default)]
        no_deps: bool,
    },
}

/// An answer of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The request was taken; its effects are events above `sequence`.
    Accepted {
        /// Generation that will satisfy the request.
        generation: u64,
        /// The last event before it.
        sequence: u64,
    },
    /// The request was not taken; nothing changed.
    Refused(Failure),
    /// The project could not be read; nothing changed.
    Rejected(Vec<Diagnostic>),
    /// An event.
    Event(Stamped),
    /// What there is.
    Status(Box<Observed>),
    /// What would be done.
    Plan(Plan),
}
