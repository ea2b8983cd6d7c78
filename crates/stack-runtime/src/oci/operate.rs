//! What is done to containers that exist.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use fs_err as fs;
use oci_spec::runtime::LinuxResources;
use serde::Serialize;
use stack_cgroup::{Setting, Tree};

use super::state::State;
use super::{OciError, Runtime, resources};
use crate::{hooks, process};

const SIGKILL: i32 = nix::libc::SIGKILL;
/// Limits of version 1: of memory, and of memory and swap together.
const MEMORY: &str = "memory.limit_in_bytes";
const BOTH: &str = "memory.memsw.limit_in_bytes";

/// What a container uses, as `runc events --stats` has it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Statistics {
    /// Nanoseconds of processor time.
    pub cpu_nanos: u64,
    /// Bytes in use.
    pub memory_usage: u64,
    /// The most bytes that were in use.
    pub memory_peak: u64,
    /// The limit, if there is one.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// The most there may be.
    pub pids_limit: Option<u64>,
    /// Processes that were killed for memory.
    pub oom_kills: u64,
}

impl Runtime {
    /// Sends a signal to the container's process, or to all of its processes.
    ///
    /// # Errors
    /// It does not exist, or it has ended.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), OciError> {
        let state = self.load(id)?;
        let tree = Tree::detect()?;
        if all {
            for pid in tree.processes(&state.cgroup) {
                if let Some(pidfd) = u32::try_from(pid).ok().and_then(process::open) {
                    process::signal(pidfd.as_fd(), signal)?;
                }
            }
            return Ok(());
        }
        let pidfd = process::open(state.pid).filter(|_| state.is_alive());
        let Some(pidfd) = pidfd else {
            let status = "stopped (container not running)".to_owned();
            return Err(OciError::Status { operation: "kill", id: id.to_owned(), status });
        };
        process::signal(pidfd.as_fd(), signal)?;
        // A process that is frozen does not die before it is thawed (v1).
        if signal == SIGKILL && !tree.is_v2() && tree.is_frozen(&state.cgroup) {
            tree.freeze(&state.cgroup, false)?;
        }
        Ok(())
    }

    /// Removes a container that has ended; with `force`, ends it first, and one that does not exist is removed.
    ///
    /// # Errors
    /// It still runs, or something of it cannot be removed.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), OciError> {
        let state = match self.load(id) {
            Err(OciError::Missing(_)) if force => {
                // What is left of one that was half-made.
                drop(fs::remove_dir_all(self.directory(id)));
                return Ok(());
            }
            result => result?,
        };
        let tree = Tree::detect()?;
        let status = self.status(&state);
        // One that was never started has nothing to lose.
        if status != "stopped" && status != "created" && !force {
            return Err(OciError::Status { operation: "delete", id: id.to_owned(), status: status.to_owned() });
        }
        self.end(&state, &tree)?;
        tree.remove(&state.cgroup)?;
        if let Some(unit) = &state.scope {
            stack_cgroup::stop_scope(unit)?;
        }
        fs::remove_dir_all(self.directory(id)).map_err(OciError::file("remove the state"))?;
        let text = hooks::state_text(&state.shown(), "stopped", None);
        for hook in &state.poststop {
            // The specification wants the others to run all the same.
            drop(hooks::run(std::slice::from_ref(hook), &text));
        }
        Ok(())
    }

    /// Kills whatever is left in the container and waits until it is gone.
    fn end(&self, state: &State, tree: &Tree) -> Result<(), OciError> {
        if tree.is_frozen(&state.cgroup) {
            tree.freeze(&state.cgroup, false)?;
        }
        if let Some(pidfd) = process::open(state.pid).filter(|_| state.is_alive()) {
            // Somebody may have moved it into a cgroup of his and frozen it there (v1).
            tree.thaw_process(state.pid);
            process::signal(pidfd.as_fd(), SIGKILL)?;
            let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            let ended = rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN);
            let _ = rustix::event::poll(&mut [ended], Some(&limit));
        }
        // Without a process namespace of its own the others are still there.
        for pid in tree.processes(&state.cgroup) {
            if let Some(pidfd) = u32::try_from(pid).ok().and_then(process::open) {
                process::signal(pidfd.as_fd(), SIGKILL)?;
            }
        }
        tree.wait_empty(&state.cgroup);
        Ok(())
    }

    /// Stops every process where it is, or lets them go on.
    ///
    /// # Errors
    /// The container does not run, or there is no freezer.
    pub fn freeze(&self, id: &str, frozen: bool) -> Result<(), OciError> {
        let state = self.load(id)?;
        let status = self.status(&state);
        let (operation, fits) =
            if frozen { ("pause", matches!(status, "running" | "created")) } else { ("resume", status == "paused") };
        if !fits {
            return Err(OciError::Status { operation, id: id.to_owned(), status: status.to_owned() });
        }
        Ok(Tree::detect()?.freeze(&state.cgroup, frozen)?)
    }

    /// Changes the limits of a container.
    ///
    /// # Errors
    /// The kernel refuses a value.
    pub fn update(&self, id: &str, resources: &LinuxResources) -> Result<(), OciError> {
        let state = self.load(id)?;
        let status = self.status(&state);
        if status == "stopped" {
            return Err(OciError::Status { operation: "update", id: id.to_owned(), status: status.to_owned() });
        }
        let tree = Tree::detect()?;
        let mut settings = resources::lower(resources, tree.is_v2());
        let place = |settings: &[Setting], name: &str| settings.iter().position(|setting| setting.file == name);
        let lifted = place(&settings, MEMORY).filter(|at| settings[*at].value.starts_with('-'));
        if lifted.is_some() && place(&settings, BOTH).is_none() && tree.text("memory", &state.cgroup, BOTH).is_some() {
            // Memory without a limit is memory and swap without one.
            settings.push(Setting { controller: "memory".to_owned(), file: BOTH.to_owned(), value: "-1".to_owned() });
        }
        let Err(error) = tree.set(&state.cgroup, &settings) else { return Ok(()) };
        // The one may not exceed the other at any moment: the other order may be the right one.
        let pairs =
            [(MEMORY, BOTH), ("cpu.rt_period_us", "cpu.rt_runtime_us"), ("cpu.cfs_period_us", "cpu.cfs_quota_us")];
        let pairs = pairs.map(|(one, other)| place(&settings, one).zip(place(&settings, other)));
        if pairs.iter().all(Option::is_none) {
            return Err(error.into());
        }
        pairs.into_iter().flatten().for_each(|(one, other)| settings.swap(one, other));
        Ok(tree.set(&state.cgroup, &settings)?)
    }

    /// The process ids of a container, as the host sees them.
    ///
    /// # Errors
    /// It does not exist.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, OciError> {
        let state = self.load(id)?;
        Ok(Tree::detect()?.processes(&state.cgroup))
    }

    /// What a container uses.
    ///
    /// # Errors
    /// It does not exist or has ended.
    pub fn statistics(&self, id: &str) -> Result<Statistics, OciError> {
        let state = self.load(id)?;
        if !state.is_alive() {
            return Err(OciError::Status { operation: "watch", id: id.to_owned(), status: "stopped".to_owned() });
        }
        let tree = Tree::detect()?;
        let text = |controller: &str, file: &str| tree.text(controller, &state.cgroup, file).unwrap_or_default();
        let number = |controller: &str, file: &str| text(controller, file).trim().parse::<u64>().ok();
        let field = |text: String, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
            line.and_then(|value| value.trim().parse::<u64>().ok())
        };
        let limit = |value: Option<u64>| value.filter(|value| *value < 1 << 60);
        Ok(if tree.is_v2() {
            Statistics {
                cpu_nanos: field(text("cpu", "cpu.stat"), "usage_usec").unwrap_or(0).saturating_mul(1000),
                memory_usage: number("memory", "memory.current").unwrap_or(0),
                memory_peak: number("memory", "memory.peak").unwrap_or(0),
                memory_limit: number("memory", "memory.max"),
                pids: number("pids", "pids.current").unwrap_or(0),
                pids_limit: number("pids", "pids.max"),
                oom_kills: field(text("memory", "memory.events"), "oom_kill").unwrap_or(0),
            }
        } else {
            Statistics {
                cpu_nanos: number("cpuacct", "cpuacct.usage").unwrap_or(0),
                memory_usage: number("memory", "memory.usage_in_bytes").unwrap_or(0),
                memory_peak: number("memory", "memory.max_usage_in_bytes").unwrap_or(0),
                memory_limit: limit(number("memory", "memory.limit_in_bytes")),
                pids: number("pids", "pids.current").unwrap_or(0),
                pids_limit: number("pids", "pids.max"),
                oom_kills: field(text("memory", "memory.oom_control"), "oom_kill").unwrap_or(0),
            }
        })
    }

    /// How many of its processes were killed for memory, also when it has ended.
    ///
    /// # Errors
    /// It does not exist.
    pub fn oom_kills(&self, id: &str) -> Result<u64, OciError> {
        let state = self.load(id)?;
        let tree = Tree::detect()?;
        let file = if tree.is_v2() { "memory.events" } else { "memory.oom_control" };
        let text = tree.text("memory", &state.cgroup, file).unwrap_or_default();
        Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0))
    }

    /// Waits until a container ends, at most so long.
    ///
    /// # Errors
    /// It does not exist.
    pub fn wait(&self, id: &str, at_most: std::time::Duration) -> Result<(), OciError> {
        let state = self.load(id)?;
        if let Some(pidfd) = process::open(state.pid).filter(|_| state.is_alive()) {
            let seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
            let limit = rustix::event::Timespec { tv_sec: seconds, tv_nsec: at_most.subsec_nanos().into() };
            let ended = rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN);
            let _ = rustix::event::poll(&mut [ended], Some(&limit));
        }
        Ok(())
    }

    /// Reads resources from a file, or from standard input for `-`.
    ///
    /// # Errors
    /// It cannot be read or is no JSON of resources.
    pub fn read_resources(file: &Path) -> Result<LinuxResources, OciError> {
        let text = if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
        let text = text.map_err(OciError::file("read the resources"))?;
        serde_json::from_str(&text).map_err(|error| OciError::Spec(error.to_string()))
    }
}
