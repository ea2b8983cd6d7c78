//! Why a container has ended: what the kernel tells in numbers, as a value and as one line for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bytes, Exit};

/// SIGSYS, signal(7).
const SIGSYS: i32 = 31;
/// Codes above this one are a shell's way to say that a signal has ended its child.
const SIGNAL_CODES: i32 = 128;
/// signal(7), the numbers of x86 and ARM; the place in the list is the number, from 1.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// Why a container has ended, or why it never began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ending {
    /// Its program ended by itself.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// The kernel killed it: it wanted more memory than it may have.
    OutOfMemory(OutOfMemory),
    /// It made a system call that its filter punishes with the end.
    Filtered,
    /// Its program could not be executed.
    NotExecuted {
        /// Which one.
        program: String,
        /// Why.
        why: NotExecuted,
    },
    /// Nobody was there to see it.
    Unknown,
}

/// What there was to see when the kernel killed for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// What the container may have; none when the whole machine had no more.
    pub limit: Option<Bytes>,
    /// The most it had.
    pub peak: Option<Bytes>,
    /// How many of its processes were killed.
    pub killed: u64,
    /// The process that the kernel chose, which is the biggest one; none when its log does not tell.
    pub task: Option<TaskName>,
}

/// The name of a process as the kernel keeps it: at most 15 bytes (`TASK_COMM_LEN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct TaskName([u8; 15]);

impl From<String> for TaskName {
    fn from(text: String) -> Self {
        let mut bytes = [0; 15];
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self(bytes)
    }
}

impl From<TaskName> for String {
    fn from(name: TaskName) -> Self {
        Self::from_utf8_lossy(&name.0).trim_end_matches('\0').to_owned()
    }
}

/// Why a program cannot be executed; errno says the same for several of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotExecuted {
    /// Nobody says what to run.
    Nothing,
    /// There is no such file.
    Missing,
    /// The interpreter that its first line names is missing.
    MissingInterpreter,
    /// The dynamic loader that it names is missing.
    MissingLoader,
    /// It is for another processor.
    OtherArchitecture,
    /// It is neither a program nor a script.
    UnknownFormat,
    /// Its mode, or a mount's, forbids it.
    NotExecutable,
}

impl From<Exit> for Ending {
    fn from(exit: Exit) -> Self {
        match (exit.code, exit.signal) {
            _ if exit.out_of_memory => Self::OutOfMemory(exit.memory.unwrap_or_default()),
            (_, Some(SIGSYS)) => Self::Filtered,
            (_, Some(signal)) => Self::Signaled { signal },
            (Some(code), None) => Self::Exited { code },
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for NotExecuted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing says what to run",
            Self::Missing => "it is not there",
            Self::MissingInterpreter => "the interpreter of its first line is not there",
            Self::MissingLoader => "its dynamic loader is not there",
            Self::OtherArchitecture => "it is a program for another architecture",
            Self::UnknownFormat => "it is neither a program nor a script with a first line `#!…`",
            Self::NotExecutable => "it is not executable",
        })
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory: the kernel has killed ")?;
        match self.task {
            Some(task) => f.write_str(&String::from(task))?,
            None => f.write_str("it")?,
        }
        match (self.limit, self.peak) {
            (Some(limit), _) => write!(f, " at the limit of {limit}"),
            (None, Some(peak)) => write!(f, " at {peak}, and the machine had no more"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code: 126 } => f.write_str("exit code 126: in a shell, a command cannot be executed"),
            Self::Exited { code: 127 } => f.write_str("exit code 127: in a shell, a command is not found"),
            Self::Exited { code } => match signal_name(*code - SIGNAL_CODES) {
                Some(name) => write!(f, "exit code {code}: in a shell, {name} has ended a command"),
                None => write!(f, "exit code {code}"),
            },
            Self::Signaled { signal } => match signal_name(*signal) {
                Some(name) => write!(f, "ended by {name} (signal {signal})"),
                None => write!(f, "ended by signal {signal}"),
            },
            Self::OutOfMemory(facts) => facts.fmt(f),
            Self::Filtered => f.write_str("ended by SIGSYS: it made a system call that its seccomp filter forbids"),
            Self::NotExecuted { program, why } => write!(f, "cannot execute {program}: {why}"),
            Self::Unknown => f.write_str("exit code unknown (nobody was watching)"),
        }
    }
}

/// The name of a signal that has one of its own, such as `SIGTERM`.
pub fn signal_name(number: i32) -> Option<&'static str> {
    usize::try_from(number - 1).ok().and_then(|place| SIGNALS.get(place)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_is_one_line() {
        let text = |code: Option<i32>, signal: Option<i32>| Exit { code, signal, ..Exit::default() }.to_string();
        assert_eq!(text(Some(3), None), "exit code 3");
        assert_eq!(text(Some(143), None), "exit code 143: in a shell, SIGTERM has ended a command");
        assert_eq!(text(None, Some(11)), "ended by SIGSEGV (signal 11)");
        assert_eq!(text(None, Some(40)), "ended by signal 40");
        assert!(text(None, Some(31)).contains("seccomp"));
        assert_eq!(text(None, None), "exit code unknown (nobody was watching)");
        let memory = |memory| Exit { signal: Some(9), out_of_memory: true, memory, ..Exit::default() }.to_string();
        assert_eq!(memory(None), "out of memory: the kernel has killed it");
        let limited =
            OutOfMemory { limit: Some(Bytes(1 << 20)), task: Some("java".to_owned().into()), ..OutOfMemory::default() };
        assert_eq!(memory(Some(limited)), "out of memory: the kernel has killed java at the limit of 1m");
    }

    #[test]
    fn it_is_a_value_in_json() {
        let task = Some(TaskName::from("a-very-long-name".to_owned()));
        let ending = Ending::OutOfMemory(OutOfMemory { limit: Some(Bytes(5)), peak: None, killed: 1, task });
        let json = serde_json::to_value(&ending).unwrap();
        assert_eq!((&json["kind"], &json["task"]), (&"out_of_memory".into(), &"a-very-long-nam".into()));
        assert_eq!(serde_json::from_value::<Ending>(json).unwrap(), ending);
    }
}
