//! What is on disk about a container.
//!
//! `container.json` says what was decided; it is written last, so a directory without it is half-made. `state.json` in
//! the run directory says what became of the process; it is believed only where the kernel agrees. Neither is fsynced:
//! they describe processes, and no process survives the power failure that fsync protects against.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use fs_err as fs;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use stack_cgroup::Hierarchy;
use stack_model::{Container, ContainerId, Exit, Hooks, Layout, Now, ProjectName, State};

use crate::process;
use crate::tree::remove_tree;
use crate::{Adopted, RuntimeError};

const RECORD: &str = "container.json";
const STATE: &str = "state.json";
const HOOKS: &str = "hooks.json";
/// A directory under this prefix is on its way out.
const REMOVING: &str = ".removing-";
/// How much may wait in a pipe while no supervisor reads: `/proc/sys/fs/pipe-max-size`'s default.
const PIPE_BYTES: usize = 1 << 20;

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StateFile {
    state: State,
    /// Field 22 of `/proc/<pid>/stat`: with the pid it names a process for good.
    #[serde(default)]
    start_ticks: u64,
    /// Process 1 is ours and holds the terminal.
    #[serde(default)]
    terminal: bool,
}

/// Makes a container's directories and pipes and writes its record. `false` when it was there already.
///
/// # Errors
/// The store or the run directory cannot be written.
pub fn create_container(layout: &Layout, project: &ProjectName, container: &Container) -> Result<bool, RuntimeError> {
    let directory = layout.container(project, &container.id);
    if directory.join(RECORD).exists() {
        return Ok(false);
    }
    let make = || -> io::Result<()> {
        if let Some(siblings) = directory.parent().filter(|siblings| !siblings.is_dir()) {
            make_private(siblings)?;
            // Filesystems that do not know it do not need it.
            drop(stack_sys::spread_out(siblings));
        }
        make_private(&directory)?;
        // The root of the container's filesystem has the mode that every system's root has.
        DirBuilder::new().recursive(true).mode(0o755).create(directory.join("upper"))?;
        make_private(&directory.join("work"))?;
        make_pipes(&layout.container_run(project, &container.id))?;
        write_json(&directory.join(RECORD), container)
    };
    make().map_err(RuntimeError::record(&container.id))?;
    Ok(true)
}

/// Writes a container's record anew.
///
/// # Errors
/// The store cannot be written.
pub fn update_record(layout: &Layout, project: &ProjectName, container: &Container) -> Result<(), RuntimeError> {
    let path = layout.container(project, &container.id).join(RECORD);
    write_json(&path, container).map_err(RuntimeError::record(&container.id))
}

/// Deletes a container that does not run. `false` when nothing of it was there.
///
/// # Errors
/// Something cannot be deleted; what was left is found by the next call.
pub fn remove_container(
    layout: &Layout,
    project: &ProjectName,
    id: &ContainerId,
    hierarchy: &Hierarchy,
) -> Result<bool, RuntimeError> {
    let mut removed = hierarchy.remove(&layout.cgroup(project).join(id.as_str()))?;
    let directory = layout.container(project, id);
    let doomed = directory.with_file_name(format!("{REMOVING}{id}"));
    let remove = || -> io::Result<bool> {
        let mut removed = false;
        // From the rename on, nobody takes what is left for a container.
        match fs::rename(&directory, &doomed) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        for path in [&doomed, &layout.container_run(project, id)] {
            removed |= remove_tree(path)?;
        }
        Ok(removed)
    };
    removed |= remove().map_err(RuntimeError::record(id))?;
    Ok(removed)
}

/// Writes down what became of a container's process.
///
/// # Errors
/// The run directory cannot be written.
pub fn record_state(
    layout: &Layout,
    project: &ProjectName,
    id: &ContainerId,
    state: &State,
) -> Result<(), RuntimeError> {
    let path = layout.container_run(project, id).join(STATE);
    let before = read_state(&path);
    let file = StateFile {
        state: state.clone(),
        start_ticks: before.as_ref().map_or(0, |before| before.start_ticks),
        terminal: before.is_some_and(|before| before.terminal),
    };
    write_json(&path, &file).map_err(RuntimeError::record(id))
}

/// Writes down how far the hooks of a container's run have come. Most containers have none, and so no file.
///
/// # Errors
/// The run directory cannot be written.
pub fn record_hooks(
    layout: &Layout,
    project: &ProjectName,
    id: &ContainerId,
    hooks: &Hooks,
) -> Result<(), RuntimeError> {
    let path = layout.container_run(project, id).join(HOOKS);
    let written = if *hooks == Hooks::default() {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    } else {
        write_json(&path, hooks)
    };
    written.map_err(RuntimeError::record(id))
}

