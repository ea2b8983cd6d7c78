//! `stack oci`: the command line that engines expect of a runtime, on top of [`stack_runtime::oci`].
//!
//! It is a crate of its own because it has nothing in common with the verbs of `stack`: no project, no supervisor, no
//! renderers. Its words, flags and messages are those of the runtimes that engines know.

mod arguments;
mod commands;
mod listing;
mod report;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

/// The name that makes the program this runtime, as the name of a link to it.
pub const PROGRAM: &str = "stack-oci";
/// The word that does the same, as the first argument.
pub const VERB: &str = "oci";

/// Verbs that make processes in containers.
const MAKERS: [&str; 3] = ["create", "run", "exec"];

/// Whether the arguments of this process are for the runtime.
pub fn is_asked() -> bool {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let by_name = Path::new(&program).file_name().is_some_and(|name| name == PROGRAM);
    by_name || words.next().is_some_and(|word| word == VERB)
}

/// Runs the command of this process's arguments. Call it before any thread exists.
pub fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == VERB) {
        words.remove(1);
    }
    if words.iter().any(|word| MAKERS.iter().any(|maker| word == maker)) {
        // A failure comes back when the process is made.
        drop(stack_runtime::ensure_sealed());
    }
    let arguments = Arguments::parse_from(words);
    let log = report::Log::new(&arguments.global);
    // An exit code below is the program's.
    let failure =
        if matches!(arguments.verb, arguments::Verb::Exec(_)) { ExitCode::from(255) } else { ExitCode::FAILURE };
    match commands::run(arguments, &|text| log.warning(text)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&error);
            failure
        }
    }
}
