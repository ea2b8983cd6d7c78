//! The one process of a project that stays: it holds the lock, the control socket and the engine.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs_err::File;
use rustix::fs::{FlockOperation, flock};
use stack_cgroup::Hierarchy;
use stack_engine::{Clock, DiskJournal, Ended, Engine, EventBus, Journal};
use stack_model::{Failure, Fault, Layout, Now, ProjectName};
use stack_runtime::Spawner;
use tokio::sync::mpsc;

use crate::control::{self, Control};
use crate::failure::{failed, fault_of};
use crate::host::LinuxHost;
use crate::kit::Kit;
use crate::project::ProjectLoader;

/// Requests that wait for the engine; a client that sends faster waits itself.
const MESSAGES_MAX: usize = 64;
/// Operations run on this many threads: most of their time is spent in the kernel, under locks that more threads
/// would only fight for.
pub(crate) const WORKERS_MAX: usize = 4;
/// An idle worker's stack is given back after this long.
const WORKER_IDLE: Duration = Duration::from_secs(2);
/// Clients have this long to read the last events before the supervisor ends.
const FAREWELL: Duration = Duration::from_millis(200);

/// Descriptors that the table has room for from the beginning, enough for 600 containers: 32 KiB.
const FILE_TABLE: i32 = 4096;

/// A project that comes and goes this often while its lock is taken is not going away: something else is wrong.
const LOCK_TRIES_MAX: usize = 10_000;

/// What `stack supervise` was asked to supervise.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Where things lie.
    pub layout: Layout,
    /// Which project.
    pub project: ProjectName,
    /// The executable that runs now.
    pub binary: PathBuf,
}

/// The line on standard output that tells the parent that the socket answers.
pub(crate) const READY: &str = "ready";

/// Runs the supervisor of a project to its end. Call it before the process has a second thread: the spawner is forked
/// here. Prints [`READY`] or a [`Failure`] as JSON on one line of standard output, then leaves standard output alone.
///
/// # Errors
/// What kept it from starting; the parent has been told already.
pub fn supervise(assignment: &Assignment) -> Result<(), Failure> {
    let started = start(assignment);
    let line = match &started {
        Ok(_) => READY.to_owned(),
        Err(failure) => serde_json::to_string(failure).unwrap_or_else(|_| failure.message.clone()),
    };
    let mut parent = std::io::stdout().lock();
    // A parent that has gone away does not end the supervisor.
    drop(writeln!(parent, "{line}").and_then(|()| parent.flush()));
    drop(parent);
    started?.run(assignment)
}

/// A supervisor whose socket is bound.
struct Ready {
    lock: File,
    kit: Kit,
    listener: std::os::unix::net::UnixListener,
}

fn start(assignment: &Assignment) -> Result<Ready, Failure> {
    let Assignment { layout, project, binary } = assignment;
    // The supervisor must not die with the terminal or the session of the command that started it. It fails only when
    // the process leads a group already, and then it is not in the terminal's foreground group either.
    let _ = rustix::process::setsid();
    raise_file_limit();
    widen_file_table();
    stack_sys::use_one_arena();
    let lock = lock(layout, project)?;
    let open = || {
        detach_streams(&layout.project_run(project).join("supervisor.log"))?;
        let mut spawner = Spawner::start(binary).map_err(failed)?;
        let predecessors = spawner.keep_for(layout, project).map_err(failed)?;
        let kit = Kit::open(layout.clone(), project.clone(), (spawner, predecessors), binary.clone())?;
        Ok((kit, listen(&layout.control_socket(project))?))
    };
    let (kit, listener) = open().inspect_err(|_| withdraw(assignment))?;
    Ok(Ready { lock, kit, listener })
}

fn listen(socket: &Path) -> Result<std::os::unix::net::UnixListener, Failure> {
    control::bind(socket)
        .map_err(|error| Failure::new(fault_of(&error), format!("cannot listen on {}: {error}", socket.display())))
}

