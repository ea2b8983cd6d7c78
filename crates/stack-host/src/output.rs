//! What containers write: from their pipes into their logs.

use std::os::fd::{AsFd, OwnedFd};

use stack_model::{Container, Failure, Fault, Layout, ProjectName};
use stack_runtime::log::{LogWriter, Stream};
use tokio::io::unix::AsyncFd;

use crate::host::Shared;
use crate::task::readable;

/// The readable ends of a container's output and where it goes.
#[derive(Debug)]
pub(crate) struct Pipes {
    log: LogWriter,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Opens both pipes and the log of a container that is about to start. The pipes stay open for reading and writing on
/// both sides, so neither side ever sees the other go away: the end of the process is told by its pidfd.
pub(crate) fn open(shared: &Shared, container: &Container) -> Result<Pipes, Failure> {
    let kit = &shared.kit;
    open_at(&kit.layout, &kit.project, container)
        .map_err(|error| Failure::new(Fault::Transient, format!("cannot open the log: {error}")))
}

/// Opens them beside the container.
pub(crate) fn open_at(layout: &Layout, project: &ProjectName, container: &Container) -> std::io::Result<Pipes> {
    let (stdout, stderr) = stack_runtime::open_output(layout, project, &container.id)?;
    let directory = layout.container(project, &container.id);
    let log = match container.spec.logging.most {
        Some(most) => LogWriter::open_bounded(&directory, most.0)?,
        None => LogWriter::open(&directory)?,
    };
    Ok(Pipes { log, stdout, stderr })
}

/// Moves output into the log.
#[derive(Debug)]
pub(crate) struct Pump {
    log: LogWriter,
    stdout: AsyncFd<OwnedFd>,
    stderr: AsyncFd<OwnedFd>,
}

impl Pump {
    /// A pump of both pipes; of the terminal instead of the first where there is one.
    pub(crate) fn new(pipes: Pipes, terminal: Option<OwnedFd>) -> Option<Self> {
        let Pipes { log, stdout, stderr } = pipes;
        let stdout = readable(terminal.unwrap_or(stdout)).ok()?;
        Some(Self { log, stdout, stderr: readable(stderr).ok()? })
    }

    /// Moves what comes until there is nothing to follow any more. Cancel-safe.
    pub(crate) async fn run(&mut self) {
        let Self { log, stdout, stderr } = self;
        loop {
            let (source, stream) = tokio::select! {
                ready = stdout.readable() => (ready, Stream::Stdout),
                ready = stderr.readable() => (ready, Stream::Stderr),
            };
            let Ok(mut ready) = source else { return };
            let moved = ready.try_io(|pipe| log.pump(pipe.get_ref().as_fd(), stream));
            match moved {
                // Nothing there: readiness is cleared and comes back with the next byte.
                Err(_) | Ok(Ok(1..)) => {}
                // The other end of a terminal is gone, or the disk is: in both cases there is nothing to follow.
                Ok(Ok(0) | Err(_)) => return,
            }
        }
    }

    /// Moves what is there, when nobody writes any more.
    pub(crate) fn drain(&mut self) {
        let Self { log, stdout, stderr } = self;
        for (source, stream) in [(stdout, Stream::Stdout), (stderr, Stream::Stderr)] {
            while matches!(log.pump(source.get_ref().as_fd(), stream), Ok(1..)) {}
        }
    }
}
