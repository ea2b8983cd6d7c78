//! The command's side of `exec`: copies between two terminals, passes signals on, takes the exit code.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::Report;
use crate::error::StepFailure;
use crate::spawner::wire;
use crate::{RuntimeError, process};

/// What is copied between the two terminals at once.
const COPY_BYTES: usize = 16 << 10;
/// What a terminal takes for the end of its input: Ctrl-D.
const END_OF_INPUT: u8 = 4;
/// Signals that are the program's, not the command's.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// The signals of the command, as something to wait for. Dropping it gives them their old meaning.
pub(crate) struct Signals {
    descriptor: SignalFd,
    before: SigSet,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        let mut caught = SigSet::from_iter(PASSED_ON);
        caught.add(Signal::SIGWINCH);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&caught), Some(&mut before))?;
        let descriptor = SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor, before })
    }
}

impl Signals {
    /// The next one that has come, by its number.
    pub(super) fn next(&self) -> Option<i32> {
        let signal = self.descriptor.read_signal().ok().flatten()?;
        i32::try_from(signal.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// What is known of the program so far.
#[derive(Default)]
struct Session {
    program: Option<OwnedFd>,
    terminal: Option<Terminal>,
    failure: Option<StepFailure>,
    /// A signal that came before the program was there.
    early: Option<i32>,
}

/// The program's terminal and ours.
struct Terminal {
    master: OwnedFd,
    _raw: Option<RawMode>,
    /// Input that the program has not taken yet.
    pending: Vec<u8>,
    input_open: bool,
    /// The program, or something it has started, has the terminal open.
    output_open: bool,
}

/// Follows a program that is there already to its end.
pub(crate) fn follow_program(
    program: OwnedFd,
    terminal: Option<OwnedFd>,
    signals: &Signals,
) -> Result<i32, RuntimeError> {
    let terminal = terminal.map(Terminal::open).transpose().map_err(RuntimeError::Spawner)?;
    follow_session(
        Session { program: Some(program), terminal, ..Session::default() },
        None,
        signals,
        &Follow::TO_THE_END,
    )
}

/// Follows the program to its end.
pub(super) fn follow(reports: OwnedFd, signals: &Signals, how: &Follow<'_>) -> Result<i32, RuntimeError> {
    follow_session(Session::default(), Some(reports), signals, how)
}

/// How a program is followed.
pub(crate) struct Follow<'a> {
    /// Only until it is executed.
    pub(crate) detach: bool,
    /// Is told its id.
    pub(crate) started: &'a dyn Fn(u32) -> io::Result<()>,
    /// May take its terminal.
    pub(crate) console: &'a dyn Fn(&OwnedFd) -> Option<io::Result<()>>,
}

impl Follow<'_> {
    /// To its end, with our own terminal.
    const TO_THE_END: Follow<'static> = Follow { detach: false, started: &|_| Ok(()), console: &|_| None };
}

fn follow_session(
    mut session: Session,
    mut reports: Option<OwnedFd>,
    signals: &Signals,
    how: &Follow<'_>,
) -> Result<i32, RuntimeError> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let ready = session.wait(reports.as_ref(), signals).map_err(RuntimeError::Spawner)?;
        if ready.signals {
            session.pass_signals(signals);
        }
        if let Some(terminal) = &mut session.terminal {
            terminal.copy(&ready, &mut buffer);
        }
        if ready.reports && !session.take_report(reports.as_ref(), how).map_err(RuntimeError::Spawner)? {
            reports = None;
        }
        if reports.is_some() {
            continue;
        }
        match (&session.program, session.failure.take()) {
            (program, Some(failure)) => {
                if let Some(program) = program {
                    process::exit_of(program.as_fd());
                }
                return Err(RuntimeError::Init(failure));
            }
            (None, None) => return Err(RuntimeError::NotRunning),
            (Some(_), None) if how.detach => return Ok(0),
            (Some(program), None) if ready.program => {
                let code = process::exit_of(program.as_fd()).shell_code();
                if let Some(terminal) = &mut session.terminal {
                    terminal.drain(&mut buffer);
                }
                return Ok(code);
            }
            (Some(_), None) => {}
        }
    }
}

/// What there is to do.
#[derive(Default)]
struct Ready {
    signals: bool,
    reports: bool,
    program: bool,
    output: bool,
    input: bool,
    room: bool,
}

