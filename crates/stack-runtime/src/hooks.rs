//! Programs of the host's that run beside a container's life (runtime-spec, "POSIX-platform Hooks").

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stack_model::signal_name;

use crate::error::{StepFailure, shown};
use crate::process;
use crate::spec::HookSpec;

/// The state that a hook reads: with the process's id and how far it is.
pub(crate) fn state_text(state: &serde_json::Map<String, serde_json::Value>, status: &str, pid: Option<u32>) -> String {
    let mut state = state.clone();
    state.insert("status".to_owned(), status.into());
    if let Some(pid) = pid {
        state.insert("pid".to_owned(), pid.into());
    }
    serde_json::Value::Object(state).to_string()
}

/// Runs hooks one after the other; the first that fails ends it.
pub(crate) fn run(hooks: &[HookSpec], state: &str) -> Result<(), StepFailure> {
    hooks.iter().try_for_each(|hook| run_one(hook, state))
}

#[expect(clippy::disallowed_methods, reason = "a hook is a program that the bundle names")]
fn run_one(hook: &HookSpec, state: &str) -> Result<(), StepFailure> {
    let name = shown(&hook.path);
    // In the words of other runtimes, which engines look for.
    let because = |reason: String| StepFailure::because("go on", "", format!("error running hook {name}: {reason}"));
    let failed = |error: std::io::Error| because(error.to_string());
    let mut command = Command::new(&hook.path);
    if let Some((first, rest)) = hook.argv.split_first() {
        command.arg0(first).args(rest);
    }
    if let Some(env) = &hook.env {
        command.env_clear();
        command.envs(env.iter().filter_map(|text| text.split_once('=')));
    }
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read it.
        drop(input.write_all(state.as_bytes()));
    }
    let in_time = wait(&child, hook.timeout_seconds);
    if !in_time {
        drop(child.kill());
    }
    let status = child.wait().map_err(failed)?;
    match (in_time, status.code(), status.signal()) {
        (false, ..) => Err(because("it does not end in time".to_owned())),
        (true, Some(0), _) => Ok(()),
        (true, Some(code), _) => Err(because(format!("exit code {code}"))),
        (true, None, signal) => Err(because(killed_by(signal.unwrap_or(0)))),
    }
}

fn killed_by(signal: i32) -> String {
    match signal_name(signal) {
        Some("SIGSYS") => "SIGSYS, bad system call: the container's seccomp filter forbids it".to_owned(),
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// `false` when the time is over before the hook is.
fn wait(child: &Child, seconds: Option<u64>) -> bool {
    let Some(seconds) = seconds else { return true };
    let pidfd: Option<OwnedFd> = process::open(child.id());
    let Some(pidfd) = pidfd else { return true };
    let limit = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&limit)) != Ok(0)
}
