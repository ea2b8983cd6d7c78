//! Spawners whose supervisors are gone: each is told to go once a new supervisor has what it keeps.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::Timespec;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use stack_model::{Layout, ProjectName};

use super::Spawner;
use super::wire::Request;
use crate::{RuntimeError, process, record};

const SIGTERM: i32 = nix::libc::SIGTERM;
const SIGKILL: i32 = nix::libc::SIGKILL;
/// One that has been told to go writes a few small files.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: u32,
    start_ticks: u64,
}

impl Identity {
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, start_ticks: process::start_ticks(pid).unwrap_or(0) }
    }

    fn open(self) -> Option<OwnedFd> {
        process::open_exactly(self.pid, self.start_ticks)
    }
}

/// Spawners that keep containers for whoever comes after their supervisors.
#[derive(Debug)]
pub struct Predecessors {
    file: PathBuf,
    own: Identity,
    left: Vec<OwnedFd>,
}

impl Spawner {
    /// Makes this the spawner that keeps the containers of a project: how they end and what they say while no
    /// supervisor runs. Those that did so until now are returned.
    ///
    /// # Errors
    /// The project's run directory cannot be written.
    pub fn keep_for(&mut self, layout: &Layout, project: &ProjectName) -> Result<Predecessors, RuntimeError> {
        let file = layout.project_run(project).join("spawners.json");
        let before: Vec<Identity> =
            fs_err::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let there: Vec<(Identity, OwnedFd)> =
            before.into_iter().filter_map(|identity| Some((identity, identity.open()?))).collect();
        let all: Vec<Identity> = there.iter().map(|(identity, _)| *identity).chain([self.identity]).collect();
        // Written before it keeps anything: one that nobody knows of would stay for ever.
        record::write_json(&file, &all).map_err(RuntimeError::Spawner)?;
        self.keeps = true;
        Ok(Predecessors { file, own: self.identity, left: there.into_iter().map(|(_, pidfd)| pidfd).collect() })
    }

    /// Keeps a container that this spawner has not started; one without a process has its output kept.
    pub fn keep(&self, run: &Path, process: Option<(u32, &OwnedFd)>) {
        let (pid, pidfd) = process.unzip();
        let descriptors: Vec<_> = pidfd.map(AsFd::as_fd).into_iter().collect();
        self.tell(&Request::Keep { run: run.to_path_buf(), pid: pid.unwrap_or(0) }, &descriptors);
    }

    /// Lets go of a container that is being deleted.
    pub fn release(&self, run: &Path) {
        self.tell(&Request::Release { run: run.to_path_buf() }, &[]);
    }
}

impl Predecessors {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Sends them away and waits until all have written down what they saw. Open what they keep before.
    ///
    /// # Errors
    /// One cannot be ended, or the run directory cannot be written.
    pub fn relieve(&self) -> Result<(), RuntimeError> {
        for pidfd in &self.left {
            process::signal(pidfd.as_fd(), SIGTERM)?;
        }
        for pidfd in &self.left {
            let failed = |error: Errno| RuntimeError::Spawner(error.into());
            if !process::wait_end(pidfd, Some(&PATIENCE)).map_err(failed)? {
                process::signal(pidfd.as_fd(), SIGKILL)?;
                process::wait_end(pidfd, None).map_err(failed)?;
            }
        }
        record::write_json(&self.file, &[self.own]).map_err(RuntimeError::Spawner)
    }
}
