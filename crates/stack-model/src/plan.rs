//! What is to be done, as a value: printed by `stack plan`, compared by tests, executed unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{
    Blkio, Condition, Container, ContainerId, Failure, IfName, ImageReference, Limits, LinkOptions, Millis, Names,
    NetworkName, Now, ObservedNetwork, Origin, Ruleset, ServiceName, Stage, VolumeName,
};

/// The thing an operation is about. At most one operation of a key is in flight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// An image of the store.
    Image(ImageReference),
    /// A network.
    Network(NetworkName),
    /// A volume.
    Volume(VolumeName),
    /// A container of a service, by number. An old and a new one share the key while one replaces the other.
    Container(ServiceName, u32),
    /// The project's rule set.
    Ruleset,
    /// The project's names.
    Names,
}

/// What the user will feel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Something appears.
    New,
    /// A change under a running process.
    Live,
    /// The process is restarted in the same container.
    Restart,
    /// A new container takes the place of the old one.
    Replace,
    /// Something goes away.
    Remove,
    /// Data is deleted.
    DataLoss,
}

/// Why an operation is in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is wanted and does not exist.
    Missing,
    /// The input changed.
    Changed {
        /// Where the new value stands.
        origin: Origin,
        /// The key.
        field: String,
        /// Value before.
        old: String,
        /// Value now.
        new: String,
    },
    /// The machine changed by itself, or by someone else's hand; the text says what is wrong.
    Drift(String),
    /// A network, volume or dependency it stands on is replaced.
    Follows(Key),
    /// The user asked for it; the text is the verb.
    Requested(String),
    /// The restart policy asks for it; the text says what happened.
    Policy(String),
    /// Nothing wants it any more.
    NotWanted,
    /// It was left half-made.
    HalfMade,
}

/// One step. Both directions are idempotent: what is already so succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Fetch an image and unpack its layers.
    PullImage {
        /// Which.
        image: ImageReference,
    },
    /// Make a bridge, or mend it.
    EnsureNetwork(NetworkPlan),
    /// Delete a bridge.
    RemoveNetwork {
        /// Its interface.
        bridge: IfName,
    },
    /// Make a volume's directory.
    EnsureVolume(VolumePlan),
    /// Delete a volume and what is in it.
    RemoveVolume {
        /// Which.
        name: VolumeName,
    },
    /// Write down a container and make its directories.
    CreateContainer(Box<Container>),
    /// Run process 1 of a container that exists.
    StartContainer {
        /// Which.
        id: ContainerId,
    },
    /// Freeze every process of a running container.
    PauseContainer {
        /// Which.
        id: ContainerId,
    },
    /// Let a frozen container go on.
    UnpauseContainer {
        /// Which.
        id: ContainerId,
    },
    /// Send the stop signal and note the deadline. A process 1 that cannot hear the signal is killed at once, and one
    /// that is frozen goes on, to hear it.
    StopContainer {
        /// Which.
        id: ContainerId,
        /// The signal.
        signal: i32,
        /// Time until [`Action::KillContainer`] follows.
        grace: Millis,
    },
    /// Begin the hooks of a running container, one after the other; [`crate::Hooks`] says what becomes of them.
    RunHooks {
        /// Which.
        id: ContainerId,
        /// Which of its hooks.
        stage: Stage,
        /// The generation that asks for it: a newer one may try again what has failed.
        generation: u64,
    },
    /// Send SIGKILL.
    KillContainer {
        /// Which.
        id: ContainerId,
    },
    /// Delete a container that does not run, with its writable layer, log and anonymous volumes.
    RemoveContainer {
        /// Which.
        id: ContainerId,
    },
    /// Write resource limits under a running container and into its record.
    WriteLimits {
        /// Which.
        id: ContainerId,
        /// The limits.
        limits: Box<Limits>,
    },
    /// Change what is written down about a container, with no effect on its process.
    UpdateRecord(Box<Container>),
    /// Put lost interfaces of a running container back.
    AttachContainer {
        /// Which.
        id: ContainerId,
    },
    /// Swap the project's table; an empty set deletes it.
    ApplyRuleset(Ruleset),
    /// Swap the project's names.
    PublishNames(Names),
}

