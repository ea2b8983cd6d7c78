//! The supervisor's side of the spawner.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::process::{WaitId, WaitIdOptions, waitid};
use stack_cgroup::{Devices, Join};
use stack_model::Namespace;
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use super::predecessors::Identity;
use super::wire::{self, Answer, EnterOrders, GoAhead, Own, Request};
use super::{SPAWNER_ARGUMENT, sealed};
use crate::error::StepFailure;
use crate::spec::{self, DeviceSpec, ProcessSpec, StartSpec, StreamSpec};
use crate::{RuntimeError, device, process, record};

const SIGKILL: i32 = nix::libc::SIGKILL;

/// A handle of the spawner, for any thread. The spawner ends when the last one is dropped, unless it keeps something.
#[derive(Debug, Clone)]
pub struct Spawner {
    /// One request is one packet, so threads may send at the same time.
    requests: Arc<OwnedFd>,
    pub(super) identity: Identity,
    /// It keeps what it starts.
    pub(super) keeps: bool,
}

/// A process that has executed its program.
#[derive(Debug)]
pub struct Started {
    /// Its id in the host's namespace.
    pub pid: u32,
    /// Refers to it for good.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

impl Spawner {
    /// Starts a spawner from a sealed copy of `program`. Call it while this process has one thread.
    ///
    /// # Errors
    /// The process has several threads, or the copy cannot be made or executed.
    pub fn start(program: &Path) -> Result<Self, RuntimeError> {
        let start = || -> io::Result<(OwnedFd, u32)> {
            let whole = SingleThreaded::prove().ok_or_else(|| io::Error::other("the process has several threads"))?;
            let (ours, theirs) = wire::pair()?;
            let copy = sealed::open(program)?;
            match clone_process(whole, Namespaces::default(), false, None)? {
                Cloned::Parent { pid, .. } => Ok((ours, pid)),
                Cloned::Child => {
                    // Descriptor 3 is the one that crosses the exec.
                    let failed = stack_sys::duplicate_to(theirs.as_fd(), super::child::REQUESTS_DESCRIPTOR)
                        .err()
                        .unwrap_or_else(|| sealed::execute(&copy, &["stack", SPAWNER_ARGUMENT]));
                    // The parent sees the end of the socket at its first request.
                    drop(failed);
                    std::process::abort();
                }
            }
        };
        let (requests, pid) = start().map_err(RuntimeError::Spawner)?;
        Ok(Self { requests: Arc::new(requests), identity: Identity::of(pid), keeps: false })
    }

    /// Sends a request that has no answer.
    pub(super) fn tell(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) {
        // A spawner that is gone keeps nothing; the next start says so.
        drop(wire::send(self.requests.as_fd(), request, descriptors));
    }

    /// Starts a container's process and returns once it has executed its program.
    ///
    /// # Errors
    /// The step that failed, with its path and reason.
    pub fn start_container(&self, spec: &StartSpec<'_>) -> Result<Started, RuntimeError> {
        self.launch(spec, None)
    }

    /// Starts a container's process on somebody else's standard streams instead of its pipes.
    ///
    /// # Errors
    /// The step that failed, with its path and reason.
    pub fn start_on_streams(&self, spec: &StartSpec<'_>, streams: &[OwnedFd; 3]) -> Result<Started, RuntimeError> {
        self.launch(spec, Some(streams))
    }

    fn launch(&self, spec: &StartSpec<'_>, streams: Option<&[OwnedFd; 3]>) -> Result<Started, RuntimeError> {
        let container = spec.container;
        let granted = device::look_up(&container.spec.devices).map_err(RuntimeError::Device)?;
        let (nodes, mut rules): (Vec<DeviceSpec>, Vec<String>) =
            granted.into_iter().map(|granted| (granted.node, granted.rule)).unzip();
        rules.extend(container.spec.device_cgroup_rules.iter().cloned());
        let devices = if container.spec.privileged { Devices::All } else { Devices::Usual { and: &rules } };
        let join = spec.hierarchy.create(&spec.cgroup, &container.spec.limits, devices)?;
        let run = spec.layout.container_run(spec.project, &container.id);
        let keep = self.keeps.then(|| run.clone());
        let shared = &container.spec.namespaces;
        let request = Request::Start {
            netns: spec.netns.is_some(),
            pid_of: spec.pid_of.is_some(),
            ipc_of: spec.ipc_of.is_some(),
            own: Own {
                pid: shared.pid == Namespace::Own,
                ipc: shared.ipc == Namespace::Own,
                uts: spec.netns.is_some() && !shared.uts,
            },
            into_cgroup: join.v2_dir.is_some(),
            streams: streams.is_some(),
            keep,
        };
        let mut orders = spec::render(spec, &join, nodes)?;
        if streams.is_some() {
            orders.streams = StreamSpec::Inherited { preserved: 0 };
        }
        let memory = wire::pack(&orders).map_err(RuntimeError::Spawner)?;
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        descriptors.extend([spec.netns, spec.pid_of, spec.ipc_of].into_iter().flatten());
        descriptors.extend(join.v2_dir.as_ref().map(AsFd::as_fd));
        descriptors.extend(streams.into_iter().flatten().map(AsFd::as_fd));
        let has_terminal = container.spec.tty;
        let saved = record::save_state(&run);
        let record = |pid: u32| record::record_started(&run, pid, has_terminal);
        let asked = self.ask(request, &memory, &descriptors, Some(&record));
        let (pid, pidfd) = asked.inspect_err(|_| record::restore_state(&run, saved))?;
        let terminal = if has_terminal { process::terminal_of(pidfd.as_fd()) } else { None };
        Ok(Started { pid, pidfd, terminal })
    }

