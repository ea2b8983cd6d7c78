//! A connection to systemd: over the system bus, or over its own socket where no bus runs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::message::{self, ERROR, FIXED, RETURN, SIGNAL, Target, Writer};
use crate::CgroupError;

/// The bus (D-Bus specification, "System message bus").
const BUS: &str = "/run/dbus/system_bus_socket";
/// systemd itself, for root, without a bus in between: what systemctl uses.
const PRIVATE: &str = "/run/systemd/private";
/// systemd answers within milliseconds, also while the machine starts.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer messages are none of ours.
const MESSAGE_MAX: usize = 1 << 20;
/// Messages that may come in before the one that is waited for.
const MESSAGES_MAX: usize = 10_000;

/// What became of a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// The body of the answer.
    Return(Vec<u8>),
    /// A refusal.
    Error {
        /// Name of the error.
        name: String,
        /// In words.
        text: String,
    },
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    socket: &'static str,
    serial: u32,
    /// Jobs that ended while the answer to a call was awaited, with their results.
    ended: Vec<(String, String)>,
}

impl Connection {
    /// Connects and introduces itself.
    pub(super) fn open() -> Result<Self, CgroupError> {
        match UnixStream::connect(BUS) {
            Ok(stream) => {
                let mut bus = Self::introduce(stream, BUS)?;
                let daemon = |member| Target {
                    destination: "org.freedesktop.DBus",
                    path: "/org/freedesktop/DBus",
                    interface: "org.freedesktop.DBus",
                    member,
                };
                bus.send(daemon("Hello"), "", Writer::default())?;
                let mut rule = Writer::default();
                rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
                bus.send(daemon("AddMatch"), "s", rule)?;
                Ok(bus)
            }
            Err(_) => {
                let stream =
                    UnixStream::connect(PRIVATE).map_err(|source| CgroupError::Bus { socket: PRIVATE, source })?;
                Self::introduce(stream, PRIVATE)
            }
        }
    }

    /// Says who we are; the kernel vouches for it (D-Bus specification, "Authentication", EXTERNAL).
    fn introduce(stream: UnixStream, socket: &'static str) -> Result<Self, CgroupError> {
        let mut bus = Self { stream: BufReader::new(stream), socket, serial: 0, ended: Vec::new() };
        bus.authenticate().map_err(|source| CgroupError::Bus { socket, source })?;
        Ok(bus)
    }

    fn authenticate(&mut self) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(TIMEOUT))?;
        self.stream.get_ref().set_write_timeout(Some(TIMEOUT))?;
        let uid: String = nix::unistd::geteuid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        self.stream.get_mut().write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, line.trim().to_owned()));
        }
        self.stream.get_mut().write_all(b"BEGIN\r\n")
    }

    /// Calls a method of systemd's manager.
    pub(super) fn call(&mut self, member: &str, signature: &str, body: Writer) -> Result<Answer, CgroupError> {
        let manager = Target {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
        };
        self.send(manager, signature, body)
    }

    fn send(&mut self, target: Target<'_>, signature: &str, body: Writer) -> Result<Answer, CgroupError> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = message::call(serial, target, signature, body);
        let sent = self.stream.get_mut().write_all(&bytes);
        sent.map_err(|source| CgroupError::Bus { socket: self.socket, source })?;
        for _ in 0..MESSAGES_MAX {
            let message = self.receive()?;
            match message.kind {
                RETURN if message.answers == serial => return Ok(Answer::Return(message.body)),
                ERROR if message.answers == serial => {
                    let text = message::first_text(&message.body).unwrap_or_default();
                    return Ok(Answer::Error { name: message.error, text });
                }
                // A job may end before the answer that names it is read.
                SIGNAL if message.member == "JobRemoved" => self.ended.extend(message::job_removed(&message.body)),
                _ => {}
            }
        }
        Err(self.silent())
    }

    /// Waits for the end of a job and returns its result: `done`, `failed`, …
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String, CgroupError> {
        for _ in 0..MESSAGES_MAX {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| ended == job) {
                return Ok(result.clone());
            }
            let message = self.receive()?;
            if message.kind == SIGNAL && message.member == "JobRemoved" {
                self.ended.extend(message::job_removed(&message.body));
            }
        }
        Err(self.silent())
    }

    fn receive(&mut self) -> Result<message::Message, CgroupError> {
        self.read_message().map_err(|source| CgroupError::Bus { socket: self.socket, source })
    }

    fn read_message(&mut self) -> io::Result<message::Message> {
        let mut fixed = [0; FIXED];
        self.stream.read_exact(&mut fixed)?;
        let length = message::length(&fixed).filter(|length| (FIXED..MESSAGE_MAX).contains(length));
        let mut bytes = fixed.to_vec();
        bytes.resize(length.ok_or(io::ErrorKind::InvalidData)?, 0);
        self.stream.read_exact(&mut bytes[FIXED..])?;
        message::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn silent(&self) -> CgroupError {
        CgroupError::Bus { socket: self.socket, source: io::ErrorKind::TimedOut.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the part of systemd: greets, then sends these messages whatever it is asked.
    fn peer(mut stream: UnixStream, script: Vec<Vec<u8>>) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert!(line.starts_with("\0AUTH EXTERNAL "), "{line}");
            stream.write_all(b"OK 0123\r\n").unwrap();
            lines.read_line(&mut line).unwrap();
            stream.write_all(&script.concat()).unwrap();
            // Keeps the connection until the other side closes it.
            drop(io::copy(&mut lines, &mut io::sink()));
        })
    }

    fn incoming(kind: u8, answers: u32, member: &str, texts: &[&str]) -> Vec<u8> {
        let mut body = Writer::default();
        if kind == SIGNAL {
            body.number(1);
        }
        texts.iter().for_each(|text| body.text(text));
        message::incoming(kind, answers, member, body)
    }

    #[test]
    fn a_job_that_ends_before_its_name_is_known_is_not_missed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script = vec![
            incoming(SIGNAL, 0, "JobRemoved", &["/job/9", "other.scope", "failed"]),
            incoming(SIGNAL, 0, "JobRemoved", &["/job/4", "a.scope", "done"]),
            incoming(RETURN, 1, "", &["/job/4"]),
        ];
        let peer = peer(theirs, script);
        let mut bus = Connection::introduce(ours, "test").unwrap();
        let Answer::Return(body) = bus.call("StartTransientUnit", "", Writer::default()).unwrap() else {
            panic!("refused")
        };
        assert_eq!(bus.wait_for_job(&message::first_text(&body).unwrap()).unwrap(), "done");
        drop(bus);
        peer.join().unwrap();
    }

    #[test]
    fn a_refusal_has_its_name_and_its_words() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = peer(theirs, vec![incoming(ERROR, 1, "org.example.No", &["not today"])]);
        let mut bus = Connection::introduce(ours, "test").unwrap();
        let answer = bus.call("StartTransientUnit", "", Writer::default()).unwrap();
        assert!(matches!(answer, Answer::Error { name, text } if name == "org.example.No" && text == "not today"));
        drop(bus);
        peer.join().unwrap();
    }
}
