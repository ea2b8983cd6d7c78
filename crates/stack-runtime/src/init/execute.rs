//! The last step: from our program to the container's.

use std::ffi::CString;
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use stack_model::NotExecuted;

use super::identity::seal;
use super::labels::label_next;
use crate::error::StepFailure;
use crate::spec::ProcessSpec;
use crate::users::Identity;

/// Where programs are looked for when the environment does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is read of a file to find out why it cannot be executed.
const HEAD_BYTES: usize = 256;

/// What every process of a container starts from: a session and a keyring of its own, and nobody who looks into it
/// (CVE-2016-9962) while it still holds descriptors of ours.
pub(crate) fn join_process_rules() -> Result<(), StepFailure> {
    rustix::process::setsid().map_err(|error| StepFailure::new("start", "a session", error))?;
    nix::sys::prctl::set_dumpable(false).map_err(|error| StepFailure::new("hide", "the process", error))?;
    match stack_sys::join_session_keyring() {
        Ok(()) => Ok(()),
        // A kernel without keyrings has none to share.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOSYS) => Ok(()),
        Err(error) => Err(StepFailure::new("join", "a session keyring", error)),
    }
}

/// Says that a program does not exist while whoever made the process still listens, so that an engine hears it from
/// `create` and not from `start`. What can only be known by executing is left to that.
pub(super) fn check_program(process: &ProcessSpec, environment: &[(String, String)]) -> Result<(), StepFailure> {
    let Some(program) = process.argv.first().filter(|program| !program.is_empty()) else { return Ok(()) };
    if program.contains('/') {
        // Relative to a working directory that has not been entered yet.
        return Ok(());
    }
    let path = path_of(environment);
    // With an empty or relative part the answer depends on the working directory too.
    let is_plain = path.split(':').all(|part| part.starts_with('/'));
    if !is_plain || candidates(program, environment).iter().any(|candidate| Path::new(candidate).exists()) {
        return Ok(());
    }
    Err(not_in_path(program, path))
}

fn not_in_path(program: &str, path: &str) -> StepFailure {
    let detail = format!("executable file not found in $PATH ({path})");
    because(program, Errno::ENOENT, NotExecuted::Missing, detail)
}

/// Gives up what is left to give up and executes the program with exactly this environment and the first `kept`
/// descriptors. Returns only when that fails.
pub(crate) fn execute(
    process: &ProcessSpec,
    identity: &Identity,
    environment: &[(String, String)],
    kept: i32,
    before: &dyn Fn() -> Result<(), StepFailure>,
) -> StepFailure {
    let argv = &process.argv;
    let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
        let failure = StepFailure::because("execute", "", "neither the file nor the image says what to run");
        return StepFailure { not_executed: Some(NotExecuted::Nothing), ..failure };
    };
    let Ok(arguments) = argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>() else {
        return StepFailure::because("execute", program, "an argument contains a NUL byte");
    };
    let variables = environment.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let Ok(variables) = variables.collect::<Result<Vec<_>, _>>() else {
        return StepFailure::because("execute", program, "a variable contains a NUL byte");
    };
    if let Err(failure) = become_ordinary(kept)
        .and_then(|()| label_next(&process.labels))
        .and_then(|()| seal(process, identity))
        .and_then(|()| before())
    {
        return failure;
    }
    let mut reason = Errno::ENOENT;
    let mut tried = program.clone();
    for candidate in candidates(program, environment) {
        let Ok(path) = CString::new(candidate.as_str()) else { continue };
        let Err(error) = nix::unistd::execve(&path, &arguments, &variables);
        // As execvp(3): a file that may not be executed is remembered, one that is not there is passed over.
        if !matches!(error, Errno::ENOENT | Errno::ENOTDIR) || Path::new(&candidate).exists() {
            reason = error;
            tried = candidate;
        }
    }
    if reason == Errno::ENOENT && !tried.contains('/') {
        return not_in_path(program, path_of(environment));
    }
    explain(&tried, reason)
}

/// Descriptors of ours end with the exec, signals are as a program expects them.
fn become_ordinary(kept: i32) -> Result<(), StepFailure> {
    stack_sys::close_on_exec_from(kept).map_err(|error| StepFailure::new("close", "our descriptors", error))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|error| StepFailure::new("reset", "the signal mask", error))?;
    stack_sys::reset_signals();
    Ok(())
}

fn path_of(environment: &[(String, String)]) -> &str {
    environment.iter().find(|(name, _)| name == "PATH").map_or(PATH_DEFAULT, |(_, value)| value)
}

fn candidates(program: &str, environment: &[(String, String)]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    path_of(environment)
        .split(':')
        .map(|directory| format!("{}/{program}", if directory.is_empty() { "." } else { directory }))
        .collect()
}

/// Says what errno leaves open: "no such file" is also what the kernel says about a missing interpreter.
fn explain(program: &str, reason: Errno) -> StepFailure {
    let head = read_head(program).unwrap_or_default();
    match reason {
        Errno::ENOENT if head.starts_with(b"#!") => {
            let line = head[2..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            let interpreter = String::from_utf8_lossy(line).trim().trim_end_matches('\r').to_owned();
            because(
                program,
                reason,
                NotExecuted::MissingInterpreter,
                format!("its interpreter `{interpreter}` is not in the image"),
            )
        }
        Errno::ENOENT if head.starts_with(b"\x7fELF") => because(
            program,
            reason,
            NotExecuted::MissingLoader,
            "its dynamic loader is not in the image (a program for another C library?)".to_owned(),
        ),
        Errno::ENOEXEC if head.starts_with(b"\x7fELF") => because(
            program,
            reason,
            NotExecuted::OtherArchitecture,
            "it is a program for another architecture".to_owned(),
        ),
        Errno::ENOEXEC => because(
            program,
            reason,
            NotExecuted::UnknownFormat,
            "it is neither a program nor a script with a first line `#!…`".to_owned(),
        ),
        Errno::EACCES => because(program, reason, NotExecuted::NotExecutable, "it is not executable".to_owned()),
        other => StepFailure {
            not_executed: (other == Errno::ENOENT).then_some(NotExecuted::Missing),
            ..StepFailure::new("execute", program, io::Error::from_raw_os_error(other as i32))
        },
    }
}

fn because(program: &str, errno: Errno, why: NotExecuted, detail: String) -> StepFailure {
    StepFailure { errno: errno as i32, not_executed: Some(why), ..StepFailure::because("execute", program, detail) }
}

fn read_head(path: &str) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    crate::users::open_file(Path::new(path))?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}
