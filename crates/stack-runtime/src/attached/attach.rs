//! `attach` from a command: shows what a container writes as it comes, gives it what is typed, and may leave again.
//!
//! What the container writes is read from its log, which the supervisor goes on writing: two readers of one pipe or
//! terminal would each get a part. What is typed goes straight into the pipe or the terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use stack_model::{Container, Layout, ProjectName};

use super::relay::{self, RawMode, Signals};
use crate::log::{LogReader, LogWatch, Stream};
use crate::record::open_pipe;
use crate::{RuntimeError, process, record};

/// What is taken from the command's input at once.
const COPY_BYTES: usize = 16 << 10;
/// What a terminal takes for the end of its input: Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// How a command is attached.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Show what the container has written so far, too. Without it, only what comes.
    pub from_start: bool,
    /// Show nothing: the container writes to the command's own streams.
    pub silent: bool,
    /// Give the container what is typed.
    pub input: bool,
    /// Pass signals of the command on to the container; they end the command otherwise.
    pub signals: bool,
    /// Bytes that, typed in a row, leave the container; empty for none.
    pub detach_keys: Vec<u8>,
}

/// Why a command is not attached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Process 1 has ended.
    Ended,
    /// The user has typed the keys.
    Detached,
}

/// A command at a container. Dropping it gives the command's terminal its old mode and signals their old meaning.
#[expect(missing_debug_implementations, reason = "signals and terminals have nothing to show")]
pub struct Attachment {
    program: Option<OwnedFd>,
    log: Option<(LogReader, LogWatch)>,
    signals: Option<Signals>,
    input: Option<Input>,
    _raw: Option<RawMode>,
}

/// Where what is typed goes.
struct Input {
    to: OwnedFd,
    is_terminal: bool,
    /// Not taken yet.
    pending: Vec<u8>,
    open: bool,
    keys: DetachKeys,
}

impl Attachment {
    /// Attaches to a container. One that has ended already has only its log to show.
    ///
    /// # Errors
    /// The log or the container's input cannot be opened.
    pub fn open(
        (layout, project, container): (&Layout, &ProjectName, &Container),
        options: &AttachOptions,
    ) -> Result<Self, RuntimeError> {
        let log = if options.silent { None } else { Some(open_log(layout, project, container, options.from_start)) };
        let log = log.transpose().map_err(RuntimeError::record(&container.id))?;
        let signals = if options.signals { Some(Signals::catch().map_err(RuntimeError::Spawner)?) } else { None };
        let Some(adopted) = record::adopt(layout, project, &container.id)? else {
            return Ok(Self { program: None, log, signals, input: None, _raw: None });
        };
        if let Some(master) = &adopted.terminal {
            relay::follow_size(master);
        }
        let to = if !options.input {
            None
        } else if adopted.terminal.is_some() {
            adopted.terminal
        } else if container.spec.stdin_open {
            let pipe = layout.container_run(project, &container.id).join("stdin");
            Some(open_pipe(&pipe, OFlags::NONBLOCK).map_err(RuntimeError::record(&container.id))?)
        } else {
            None
        };
        let is_terminal = container.spec.tty;
        let raw = if is_terminal && to.is_some() { RawMode::enter() } else { None };
        let keys = DetachKeys { sequence: options.detach_keys.clone(), matched: 0 };
        let input = to.map(|to| Input { to, is_terminal, pending: Vec::new(), open: true, keys });
        if let Some(input) = &input {
            set_nonblocking(&input.to).map_err(RuntimeError::Spawner)?;
        }
        Ok(Self { program: Some(adopted.pidfd), log, signals, input, _raw: raw })
    }