/// Takes back what a supervisor that cannot start has made. A project that was there before keeps its directory,
/// which is not empty then, and everything else.
fn withdraw(Assignment { layout, project, .. }: &Assignment) {
    if fs_err::remove_dir(layout.project(project)).is_ok() {
        clear(&layout.project_run(project));
        remove_parents(layout);
    }
}

/// Takes the project's lock. Whoever holds it now is on the way out: its socket did not answer. It deletes the lock's
/// directory as its last act, so each step here can find the ground gone, and is taken again then.
fn lock(layout: &Layout, project: &ProjectName) -> Result<File, Failure> {
    let path = layout.lock(project);
    let take = || -> std::io::Result<Option<File>> {
        make_private(&layout.project_run(project))?;
        make_private(&layout.project(project))?;
        let file: File = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(is_same_file(&file, &path).then_some(file))
    };
    for _ in 0..LOCK_TRIES_MAX {
        match take() {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(fault_of(&error), error.to_string())),
        }
    }
    Err(Failure::new(Fault::Transient, format!("{} disappears as often as it is made; run it again", path.display())))
}

fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs_err::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// Makes a directory that only its owner may enter; those above it that are missing, too.
///
/// # Errors
/// `NotFound` when one of them was deleted meanwhile; what `mkdir(2)` says otherwise.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    // Something was in the way that is a directory or nothing by now: it went between two looks of the library.
    let gone = |path: &Path| path.is_dir() || path.symlink_metadata().is_err_and(|error| error.kind() == NotFound);
    made.map_err(|error| match error.kind() {
        AlreadyExists if path.ancestors().all(gone) => NotFound.into(),
        _ => error,
    })
}

/// Standard input reads nothing, standard error goes to a file that panics can be found in.
fn detach_streams(log: &Path) -> Result<(), Failure> {
    let detach = || -> std::io::Result<()> {
        let file = fs_err::OpenOptions::new().append(true).create(true).open(log)?;
        rustix::stdio::dup2_stderr(&file)?;
        let null = File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(())
    };
    detach().map_err(|error| Failure::new(fault_of(&error), error.to_string()))
}

/// A container costs about six descriptors; the usual soft limit of 1024 would end at 170 of them.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // With the old limit small projects still work, and large ones get an error that names it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Lets the kernel make the table of descriptors large once. Later, when the process has several threads, each doubling
/// holds up whoever needs the next descriptor for a grace period of RCU, 8 to 20 ms (`expand_fdtable`, fs/file.c).
fn widen_file_table() {
    let wide = File::open("/dev/null").map(|file| rustix::io::fcntl_dupfd_cloexec(&file, FILE_TABLE - 1));
    // Under a lower limit the table grows when it must.
    drop(wide);
}

impl Ready {
    fn run(self, assignment: &Assignment) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORKERS_MAX)
            .thread_keep_alive(WORKER_IDLE)
            .build()
            .map_err(|error| Failure::new(Fault::Transient, format!("cannot start the event loop: {error}")))?;
        let Self { lock, kit, listener } = self;
        let ended = tokio::task::LocalSet::new().block_on(&runtime, converge(assignment, kit, listener))?;
        if ended == Ended::Down {
            forget(assignment, lock);
        }
        Ok(())
    }
}

async fn converge(
    assignment: &Assignment,
    kit: Kit,
    listener: std::os::unix::net::UnixListener,
) -> Result<Ended, Failure> {
    let Assignment { layout, project, .. } = assignment;
    let started = |error: std::io::Error| Failure::new(fault_of(&error), error.to_string());
    listener.set_nonblocking(true).map_err(started)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(started)?;
    let journal = Journal::load(DiskJournal::new(layout, project));
    let bus = EventBus::new();
    let loader = ProjectLoader::new(layout, project, Arc::clone(&kit.store));
    let host = LinuxHost::new(kit)?;
    let (engine, messages) = mpsc::channel(MESSAGES_MAX);
    let watching = tokio::task::spawn_local(loader.clone().watch(engine.clone()));
    let control = Control { engine, bus: bus.clone(), loader };
    let places = control::Places::new();
    let serving = tokio::task::spawn_local(control::serve(listener, control, places.clone()));
    let ended = Engine::new(host, RealClock, journal, bus.clone()).run(messages).await;
    watching.abort();
    serving.abort();
    // Whoever asked for this end is still reading, or about to.
    drop(tokio::time::timeout(FAREWELL, places.empty()).await);
    Ok(ended)
}

