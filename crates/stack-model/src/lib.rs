//! The nouns of `stack`: what the user asked for ([`Desired`]), what there is ([`Observed`]), what is to be done
//! ([`Plan`]), what happened ([`Event`]).
//!
//! Plain data without behaviour beyond construction, comparison and display. Nothing here does input or output,
//! reads a clock or knows a system call; every crate of the workspace may use every type of this one.

mod control;
mod desired;
mod diagnostic;
mod ending;
mod event;
mod fingerprint;
mod history;
mod hook;
mod id;
mod image;
mod layout;
mod network;
mod observed;
mod plan;
mod source;
mod unit;

pub use control::{Errand, PolicyChange, Recreate, Reply, Request, UpOptions};
pub use desired::{
    Attachment, Below, Blkio, Client, Condition, ContainerSpec, Dependency, Desired, Device, Dns, ExtraHost, FileKind,
    FileMount, Healthcheck, HostAddress, HostPort, Ipv6Wish, Joint, Limits, LinkOptions, Logging, Mount, MountSource,
    Namespace, Namespaces, Network, NetworkMode, OneOff, PortSpec, Power, Probe, Protocol, PullPolicy, RestartPolicy,
    Seccomp, Security, Service, StartRequest, Ulimit, Volume, VolumesFrom,
};
pub use desired::{Build, BuildNetwork, Dockerfile, NamedContext, SecretSource};
pub use diagnostic::{Diagnostic, Failure, Fault, Label, Patch, Severity};
pub use ending::{Ending, NotExecuted, OutOfMemory, TaskName, signal_name};
pub use event::{Event, OpReport, Stamped};
pub use fingerprint::{fingerprint, short_hex};
pub use history::{Failed, History, Restarts};
pub use hook::{Hook, HookState, Hooks, Stage};
pub use id::{
    ContainerId, DiffId, IfName, ImageId, ImageReference, InvalidName, NetworkName, ProjectName, ServiceName,
    VolumeName,
};
pub use image::{ImageConfig, ImageFacts};
pub use layout::Layout;
pub use network::{Hosts, Names, NetworkRules, PublishedPort, Ruleset, View, Zone};
pub use observed::{
    Bridge, Container, Endpoint, Exit, Health, HostFacts, Neighbour, Observed, ObservedContainer, ObservedNetwork,
    Process, ResolvedMount, ResolvedSource, State, Stopping,
};
pub use plan::{Action, Blocked, Cause, Effect, Key, NetworkPlan, Op, Plan, Until, VolumePlan};
pub use source::{Origin, ProjectSource, Trust};
pub use unit::{Bytes, Millis, NanoCpus, Now};
