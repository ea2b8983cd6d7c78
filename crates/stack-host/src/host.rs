//! The engine's [`Host`] on the real machine: looks with `observe`, acts with `apply`, wakes by pidfds, netlink,
//! probes and pipes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use stack_engine::{Applying, Host, Wake};
use stack_model::{Desired, Failure, Names, Observed, Op};
use tokio::sync::mpsc;

use crate::kit::Kit;
use crate::names::NameService;
use crate::task::Task;
use crate::world::World;
use crate::{apply, drift, observe};

/// One step may wait for the disk.
const STEPS_MIN: usize = 2;

/// What operations and watches share on the host's thread.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) kit: Arc<Kit>,
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) names: Rc<NameService>,
    pub(crate) ports: Rc<RefCell<stack_net::Ports>>,
    wakes: mpsc::UnboundedSender<Wake>,
}

impl Shared {
    /// Wakes the engine. The queue has no bound of its own: each container has at most one exit and one verdict under
    /// way, and the engine drains it on every turn.
    pub(crate) fn wake(&self, wake: Wake) {
        // An engine that has ended does not want to be woken.
        drop(self.wakes.send(wake));
    }

    /// A way to wake the engine from another thread.
    pub(crate) fn wake_sender(&self) -> mpsc::UnboundedSender<Wake> {
        self.wakes.clone()
    }
}

/// The machine, as far as one project is concerned.
#[derive(Debug)]
pub(crate) struct LinuxHost {
    shared: Shared,
    wakes: mpsc::UnboundedReceiver<Wake>,
    steps_max: usize,
    /// Ends the netlink watch with the host.
    _drift: Task,
}

impl LinuxHost {
    /// A host that knows nothing yet: its first look is a full one. Must be called on the local set.
    pub(crate) fn new(kit: Kit) -> Result<Self, Failure> {
        let (sender, wakes) = mpsc::unbounded_channel();
        let world = World { network_stale: true, containers_stale: true, ..World::default() };
        let shared = Shared {
            kit: Arc::new(kit),
            world: Rc::new(RefCell::new(world)),
            names: Rc::new(NameService::new()),
            ports: Rc::new(RefCell::new(stack_net::Ports::new())),
            wakes: sender,
        };
        let drift = Task::spawn(drift::watch_network(shared.clone()));
        // A step is work of the kernel for the most part: more of them than processors only make each take longer.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let steps_max = processors.clamp(STEPS_MIN, crate::supervisor::WORKERS_MAX);
        Ok(Self { shared, wakes, steps_max, _drift: drift })
    }
}

impl Host for LinuxHost {
    fn steps_max(&self) -> usize {
        self.steps_max
    }

    async fn observe(&mut self, desired: &Desired, fresh: bool) -> Observed {
        observe::note_joined(&self.shared, desired);
        if fresh {
            let mut world = self.shared.world.borrow_mut();
            world.network_stale = true;
            world.containers_stale = true;
        }
        observe::refresh(&self.shared).await;
        observe::renew_self_image(&self.shared, desired).await;
        let images = observe::find_images(&self.shared.kit.store, desired);
        let volumes = observe::volumes(&self.shared.kit.layout, desired, &self.shared.world.borrow());
        let names: Option<Names> = self.shared.names.published();
        let world = self.shared.world.borrow();
        let containers =
            world.containers.iter().map(|(id, resident)| (id.clone(), resident.observed(&world.attached))).collect();
        Observed {
            images,
            networks: world.networks.clone(),
            volumes,
            containers,
            ruleset: world.ruleset.clone(),
            names,
            host: world.host.clone(),
        }
    }

    fn apply(&mut self, op: &Op) -> Applying {
        Box::pin(apply::apply(self.shared.clone(), op.key.clone(), op.action.clone()))
    }

    async fn wait(&mut self) -> Wake {
        match self.wakes.recv().await {
            Some(wake) => wake,
            // `shared` holds a sender for as long as `self` lives.
            None => std::future::pending().await,
        }
    }

    fn rest(&mut self) {
        stack_sys::release_free_memory();
    }
}
