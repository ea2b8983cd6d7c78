//! The tools that operations share. Every part may be used from any thread.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use stack_cgroup::Hierarchy;
use stack_image::Store;
use stack_model::{ContainerId, Failure, Layout, ProjectName};
use stack_net::Net;
use stack_runtime::{Predecessors, Spawner};

use crate::failure::failed;

/// What operations of one project work with.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) layout: Layout,
    pub(crate) project: ProjectName,
    /// [`Layout::instance`], computed once.
    pub(crate) instance: String,
    pub(crate) store: Arc<Store>,
    pub(crate) net: Net,
    pub(crate) spawner: Spawner,
    /// Until everything that they keep is open here.
    pub(crate) predecessors: Mutex<Option<Predecessors>>,
    pub(crate) hierarchy: Hierarchy,
    /// The running executable, for the image `stack.local/self`.
    pub(crate) binary: PathBuf,
}

/// A network namespace that outlives the process in it, so that a restart keeps its address and its interfaces.
pub(crate) type Sandbox = Arc<OwnedFd>;

impl Kit {
    /// Opens the store and the host's network. The spawner comes from the caller: it must exist before any thread does.
    pub(crate) fn open(
        layout: Layout,
        project: ProjectName,
        (spawner, predecessors): (Spawner, Predecessors),
        binary: PathBuf,
    ) -> Result<Self, Failure> {
        let store = Arc::new(Store::open(&layout).map_err(failed)?);
        let hierarchy = Hierarchy::detect().map_err(failed)?;
        stack_runtime::sweep_half_made(&layout, &project).map_err(failed)?;
        hierarchy.ensure_project(&layout.cgroup(&project)).map_err(failed)?;
        let net = Net::start().map_err(failed)?;
        let instance = layout.instance();
        let predecessors = Mutex::new(Some(predecessors).filter(|predecessors| !predecessors.is_empty()));
        Ok(Self { layout, project, instance, store, net, spawner, predecessors, hierarchy, binary })
    }

    /// The cgroup of a container, relative to its hierarchy.
    pub(crate) fn cgroup(&self, id: &ContainerId) -> PathBuf {
        self.layout.cgroup(&self.project).join(id.as_str())
    }
}