/// A network with every choice made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The file's name.
    pub network: NetworkName,
    /// Real name.
    pub name: String,
    /// Bridge.
    pub bridge: IfName,
    /// Address of the bridge, with the prefix of the subnet.
    pub gateway: Ipv4Net,
    /// The file asks for no subnet: when this one is taken by someone else, another will do.
    #[serde(default)]
    pub picked: bool,
    /// The same of IPv6, on a network that has it.
    #[serde(default)]
    pub gateway6: Option<Ipv6Net>,
    /// No way out.
    pub internal: bool,
    /// How its interfaces are.
    #[serde(default)]
    pub link: LinkOptions,
    /// No masquerade.
    #[serde(default)]
    pub routed: bool,
}

/// A volume with every choice made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlan {
    /// Real name.
    pub name: VolumeName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A step with its reason and what must be finished before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// What it is about.
    pub key: Key,
    /// The step.
    pub action: Action,
    /// What the user will feel.
    pub effect: Effect,
    /// Why.
    pub cause: Cause,
    /// Indices into [`Plan::ops`] of steps that come first; all smaller than the step's own.
    pub needs: BTreeSet<usize>,
}

/// What a blocked step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// A dependency's condition.
    Dependency {
        /// The service.
        service: ServiceName,
        /// What must hold.
        condition: Condition,
        /// Where it is written.
        origin: Origin,
    },
    /// An image is in the store.
    Image(ImageReference),
    /// A container has ended.
    Exited(ContainerId),
    /// The hooks of a container have ended.
    Hooks(ContainerId, Stage),
    /// The steps now under way about something are done.
    Done(Key),
    /// A point in time; the text says what for, such as `back-off after exit code 1`.
    Time(Now, String),
    /// It cannot work until the input or the machine changes.
    Failed(Failure),
}

/// A step that cannot be taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// What it is about.
    pub key: Key,
    /// The step, in the words of a plan line, such as `start`.
    pub step: String,
    /// What the user will feel.
    pub effect: Effect,
    /// What it waits for.
    pub until: Until,
}

/// A whole plan. Empty means converged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Steps; the order respects their needs.
    pub ops: Vec<Op>,
    /// What waits.
    pub blocked: Vec<Blocked>,
    /// What the user should know although nothing follows from it.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Nothing to do and nothing to wait for.
    pub fn is_converged(&self) -> bool {
        self.ops.is_empty() && self.blocked.is_empty()
    }

    /// The nearest point in time that something waits for.
    pub fn next_time(&self) -> Option<Now> {
        self.blocked.iter().filter_map(|blocked| blocked.until.time()).min()
    }
}

impl Until {
    /// The point in time that it is, if it is one.
    pub fn time(&self) -> Option<Now> {
        match self {
            Self::Time(at, _) => Some(*at),
            Self::Dependency { .. }
            | Self::Image(_)
            | Self::Exited(_)
            | Self::Hooks(..)
            | Self::Done(_)
            | Self::Failed(_) => None,
        }
    }
}

impl NetworkPlan {
    /// What is seen once it is done.
    pub fn done(&self) -> ObservedNetwork {
        ObservedNetwork {
            bridge: self.bridge.clone(),
            gateway: Some(self.gateway),
            gateway6: self.gateway6,
            up: true,
            name: Some(self.name.clone()),
            mtu: self.link.mtu,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "image:{image}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Volume(name) => write!(f, "volume:{name}"),
            Self::Container(service, index) => write!(f, "container:{service}/{index}"),
            Self::Ruleset => f.write_str("ruleset"),
            Self::Names => f.write_str("names"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Live => "live",
            Self::Restart => "restart",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::DataLoss => "data-loss",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Changed { origin, field, old, new } => {
                write!(f, "{}:{} {field} {old} -> {new}", origin.file, origin.line)
            }
            Self::Drift(what) => write!(f, "drift: {what}"),
            Self::Follows(key) => write!(f, "follows {key}"),
            Self::Requested(verb) => write!(f, "requested: {verb}"),
            Self::Policy(what) => write!(f, "restart policy: {what}"),
            Self::NotWanted => f.write_str("not wanted"),
            Self::HalfMade => f.write_str("left half-made"),
        }
    }
}

/// The interfaces and addresses of a container as a plan line shows them.
fn addresses(container: &Container) -> String {
    let list: Vec<Ipv4Addr> = container.endpoints.iter().map(|endpoint| endpoint.address.addr()).collect();
    list.iter().map(|address| format!(" {address}")).collect()
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullImage { .. } => f.write_str("pull"),
            Self::EnsureNetwork(plan) => write!(f, "ensure bridge {} {}", plan.bridge, plan.gateway.trunc()),
            Self::RemoveNetwork { bridge } => write!(f, "remove bridge {bridge}"),
            Self::EnsureVolume(_) => f.write_str("ensure volume"),
            Self::RemoveVolume { .. } => f.write_str("delete volume"),
            Self::CreateContainer(container) => {
                write!(f, "create {}{}", &container.id.short()[..4], addresses(container))
            }
            Self::StartContainer { id } => write!(f, "start {}", &id.short()[..4]),
            Self::StopContainer { id, grace, .. } => write!(f, "stop {} grace {grace}", &id.short()[..4]),
            Self::RunHooks { id, stage, .. } => write!(f, "run {stage} {}", &id.short()[..4]),
            Self::PauseContainer { id } => write!(f, "pause {}", &id.short()[..4]),
            Self::UnpauseContainer { id } => write!(f, "unpause {}", &id.short()[..4]),
            Self::KillContainer { id } => write!(f, "kill {}", &id.short()[..4]),
            Self::RemoveContainer { id } => write!(f, "remove {}", &id.short()[..4]),
            Self::WriteLimits { id, limits } => write!(f, "write limits {}{}", &id.short()[..4], LimitWords(limits)),
            Self::UpdateRecord(container) => write!(f, "update {}", &container.id.short()[..4]),
            Self::AttachContainer { id } => write!(f, "attach {}", &id.short()[..4]),
            Self::ApplyRuleset(ruleset) => write!(f, "apply rules {} ports", ruleset.ports.len()),
            Self::PublishNames(names) => write!(f, "publish names for {} containers", names.views.len()),
        }
    }
}