/// Deletes what a project that is down does not need: everything but its volumes and images. The lock's directory goes
/// last, and each goes under another name: whoever waits for the lock finds no directory or a new one, never one that is
/// being emptied. The lock is held to the end.
fn forget(assignment: &Assignment, lock: File) {
    let Assignment { layout, project, .. } = assignment;
    if let Ok(hierarchy) = Hierarchy::detect() {
        // A cgroup that stays behind is empty, and the next `up` uses it.
        drop(hierarchy.remove_project(&layout.cgroup(project)));
    }
    clear(&layout.project(project));
    clear(&layout.project_run(project));
    remove_parents(layout);
    drop(lock);
}

/// Deletes a directory that others may make anew at any moment. What stays behind is found and used by the next `up`.
fn clear(directory: &Path) {
    // No project has a dot in its name.
    let gone = directory.with_extension("gone");
    // One that was killed at this very point has left its own.
    drop(fs_err::remove_dir_all(&gone));
    if fs_err::rename(directory, &gone).is_ok() {
        drop(fs_err::remove_dir_all(gone));
    }
}

/// The shared parents go with the last project.
fn remove_parents(layout: &Layout) {
    for directory in [layout.run.join("projects"), layout.root.join("projects")] {
        drop(fs_err::remove_dir(directory));
    }
}

/// The machine's clock.
#[derive(Debug)]
struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Now {
        now()
    }

    async fn sleep_until(&self, at: Now) {
        tokio::time::sleep(Duration::from_millis(at.since(now()).0)).await;
    }
}

/// Milliseconds since the epoch; zero on a machine whose clock stands before it.
pub(crate) fn now() -> Now {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The arguments that make the executable a supervisor; [`Assignment`] from them is `stack`'s `main`.
pub(crate) fn arguments(layout: &Layout, project: &ProjectName) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("supervise"), project.as_str().into()];
    for (flag, path) in [("--root", &layout.root), ("--run-dir", &layout.run)] {
        arguments.push(flag.into());
        arguments.push(path.clone().into_os_string());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn the_lock_is_had_while_earlier_supervisors_clear_their_desk() {
        const TIMES: usize = 20_000;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { root: folder.path().join("root"), run: folder.path().join("run") };
        let project = ProjectName::new("shop");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(fs_err::remove_dir_all(layout.project_run(&project)));
                }
            });
            let taken = (0..TIMES).map(|_| lock(&layout, &project)).find(Result::is_err);
            done.store(true, Ordering::Relaxed);
            assert!(taken.is_none(), "{taken:?}");
        });
    }

    #[test]
    fn the_table_of_descriptors_is_wide_before_there_are_containers() {
        widen_file_table();
        let status = fs_err::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse::<i32>().ok());
        assert!(size >= Some(FILE_TABLE), "{size:?}");
    }

    #[test]
    fn nobody_clears_the_desk_of_his_successor() {
        const TIMES: u32 = 400;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { root: folder.path().join("root"), run: folder.path().join("run") };
        let project = ProjectName::new("shop");
        let assignment = Assignment { layout: layout.clone(), project: project.clone(), binary: PathBuf::new() };
        let socket = layout.control_socket(&project);
        let work = &|own: &str| {
            for _ in 0..TIMES {
                let lock = lock(&layout, &project).unwrap();
                (0..20).for_each(|one| {
                    fs_err::write(layout.project_run(&project).join(format!("{own}-{one}")), "").unwrap()
                });
                fs_err::write(&socket, own).unwrap();
                for _ in 0..10 {
                    std::thread::yield_now();
                    assert_eq!(fs_err::read_to_string(&socket).ok().as_deref(), Some(own));
                }
                forget(&assignment, lock);
            }
        };
        std::thread::scope(|scope| {
            for own in ["first", "second", "third"] {
                scope.spawn(move || work(own));
            }
        });
    }
}
