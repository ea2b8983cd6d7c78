//! The handle that everyone else holds.

use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc as reply};
use std::{io, thread};

use rtnetlink::Handle;
use stack_model::{Endpoint, IfName, NetworkPlan, ProjectName, Ruleset};
use tokio::sync::mpsc;

use crate::error::NetError;
use crate::observe::NetObserved;
use crate::watch::Notice;
use crate::wire::Wire;
use crate::{bridge, nft, observe, sandbox, unlink, watch};

/// Stack of a thread that works inside a container's namespace: netlink messages live on the heap.
pub(crate) const WORKER_STACK_BYTES: usize = 256 << 10;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Job = Box<dyn FnOnce(Handle) -> Work + Send>;

/// The network namespace of the thread that called [`Net::start`]. Every method blocks and may be called from any
/// thread, but not from a future that shares its thread with others.
#[derive(Debug, Clone)]
pub struct Net {
    /// Without a bound of its own: every sender waits for the answer before it sends again.
    jobs: mpsc::UnboundedSender<Job>,
    home: Arc<OwnedFd>,
    filter: Arc<Mutex<Option<Wire>>>,
}

impl Net {
    /// Starts the thread that speaks netlink with the calling thread's network namespace. It ends when the last clone
    /// is dropped.
    pub fn start() -> Result<Self, NetError> {
        let home = sandbox::current_namespace()?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let (ready, started) = reply::sync_channel(1);
        // A thread inherits the namespaces of the one that makes it.
        thread::Builder::new()
            .name("stack-net".to_owned())
            .spawn(move || serve(queue, &ready))
            .map_err(|source| NetError::Start { step: "start the network thread", source })?;
        started.recv().map_err(|_| NetError::Ended)??;
        Ok(Self { jobs, home: Arc::new(home), filter: Arc::default() })
    }

    /// Makes the bridge of a network, or mends it: address, state, settings. `alias` is what [`Net::observe`] finds it
    /// by (see [`crate::full_alias`]). Tells whether there was anything to do.
    pub fn ensure_network(&self, plan: &NetworkPlan, alias: &str) -> Result<bool, NetError> {
        let (plan, alias) = (plan.clone(), alias.to_owned());
        self.run(move |handle| async move { bridge::ensure(&handle, &plan, &alias).await })?
    }

    /// Deletes the bridge of a network; one that is gone is success. Tells whether there was one.
    pub fn remove_network(&self, bridge: &IfName) -> Result<bool, NetError> {
        let name = bridge.clone();
        let found = self.run(move |handle| async move { bridge::removable(&handle, &name).await })??;
        let Some(index) = found else { return Ok(false) };
        self.in_namespace(self.home.as_fd(), || unlink::unlink(bridge, index))??;
        Ok(true)
    }

    /// Looks at the bridges of a project and at what else has addresses on this host.
    pub fn observe(&self, instance: &str, project: &ProjectName) -> Result<NetObserved, NetError> {
        let (instance, prefix) = (instance.to_owned(), observe::alias_prefix(instance, project));
        self.run(move |handle| async move { observe::observe(&handle, &instance, &prefix).await })?
    }

    /// Makes a network namespace with loopback and these interfaces, up and addressed. It lives as long as the
    /// descriptor, a process or a socket in it does; the interfaces vanish with it.
    pub fn create_sandbox(&self, endpoints: &[Endpoint]) -> Result<OwnedFd, NetError> {
        on_own_thread(|| sandbox::create(self.home.as_fd(), endpoints))?
    }

    /// Puts lost interfaces of a container back and mends the others. Tells whether there was anything to do.
    pub fn attach(&self, namespace: BorrowedFd<'_>, endpoints: &[Endpoint]) -> Result<bool, NetError> {
        on_own_thread(|| sandbox::attach(self.home.as_fd(), namespace, endpoints))?
    }

    /// Runs `work` on a thread of its own inside a network namespace.
    pub fn in_namespace<T: Send>(
        &self,
        namespace: BorrowedFd<'_>,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, NetError> {
        on_own_thread(|| sandbox::enter(namespace).map(|()| work()))?
    }

    /// Swaps the project's nftables table in one transaction; an empty set deletes it.
    pub fn apply_ruleset(&self, instance: &str, project: &ProjectName, ruleset: &Ruleset) -> Result<(), NetError> {
        let table = nft::table_name(instance, project);
        self.with_filter(&table, |wire| nft::apply(wire, &table, ruleset))
    }

    /// The rules the kernel holds for a project, read back and compared with a fresh rendering: `None` when the table
    /// is absent or anything in it was changed.
    pub fn observe_ruleset(&self, instance: &str, project: &ProjectName) -> Result<Option<Ruleset>, NetError> {
        let table = nft::table_name(instance, project);
        self.with_filter(&table, |wire| nft::observe(wire, &table))
    }

    /// Begins to report changes of links, addresses, routes and rules. Must be read with tokio's `recv`; ends when the
    /// receiver is dropped.
    pub fn watch(&self) -> Result<mpsc::Receiver<Notice>, NetError> {
        self.run(|_| async { watch::watch() })?
    }

    /// Lends the socket of the packet filter. It stays open: the kernel makes whoever closes it wait until what the
    /// last transaction removed is gone, which takes 5 to 10 ms.
    fn with_filter<T>(&self, table: &str, work: impl FnOnce(&mut Wire) -> Result<T, NetError>) -> Result<T, NetError> {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wire = match filter.take() {
            Some(wire) => wire,
            None => self.in_namespace(self.home.as_fd(), || nft::open(table))??,
        };
        // After an error the socket may hold answers that nobody waits for; the next call opens another.
        let result = work(&mut wire)?;
        *filter = Some(wire);
        Ok(result)
    }

    /// Runs a future on the network thread and waits for it.
    fn run<T, F, W>(&self, work: W) -> Result<T, NetError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
        W: FnOnce(Handle) -> F + Send + 'static,
    {
        let (sender, answer) = reply::sync_channel(1);
        let job: Job = Box::new(move |handle| {
            Box::pin(async move {
                // A caller that has gone away does not want the answer.
                drop(sender.send(work(handle).await));
            })
        });
        self.jobs.send(job).map_err(|_| NetError::Ended)?;
        answer.recv().map_err(|_| NetError::Ended)
    }
}

/// The body of the network thread.
fn serve(mut queue: mpsc::UnboundedReceiver<Job>, ready: &reply::SyncSender<Result<(), NetError>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(source) => return drop(ready.send(Err(NetError::Start { step: "start the network thread", source }))),
    };
    runtime.block_on(async {
        let (connection, handle) = match rtnetlink::new_connection() {
            Ok((connection, handle, _)) => (connection, handle),
            Err(source) => return drop(ready.send(Err(NetError::Start { step: "open a netlink socket", source }))),
        };
        tokio::spawn(connection);
        drop(ready.send(Ok(())));
        // One after the other: a list that is asked for while another one is still read from the same socket is refused
        // (EBUSY of `netlink_dump_start`, af_netlink.c), and the kernel does one thing at a time anyway. In a task of its
        // own, so that one that panics takes only its caller's answer away.
        while let Some(job) = queue.recv().await {
            drop(tokio::spawn(job(handle.clone())).await);
        }
    });
}

/// Runs `work` on a thread that nobody else uses, so that it may change its namespace and simply end.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("stack-netns".to_owned()).stack_size(WORKER_STACK_BYTES);
        let worker = worker
            .spawn_scoped(scope, work)
            .map_err(|source: io::Error| NetError::Start { step: "start a thread for a namespace", source })?;
        worker.join().map_err(|_| NetError::Ended)
    })
}
