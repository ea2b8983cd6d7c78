//! The command's side of the control socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use stack_model::{
    Diagnostic, Failure, Fault, Observed, Plan, PolicyChange, ProjectSource, Reply, Request, Stamped, UpOptions,
};

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 << 10;
/// A longer reply is not one of a supervisor.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// A connection to a supervisor.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    /// What was read and not yet taken.
    buffer: Vec<u8>,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
}

/// A request that was taken: what follows from it are events above `sequence` until `generation` is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
}

/// Why a request was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The file is wrong.
    Rejected(Vec<Diagnostic>),
    /// Anything else.
    Refused(Failure),
}

/// What the stream of events has at the moment.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) events: Vec<Stamped>,
    /// The supervisor has ended the stream.
    pub(crate) ended: bool,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(socket)?, buffer: Vec::new(), searched: 0 })
    }

    /// Asks for a project.
    pub(crate) fn up(&mut self, source: ProjectSource, options: UpOptions) -> Result<Accepted, Refusal> {
        self.accepted(&Request::Up(Box::new(source), options))
    }

    /// Asks for a change.
    pub(crate) fn change(&mut self, change: PolicyChange) -> Result<Accepted, Refusal> {
        self.accepted(&Request::Change(change))
    }

    /// What there is.
    pub(crate) fn status(&mut self) -> Result<Observed, Refusal> {
        match self.ask(&Request::Status)? {
            Reply::Status(observed) => Ok(*observed),
            other => Err(unexpected(other)),
        }
    }

    /// What would be done.
    pub(crate) fn plan(&mut self, source: ProjectSource, options: Option<UpOptions>) -> Result<Plan, Refusal> {
        match self.ask(&Request::Plan(Box::new(source), options))? {
            Reply::Plan(plan) => Ok(plan),
            other => Err(unexpected(other)),
        }
    }

    /// Asks for all events above a number; [`Client::take_events`] gives them, and nothing else can be asked any more.
    pub(crate) fn follow(&mut self, after: u64) -> Result<(), Refusal> {
        match self.send(&Request::Follow(after)) {
            // It had nothing more to do and has ended: so have its events.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            sent => sent.map_err(|error| lost(&error))?,
        }
        self.stream.set_nonblocking(true).map_err(|error| lost(&error))
    }

    /// The events that are there, without waiting: poll [`Client::as_fd`] for that.
    pub(crate) fn take_events(&mut self) -> Result<Arrived, Refusal> {
        let mut ended = false;
        loop {
            match self.fill() {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    ended = true;
                    break;
                }
                Err(error) => return Err(lost(&error)),
            }
        }
        let mut events = Vec::new();
        while let Some(reply) = self.take_reply().map_err(|error| lost(&error))? {
            match reply {
                Reply::Event(event) => events.push(event),
                other => return Err(unexpected(other)),
            }
        }
        Ok(Arrived { events, ended })
    }

    fn accepted(&mut self, request: &Request) -> Result<Accepted, Refusal> {
        match self.ask(request)? {
            Reply::Accepted { generation, sequence } => Ok(Accepted { generation, sequence }),
            other => Err(unexpected(other)),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, Refusal> {
        self.converse(request).map_err(|error| lost(&error))
    }

    fn converse(&mut self, request: &Request) -> io::Result<Reply> {
        self.send(request)?;
        loop {
            if let Some(reply) = self.take_reply()? {
                return Ok(reply);
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.len() > REPLY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "its reply has no end"));
        }
        let have = self.buffer.len();
        self.buffer.resize(have + READ_BYTES, 0);
        let result = loop {
            match self.stream.read(&mut self.buffer[have..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(have + result.as_ref().copied().unwrap_or(0));
        result
    }

    fn take_reply(&mut self) -> io::Result<Option<Reply>> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| end + self.searched) else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        let reply = serde_json::from_slice(&self.buffer[..end])?;
        self.buffer.drain(..=end);
        self.searched = 0;
        Ok(Some(reply))
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn unexpected(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(failure) => Refusal::Refused(failure),
        Reply::Rejected(diagnostics) => Refusal::Rejected(diagnostics),
        Reply::Accepted { .. } | Reply::Event(_) | Reply::Status(_) | Reply::Plan(_) => {
            Refusal::Refused(Failure::new(Fault::Bug, "the supervisor answered another question"))
        }
    }
}

fn lost(error: &io::Error) -> Refusal {
    let failure = Failure::new(Fault::Transient, format!("lost the supervisor: {error}"));
    Refusal::Refused(failure.hint("containers go on; run the command again"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use stack_model::{Event, Now};

    use super::*;

    fn event(sequence: u64) -> Reply {
        Reply::Event(Stamped { sequence, at: Now(1), event: Event::Converged { generation: 1 } })
    }

    #[test]
    fn replies_come_whole_however_they_are_cut() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap()).lines();
            assert!(requests.next().unwrap().unwrap().contains("\"down\""));
            let accepted = serde_json::to_string(&Reply::Accepted { generation: 2, sequence: 7 }).unwrap();
            stream.write_all(format!("{accepted}\n").as_bytes()).unwrap();
            assert_eq!(requests.next().unwrap().unwrap(), r#"{"follow":7}"#);
            let events: String =
                (8..2000).map(|sequence| serde_json::to_string(&event(sequence)).unwrap() + "\n").collect();
            for piece in events.as_bytes().chunks(777) {
                stream.write_all(piece).unwrap();
            }
        });
        let mut client = Client::connect(&socket).unwrap();
        let accepted = client.change(PolicyChange::Down { volumes: false, timeout: None }).unwrap();
        assert_eq!((accepted.generation, accepted.sequence), (2, 7));
        client.follow(accepted.sequence).unwrap();
        let mut sequences = Vec::new();
        loop {
            let fd = rustix::event::PollFlags::IN;
            rustix::event::poll(&mut [rustix::event::PollFd::new(&client, fd)], None).unwrap();
            let arrived = client.take_events().unwrap();
            sequences.extend(arrived.events.iter().map(|event| event.sequence));
            if arrived.ended {
                break;
            }
        }
        server.join().unwrap();
        assert!(sequences.into_iter().eq(8..2000));
    }

    #[test]
    fn a_supervisor_that_is_done_at_once_has_no_events() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut client = Client::connect(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            let accepted = serde_json::to_string(&Reply::Accepted { generation: 2, sequence: 7 }).unwrap();
            stream.write_all(format!("{accepted}\n").as_bytes()).unwrap();
        });
        let accepted = client.change(PolicyChange::Down { volumes: false, timeout: None }).unwrap();
        server.join().unwrap();
        client.follow(accepted.sequence).unwrap();
        let arrived = client.take_events().unwrap();
        assert!(arrived.ended && arrived.events.is_empty(), "{arrived:?}");
    }

    #[test]
    fn a_supervisor_that_dies_is_an_error_that_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut client = Client::connect(&socket).unwrap();
        drop(listener.accept().unwrap());
        let Err(Refusal::Refused(failure)) = client.status() else { panic!("no answer is an answer") };
        assert!(failure.message.starts_with("lost the supervisor"), "{failure}");
    }
}
