//! What the watches keep current: the host's memory between two looks at the machine. Everything in it can be
//! rebuilt by looking, and is when the host starts.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use stack_model::{
    Container, ContainerId, Health, Hooks, HostFacts, IfName, NetworkName, ObservedContainer, ObservedNetwork, Ruleset,
    State,
};

use crate::kit::Sandbox;
use crate::task::Task;

/// One project on this machine.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) containers: BTreeMap<ContainerId, Resident>,
    pub(crate) networks: BTreeMap<NetworkName, ObservedNetwork>,
    /// Interfaces that exist and have a master.
    pub(crate) attached: BTreeSet<IfName>,
    pub(crate) ruleset: Option<Ruleset>,
    pub(crate) host: HostFacts,
    /// Names of networks that the project joins and does not make.
    pub(crate) joined: BTreeSet<String>,
    /// Links, addresses or rules may differ from what is written here.
    pub(crate) network_stale: bool,
    /// The containers have not been looked at since the host started.
    pub(crate) containers_stale: bool,
}

/// A container and everything that this process holds for it.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) container: Container,
    pub(crate) state: State,
    pub(crate) health: Health,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) pidfd: Option<Rc<OwnedFd>>,
    /// Reads its output and waits for its exit.
    pub(crate) task: Option<Task>,
    /// Probes its health.
    pub(crate) probing: Option<Task>,
    /// Runs its hooks.
    pub(crate) hooking: Option<Task>,
    pub(crate) hooks: Hooks,
    /// Its processes are frozen.
    pub(crate) paused: bool,
}

impl Resident {
    /// A container that nothing is held for.
    pub(crate) fn new(container: Container, state: State) -> Self {
        Self {
            container,
            state,
            health: Health::None,
            sandbox: None,
            pidfd: None,
            task: None,
            probing: None,
            hooking: None,
            hooks: Hooks::default(),
            paused: false,
        }
    }

    /// Process 1 runs.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// What the plan sees of it.
    pub(crate) fn observed(&self, attached: &BTreeSet<IfName>) -> ObservedContainer {
        let running = self.is_running();
        let endpoints = &self.container.endpoints;
        ObservedContainer {
            container: self.container.clone(),
            state: self.state.clone(),
            health: self.health.clone(),
            paused: running && self.paused,
            hooks: self.hooks.clone(),
            attached: !running || endpoints.iter().all(|endpoint| attached.contains(&endpoint.host_interface)),
        }
    }
}