impl Session {
    fn wait(&self, reports: Option<&OwnedFd>, signals: &Signals) -> io::Result<Ready> {
        let mut ready = Ready::default();
        let input = stdin();
        let mut waits: Vec<(PollFd<'_>, &mut bool)> =
            vec![(PollFd::new(&signals.descriptor, PollFlags::IN), &mut ready.signals)];
        if let Some(reports) = reports {
            waits.push((PollFd::new(reports, PollFlags::IN), &mut ready.reports));
        }
        if let Some(program) = &self.program {
            waits.push((PollFd::new(program, PollFlags::IN), &mut ready.program));
        }
        if let Some(terminal) = self.terminal.as_ref().filter(|terminal| terminal.output_open) {
            waits.push((PollFd::new(&terminal.master, PollFlags::IN), &mut ready.output));
            // No more is read than the program takes.
            if !terminal.pending.is_empty() {
                waits.push((PollFd::new(&terminal.master, PollFlags::OUT), &mut ready.room));
            } else if terminal.input_open {
                waits.push((PollFd::from_borrowed_fd(input, PollFlags::IN), &mut ready.input));
            }
        }
        let mut polled: Vec<PollFd<'_>> = waits.iter().map(|(wait, _)| wait.clone()).collect();
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        for (polled, (_, flag)) in polled.iter().zip(waits) {
            *flag = !polled.revents().is_empty();
        }
        Ok(ready)
    }

    /// `false` at the end of the reports: the program has been executed, or there is none.
    fn take_report(&mut self, reports: Option<&OwnedFd>, how: &Follow<'_>) -> io::Result<bool> {
        let Some(reports) = reports else { return Ok(false) };
        let Some((report, mut attached)) = wire::receive::<Report>(reports.as_fd())? else { return Ok(false) };
        match (report, attached.pop()) {
            (Report::Terminal, Some(master)) => match (how.console)(&master) {
                Some(sent) => sent?,
                None => self.terminal = Some(Terminal::open(master)?),
            },
            (Report::Program(pid), Some(program)) => {
                (how.started)(pid)?;
                if let Some(number) = self.early.take() {
                    drop(process::signal(program.as_fd(), number));
                }
                self.program = Some(program);
            }
            (Report::Failed(failure), _) => self.failure = Some(failure),
            (Report::Terminal | Report::Program(_), None) => {}
        }
        Ok(true)
    }

    fn pass_signals(&mut self, signals: &Signals) {
        while let Ok(Some(signal)) = signals.descriptor.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            match (&self.program, &self.terminal) {
                (_, Some(terminal)) if number == Signal::SIGWINCH as i32 => follow_size(&terminal.master),
                (Some(program), _) => drop(process::signal(program.as_fd(), number)),
                (None, _) if number != Signal::SIGWINCH as i32 => self.early = Some(number),
                (None, _) => {}
            }
        }
    }
}

/// Gives the program's terminal the size of ours.
pub(super) fn follow_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(stdin()) {
        // A program that is gone does not mind.
        let _ = tcsetwinsize(master, size);
    }
}

/// Makes a terminal fit our own streams. Before the program can ask or say anything.
pub(crate) fn adapt(master: &OwnedFd) {
    follow_size(master);
    if let (false, Ok(mut modes)) = (rustix::termios::isatty(stdout()), tcgetattr(master)) {
        // Whoever reads it is no terminal and expects lines as programs write them.
        modes.output_modes.remove(OutputModes::ONLCR);
        let _ = tcsetattr(master, OptionalActions::Now, &modes);
    }
}

impl Terminal {
    fn open(master: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK)?;
        adapt(&master);
        Ok(Self { master, _raw: RawMode::enter(), pending: Vec::new(), input_open: true, output_open: true })
    }

    fn copy(&mut self, ready: &Ready, buffer: &mut [u8]) {
        if ready.output {
            self.show(buffer);
        }
        if ready.input {
            match rustix::io::read(stdin(), &mut *buffer) {
                Ok(length @ 1..) => self.pending.extend_from_slice(&buffer[..length]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(0) | Err(_) => {
                    self.pending.push(END_OF_INPUT);
                    self.input_open = false;
                }
            }
        }
        if !self.pending.is_empty()
            && let Ok(written) = rustix::io::write(&self.master, &self.pending)
        {
            self.pending.drain(..written);
        }
    }

    /// Shows what the program has written; `false` when there is nothing more now.
    fn show(&mut self, buffer: &mut [u8]) -> bool {
        match rustix::io::read(&self.master, &mut *buffer) {
            Ok(length @ 1..) => write_all(stdout(), &buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => false,
            Ok(0) | Err(_) => {
                self.output_open = false;
                false
            }
        }
    }

    /// Shows the program's last words.
    fn drain(&mut self, buffer: &mut [u8]) {
        while self.show(buffer) {}
    }
}

pub(super) fn write_all(to: BorrowedFd<'_>, mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::AGAIN) => {
                // Someone has made the command's output non-blocking.
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// The command's terminal without line editing and signals, until this is dropped.
pub(super) struct RawMode(Termios);

impl RawMode {
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}
