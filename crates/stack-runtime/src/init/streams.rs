//! Standard input, output and error.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};

use crate::error::StepFailure;
use crate::record::{make_pipe, open_pipe};
use crate::spec::StreamSpec;
use crate::users::Identity;

/// The three streams of a container that writes to pipes of ours.
#[derive(Debug)]
pub(super) struct Streams {
    /// `None` is `/dev/null`.
    input: Option<OwnedFd>,
    output: OwnedFd,
    error: OwnedFd,
}

/// Opens the container's ends. Each pipe is open for reading and writing, so that no one ever gets SIGPIPE or an end
/// of file because a supervisor went away. `None` for a container that has other streams.
pub(super) fn open(spec: &StreamSpec) -> Result<Option<Streams>, StepFailure> {
    let (run, stdin_open) = match spec {
        StreamSpec::Pipes { run, stdin_open } => (run, *stdin_open),
        StreamSpec::Front { run } => (run, false),
        StreamSpec::Inherited { .. } | StreamSpec::Console { .. } => return Ok(None),
    };
    let pipe =
        |name: &str| open_pipe(&run.join(name), OFlags::empty()).map_err(|error| StepFailure::new("open", name, error));
    let input = if stdin_open {
        make_pipe(&run.join("stdin")).map_err(|error| StepFailure::new("make", "stdin", error))?;
        Some(pipe("stdin")?)
    } else {
        None
    };
    Ok(Some(Streams { input, output: pipe("stdout")?, error: pipe("stderr")? }))
}

impl Streams {
    /// Programs open `/dev/stdout` again, by the rules of the pipe's owner.
    pub(super) fn give_to(&self, identity: &Identity) -> Result<(), StepFailure> {
        let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
        for stream in [&self.output, &self.error] {
            rustix::fs::fchown(stream, Some(uid), Some(gid))
                .map_err(|error| StepFailure::new("give the output to", identity.uid.to_string(), error))?;
        }
        Ok(())
    }

    /// Makes them descriptors 0, 1 and 2. To be called inside: a descriptor of the host's `/dev` stays outside.
    pub(super) fn take(&self) -> Result<(), StepFailure> {
        let failed = |error: rustix::io::Errno| StepFailure::new("set up", "the standard streams", error);
        match &self.input {
            Some(input) => rustix::stdio::dup2_stdin(input),
            None => rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(rustix::stdio::dup2_stdin),
        }
        .map_err(failed)?;
        rustix::stdio::dup2_stdout(self.output.as_fd()).map_err(failed)?;
        rustix::stdio::dup2_stderr(self.error.as_fd()).map_err(failed)
    }
}