/// Limits in the words of the file.
struct LimitWords<'a>(&'a Limits);

impl fmt::Display for LimitWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits {
            memory,
            memory_and_swap,
            memory_reservation,
            cpus,
            pids,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpuset,
            memory_swappiness,
            oom_kill_disable,
            blkio,
        } = self.0;
        let bytes = [("memory", memory), ("memswap", memory_and_swap), ("reservation", memory_reservation)];
        for (name, value) in bytes {
            if let Some(value) = value {
                write!(f, " {name} {value}")?;
            }
        }
        if let Some(cpus) = cpus {
            write!(f, " cpus {cpus}")?;
        }
        if let Some(pids) = pids {
            write!(f, " pids {pids}")?;
        }
        let numbers =
            [("shares", cpu_shares), ("period", cpu_period), ("quota", cpu_quota), ("swappiness", memory_swappiness)];
        for (name, value) in numbers {
            if let Some(value) = value {
                write!(f, " {name} {value}")?;
            }
        }
        if let Some(cpuset) = cpuset {
            write!(f, " cpuset {cpuset}")?;
        }
        if *oom_kill_disable {
            f.write_str(" no-oom-kill")?;
        }
        if *blkio != Blkio::default() {
            f.write_str(" blkio")?;
        }
        Ok(())
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dependency { service, condition, origin } => {
                let word = match condition {
                    Condition::Started => "started",
                    Condition::Healthy => "healthy",
                    Condition::CompletedSuccessfully => "completed",
                };
                write!(f, "until {service} {word} ({}:{} depends_on)", origin.file, origin.line)
            }
            Self::Image(image) => write!(f, "until image {image} present"),
            Self::Exited(id) => write!(f, "until {} ended", &id.short()[..4]),
            Self::Hooks(id, stage) => write!(f, "until {stage} of {} has ended", &id.short()[..4]),
            Self::Done(key) => write!(f, "until {key} is done"),
            Self::Time(_, what) => write!(f, "{what}"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
        }
    }
}

impl fmt::Display for Plan {
    /// One line a step, as `stack plan` prints it and the goldens hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, op) in self.ops.iter().enumerate() {
            let needs: Vec<String> = op.needs.iter().map(|need| (need + 1).to_string()).collect();
            let after = if needs.is_empty() { String::new() } else { format!(" after {}", needs.join(",")) };
            let (head, key, action) = (format!("#{}{after}", index + 1), op.key.to_string(), op.action.to_string());
            writeln!(f, "{head:<12} {key:<20} {action:<36} {:<9} {}", op.effect, op.cause)?;
        }
        for blocked in &self.blocked {
            let (key, step) = (blocked.key.to_string(), &blocked.step);
            writeln!(f, "{:<12} {key:<20} {step:<36} {:<9} {}", "blocked", blocked.effect, blocked.until)?;
        }
        for warning in &self.warnings {
            writeln!(f, "{:<12} {warning}", "warning")?;
        }
        Ok(())
    }
}