    /// Runs a program inside a running container, its output to `output`.
    pub(crate) fn enter(
        &self,
        container: BorrowedFd<'_>,
        process: ProcessSpec,
        join: &Join,
        output: BorrowedFd<'_>,
    ) -> Result<Started, RuntimeError> {
        let orders = EnterOrders { cgroup_tasks: join.tasks.clone(), process };
        let memory = wire::pack(&orders).map_err(RuntimeError::Spawner)?;
        let request = Request::Enter { into_cgroup: join.v2_dir.is_some() };
        let mut descriptors = vec![container, output];
        descriptors.extend(join.v2_dir.as_ref().map(AsFd::as_fd));
        let (pid, pidfd) = self.ask(request, &memory, &descriptors, None)?;
        Ok(Started { pid, pidfd, terminal: None })
    }

    /// Sends a request and collects its answers until the last holder of the socket has executed or given up. The new
    /// process waits for the end of `record`, if there is one.
    fn ask(
        &self,
        request: Request,
        orders: &OwnedFd,
        further: &[BorrowedFd<'_>],
        record: Option<&dyn Fn(u32) -> io::Result<()>>,
    ) -> Result<(u32, OwnedFd), RuntimeError> {
        let (answers, theirs) = wire::pair().map_err(RuntimeError::Spawner)?;
        let mut descriptors = vec![orders.as_fd(), theirs.as_fd()];
        descriptors.extend_from_slice(further);
        wire::send(self.requests.as_fd(), &request, &descriptors).map_err(RuntimeError::Spawner)?;
        drop(theirs);
        let mut spawned = None;
        match collect(&answers, record, &mut spawned) {
            Ok(()) => spawned.ok_or_else(|| RuntimeError::Spawner(io::Error::from(io::ErrorKind::UnexpectedEof))),
            Err(error) => {
                // Without our end of the socket a process that waits gives up; one that does not is of no use.
                drop(answers);
                if let Some((_, pidfd)) = spawned {
                    drop(process::signal(pidfd.as_fd(), SIGKILL));
                    reap(&pidfd);
                }
                Err(error)
            }
        }
    }
}

/// Follows one request to its end.
fn collect(
    answers: &OwnedFd,
    record: Option<&dyn Fn(u32) -> io::Result<()>>,
    spawned: &mut Option<(u32, OwnedFd)>,
) -> Result<(), RuntimeError> {
    let mut failure: Option<StepFailure> = None;
    while let Some((answer, mut attached)) = wire::receive::<Answer>(answers.as_fd()).map_err(RuntimeError::Spawner)? {
        match (answer, attached.pop()) {
            (Answer::Spawned(pid), Some(pidfd)) => {
                *spawned = Some((pid, pidfd));
                if let Some(record) = record {
                    record(pid).map_err(RuntimeError::record(&pid))?;
                    // A process that has given up already says why in its answer.
                    drop(wire::send(answers.as_fd(), &GoAhead, &[]));
                }
            }
            // It ends at once, and it is our child.
            (Answer::Passing(_), Some(pidfd)) => reap(&pidfd),
            (Answer::Failed(said), _) => failure = Some(said),
            (Answer::Spawned(_) | Answer::Passing(_), None) => {}
        }
    }
    failure.map_or(Ok(()), |failure| Err(RuntimeError::Init(failure)))
}

fn reap(child: &OwnedFd) {
    let _ = waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
}
