//! Running other programs.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Outcome;

/// A program of the machine.
#[expect(clippy::disallowed_methods, reason = "tasks run programs; the product does not")]
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = program(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.current_dir(workspace());
    // What `cargo run` says about this task's own package would reach the build scripts of others: those that ask to be
    // run again when it changes would be, and all that depends on them built anew, in every checkout.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// A variable that cargo sets for one package.
fn is_of_a_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Builds the program as it is released and returns its path.
pub(crate) fn release() -> Result<PathBuf, Box<dyn std::error::Error>> {
    run(cargo().args(["build", "--release", "--package", "stack"]))?;
    Ok(target().join("release/stack"))
}

/// Runs a command to its end and shows its output; another exit code than 0 is an error that names the command.
pub(crate) fn run(mut command: impl std::borrow::BorrowMut<Command>) -> Outcome {
    let command = command.borrow_mut();
    let shown = show(command);
    println!("+ {shown}");
    let status = command.status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}").into()) }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    let shown = show(command);
    let output = command.output().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        let said = [text(&output.stdout), text(&output.stderr)].concat();
        return Err(format!("`{shown}` ended with {}: {}", output.status, said.trim()).into());
    }
    Ok(text(&output.stdout))
}

/// What test programs said.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Names of the failed tests.
    pub(crate) failures: Vec<String>,
    /// Reasons of tests that did not run.
    pub(crate) skips: Vec<String>,
    /// cargo ended as the counts say it should.
    pub(crate) complete: bool,
}

impl Verdict {
    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.complete &= other.complete;
    }

    /// Takes what a line of a test program says.
    fn read(&mut self, line: &str) {
        if let Some(reason) = line.trim().strip_prefix("SKIP ") {
            self.skips.push(reason.to_owned());
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = counts.split_ascii_whitespace().collect();
        for pair in words.windows(2) {
            let count = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed;" => self.passed += count,
                "failed;" => self.failed += count,
                _ => {}
            }
        }
    }
}

/// Runs test programs to their end, shows what they print, and counts. Failed tests are no error here.
pub(crate) fn tests(command: &mut Command) -> Result<Verdict, Box<dyn std::error::Error>> {
    let shown = show(command);
    println!("+ {shown}");
    // Tests that pass say nothing by default; their reasons for skipping have to be seen.
    command.arg("--show-output").stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    let mut verdict = Verdict::default();
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line?;
        println!("{line}");
        verdict.read(&line);
    }
    verdict.complete = child.wait()?.success() || verdict.failed > 0;
    Ok(verdict)
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_programs_are_added() {
        let mut verdict = Verdict::default();
        for line in [
            "test a::b ... ok",
            "test a::c ... FAILED",
            "SKIP needs root",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.53s",
            "test result: ok. 19 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s",
        ] {
            verdict.read(line);
        }
        assert_eq!((verdict.passed, verdict.failed), (20, 1));
        assert_eq!((verdict.failures, verdict.skips), (vec!["a::c".to_owned()], vec!["needs root".to_owned()]));
    }
}