/// What [`record_hooks`] wrote last; nothing has been run where that cannot be read.
pub fn recorded_hooks(layout: &Layout, project: &ProjectName, id: &ContainerId) -> Hooks {
    let text = fs::read(layout.container_run(project, id).join(HOOKS)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Writes down a process that is about to execute its program, so that it is known from its first moment.
pub(crate) fn record_started(run: &Path, pid: u32, terminal: bool) -> io::Result<()> {
    let state = State::Running { pid, started: now(), stopping: None };
    let start_ticks = process::start_ticks(pid).unwrap_or(0);
    write_json(&run.join(STATE), &StateFile { state, start_ticks, terminal })
}

/// Writes down the end of a process that is still the one in the record.
pub(crate) fn record_ended(run: &Path, pid: u32, exit: Exit) -> io::Result<()> {
    let path = run.join(STATE);
    match read_state(&path) {
        Some(StateFile { state: State::Running { pid: known, started, stopping }, start_ticks, terminal })
            if known == pid =>
        {
            let exit = Exit { requested: stopping.is_some(), ..exit };
            let state = State::Exited { exit, started, finished: now() };
            write_json(&path, &StateFile { state, start_ticks, terminal })
        }
        Some(_) | None => Ok(()),
    }
}

/// What a start that fails has to put back.
pub(crate) fn save_state(run: &Path) -> Option<Vec<u8>> {
    fs::read(run.join(STATE)).ok()
}

/// Puts back what [`save_state`] gave. Where that fails, the next look finds the process gone.
pub(crate) fn restore_state(run: &Path, saved: Option<Vec<u8>>) {
    let path = run.join(STATE);
    drop(match saved {
        Some(bytes) => write_whole(&path, &bytes),
        None => fs::remove_file(&path),
    });
}

/// Every container of a project with what the kernel says about it. Directories on their way out come with
/// [`State::Removing`] only as long as their record can still be read.
///
/// # Errors
/// The store cannot be read.
pub fn observe_containers(layout: &Layout, project: &ProjectName) -> Result<Vec<(Container, State)>, RuntimeError> {
    let directory = layout.project(project).join("containers");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RuntimeError::record(&"list")(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(RuntimeError::record(&"list"))?;
        let Ok(text) = fs::read(entry.path().join(RECORD)) else { continue };
        let Ok(container) = serde_json::from_slice::<Container>(&text) else { continue };
        let leaving = entry.file_name().to_string_lossy().starts_with(REMOVING);
        let state = if leaving { State::Removing } else { state_of(layout, project, &container.id) };
        found.push((container, state));
    }
    Ok(found)
}

/// Deletes what is left of containers that were being made or deleted when something died.
///
/// # Errors
/// Something cannot be deleted.
pub fn sweep_half_made(layout: &Layout, project: &ProjectName) -> Result<(), RuntimeError> {
    let directory = layout.project(project).join("containers");
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(()) };
    for entry in entries.flatten() {
        let leaving = entry.file_name().to_string_lossy().starts_with(REMOVING);
        // An empty record is what a power failure leaves of one that was just being written.
        let is_whole = fs::metadata(entry.path().join(RECORD)).is_ok_and(|record| record.len() > 0);
        if leaving || !is_whole {
            remove_tree(&entry.path()).map_err(RuntimeError::record(&entry.file_name().to_string_lossy()))?;
        }
    }
    Ok(())
}

fn state_of(layout: &Layout, project: &ProjectName, id: &ContainerId) -> State {
    let Some(file) = read_state(&layout.container_run(project, id).join(STATE)) else { return State::Created };
    match file.state {
        State::Running { pid, started, stopping } => {
            if process::start_ticks(pid) == Some(file.start_ticks) {
                return State::Running { pid, started, stopping };
            }
            let exit = Exit { requested: stopping.is_some(), ..Exit::default() };
            State::Exited { exit, started, finished: now() }
        }
        state @ (State::Creating | State::Created | State::Exited { .. } | State::Removing) => state,
    }
}

/// Opens a running container's process. `None` when it does not run.
///
/// # Errors
/// The process cannot be opened although it is there.
pub fn adopt(layout: &Layout, project: &ProjectName, id: &ContainerId) -> Result<Option<Adopted>, RuntimeError> {
    let Some(file) = read_state(&layout.container_run(project, id).join(STATE)) else { return Ok(None) };
    let State::Running { pid, .. } = file.state else { return Ok(None) };
    let Some(pidfd) = process::open_exactly(pid, file.start_ticks) else { return Ok(None) };
    let terminal = if file.terminal { process::terminal_of(pidfd.as_fd()) } else { None };
    Ok(Some(Adopted { pidfd, terminal }))
}

/// The readable ends of a container's output, non-blocking: standard output and standard error. They are open for
/// writing as well, so that they never report an end.
///
/// # Errors
/// The container does not exist.
pub fn open_output(layout: &Layout, project: &ProjectName, id: &ContainerId) -> io::Result<(OwnedFd, OwnedFd)> {
    let run = layout.container_run(project, id);
    make_pipes(&run)?;
    Ok((open_pipe(&run.join("stdout"), OFlags::NONBLOCK)?, open_pipe(&run.join("stderr"), OFlags::NONBLOCK)?))
}

/// Holds a container's output as it is, so that nothing of it is lost.
pub(crate) fn hold_output(run: &Path) -> io::Result<[OwnedFd; 2]> {
    Ok([open_end(&run.join("stdout"), OFlags::NONBLOCK)?, open_end(&run.join("stderr"), OFlags::NONBLOCK)?])
}

/// Opens one end of a FIFO for reading and writing (fifo(7): Linux allows it, and it never blocks).
fn open_end(path: &Path, extra: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | extra, Mode::empty())?)
}

/// The same, and makes the FIFO a large one.
pub(crate) fn open_pipe(path: &Path, extra: OFlags) -> io::Result<OwnedFd> {
    let pipe = open_end(path, extra)?;
    // The larger pipe is comfort: past the user's quota the kernel refuses, and 64 KiB do as well.
    let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
    Ok(pipe)
}

fn make_pipes(run: &Path) -> io::Result<()> {
    make_private(run)?;
    ["stdout", "stderr"].iter().try_for_each(|name| make_pipe(&run.join(name)))
}

/// Makes a FIFO, if there is none.
pub(crate) fn make_pipe(path: &Path) -> io::Result<()> {
    match rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn read_state(path: &Path) -> Option<StateFile> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec_pretty(value)?)
}

/// Writes a whole file or nothing.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)?;
    fs::rename(&part, path)
}

fn now() -> Now {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
