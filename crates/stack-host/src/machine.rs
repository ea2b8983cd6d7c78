//! What the command line does without a supervisor: look, and start one.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};
use stack_engine::{DiskJournal, Journal, Machine};
use stack_model::{Desired, Failure, Fault, Layout, Observed, ProjectName};

use crate::failure::{failed, fault_of};
use crate::{observe, supervisor};

/// This machine, looked at from a command.
#[derive(Debug)]
pub struct LocalMachine {
    layout: Layout,
    binary: PathBuf,
}

impl LocalMachine {
    /// A machine with its store and run directory at `layout`; `binary` is the executable that supervises.
    pub fn new(layout: Layout, binary: PathBuf) -> Self {
        Self { layout, binary }
    }

    /// The right to start a supervisor, until the file is dropped.
    fn turn(&self) -> std::io::Result<fs_err::File> {
        supervisor::make_private(&self.layout.run)?;
        let path = self.layout.run.join("start.lock");
        // Whoever can open it can lock it, and keep everything from starting.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn spawn_supervisor(&self, project: &ProjectName, working_dir: &Path) -> std::io::Result<String> {
        #[expect(clippy::disallowed_methods, reason = "it runs this very executable as the project's supervisor")]
        let mut child = Command::new(&self.binary)
            .args(supervisor::arguments(&self.layout, project))
            .current_dir(if working_dir.is_dir() { working_dir } else { Path::new("/") })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Machine for LocalMachine {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn observe(&self, desired: &Desired) -> Result<Observed, Failure> {
        observe::observe_offline(&self.layout, desired)
    }

    fn last_desired(&self, project: &ProjectName) -> Result<Option<Desired>, Failure> {
        Ok(Journal::load(DiskJournal::new(&self.layout, project)).desired().cloned())
    }

    fn ensure_supervisor(&self, project: &ProjectName, working_dir: &Path) -> Result<(), Failure> {
        let socket = self.layout.control_socket(project);
        if UnixStream::connect(&socket).is_ok() {
            return Ok(());
        }
        let failure =
            |error: std::io::Error| Failure::new(fault_of(&error), format!("cannot start the supervisor: {error}"));
        // Two commands at the same time start one supervisor: the second finds it answering.
        let _turn = self.turn().map_err(failure)?;
        if UnixStream::connect(&socket).is_ok() {
            return Ok(());
        }
        let line = self.spawn_supervisor(project, working_dir).map_err(failure)?;
        if line == supervisor::READY {
            return Ok(());
        }
        let log = self.layout.project_run(project).join("supervisor.log");
        Err(serde_json::from_str(&line).unwrap_or_else(|_| {
            Failure::new(Fault::Bug, "the supervisor ended while it was starting")
                .hint(format!("its last words are in {}", log.display()))
        }))
    }
}

/// Opens what an offline look needs. Kept here so that `observe` stays free of opening.
pub(crate) fn open_store(layout: &Layout) -> Result<stack_image::Store, Failure> {
    stack_image::Store::open(layout).map_err(failed)
}