    /// Shows and types until process 1 has ended or the user leaves.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn follow(&mut self) -> Result<End, RuntimeError> {
        self.show_all()?;
        while self.program.is_some() {
            if let Some(end) = self.turn().map_err(RuntimeError::Spawner)? {
                return Ok(end);
            }
        }
        Ok(End::Ended)
    }

    /// Shows what is in the log by now. Once the supervisor has said that the container has ended, that is all.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn show_all(&mut self) -> Result<(), RuntimeError> {
        let Some((reader, _)) = &mut self.log else { return Ok(()) };
        while let Some((stream, bytes)) = reader.next_bytes().map_err(RuntimeError::Spawner)? {
            let to = match stream {
                Stream::Stdout => stdout(),
                Stream::Stderr => stderr(),
            };
            relay::write_all(to, &bytes);
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<Option<End>> {
        let ready = self.wait()?;
        if ready.signals {
            self.pass_signals();
        }
        if ready.log
            && let Some((_, watch)) = &mut self.log
        {
            watch.drain()?;
            self.show_all().map_err(io::Error::other)?;
        }
        if let Some(input) = &mut self.input {
            if ready.input && input.take() {
                return Ok(Some(End::Detached));
            }
            input.give();
        }
        Ok(ready.program.then_some(End::Ended))
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut ready = Ready::default();
        let own_input = stdin();
        let mut waits: Vec<(BorrowedFd<'_>, PollFlags, &mut bool)> = Vec::new();
        if let Some(program) = &self.program {
            waits.push((program.as_fd(), PollFlags::IN, &mut ready.program));
        }
        if let Some(signals) = &self.signals {
            waits.push((signals.as_fd(), PollFlags::IN, &mut ready.signals));
        }
        if let Some((_, watch)) = &self.log {
            waits.push((watch.as_fd(), PollFlags::IN, &mut ready.log));
        }
        match &self.input {
            // No more is read than the container takes.
            Some(input) if !input.pending.is_empty() => waits.push((input.to.as_fd(), PollFlags::OUT, &mut ready.room)),
            Some(input) if input.open => waits.push((own_input, PollFlags::IN, &mut ready.input)),
            Some(_) | None => {}
        }
        let mut polled: Vec<PollFd<'_>> =
            waits.iter().map(|(fd, flags, _)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        for (polled, (_, _, flag)) in polled.iter().zip(waits) {
            *flag = !polled.revents().is_empty();
        }
        Ok(ready)
    }

    fn pass_signals(&mut self) {
        let Some(signals) = &self.signals else { return };
        while let Some(number) = signals.next() {
            match (&self.input, &self.program) {
                (Some(input), _) if number == nix::libc::SIGWINCH => relay::follow_size(&input.to),
                (_, Some(program)) if number != nix::libc::SIGWINCH => drop(process::signal(program.as_fd(), number)),
                (_, _) => {}
            }
        }
    }
}

/// What there is to do.
#[derive(Default)]
struct Ready {
    program: bool,
    signals: bool,
    log: bool,
    input: bool,
    room: bool,
}

impl Input {
    /// Takes what was typed; `true` when it was the keys that leave.
    fn take(&mut self) -> bool {
        let mut buffer = vec![0; COPY_BYTES];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(length @ 1..) => {
                let (typed, leave) = self.keys.pass(&buffer[..length]);
                self.pending.extend(typed);
                return leave;
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => {
                // A pipe has no end that could be told: others may go on typing.
                self.pending.extend(self.is_terminal.then_some(END_OF_INPUT));
                self.open = false;
            }
        }
        false
    }

    fn give(&mut self) {
        if !self.pending.is_empty()
            && let Ok(written) = rustix::io::write(&self.to, &self.pending)
        {
            self.pending.drain(..written);
        }
    }
}

/// Watches for the keys that leave; a beginning of them is held back until it is known to be something else.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// What is to be passed on of what was typed, and whether the keys were.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.sequence.get(self.matched) != Some(byte) {
                passed.extend_from_slice(&self.sequence[..self.matched]);
                self.matched = 0;
            }
            if self.sequence.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return (passed, true);
                }
            } else {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

fn open_log(
    layout: &Layout,
    project: &ProjectName,
    container: &Container,
    from_start: bool,
) -> io::Result<(LogReader, LogWatch)> {
    let directory = layout.container(project, &container.id);
    // The watch is set before the log is opened, so that nothing in between is missed.
    let mut watch = LogWatch::new()?;
    watch.add(&directory)?;
    let mut reader = LogReader::open(&directory)?;
    while !from_start && reader.next_bytes()?.is_some() {}
    Ok((reader, watch))
}

fn set_nonblocking(descriptor: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(descriptor)?;
    Ok(fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_leave_and_everything_else_is_passed_on() {
        let mut keys = DetachKeys { sequence: vec![16, 17], matched: 0 };
        assert_eq!(keys.pass(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(&[16]), (Vec::new(), false));
        assert_eq!(keys.pass(&[16]), (vec![16], false));
        assert_eq!(keys.pass(b"x"), (vec![16, b'x'], false));
        assert_eq!(keys.pass(&[b'y', 16, 17, b'z']), (b"y".to_vec(), true));
        let mut none = DetachKeys { sequence: Vec::new(), matched: 0 };
        assert_eq!(none.pass(&[16, 17]), (vec![16, 17], false));
    }
}
