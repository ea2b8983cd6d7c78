//! The scenarios on a machine with cgroup v2 and systemd.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::run::{self, cargo, program, workspace};
use crate::{Outcome, images, registry};

/// Options of `vm`.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// Only the scenarios whose name contains one of these words
    words: Vec<String>,
}

/// Where the script puts the folder inside the machine.
const JOB: &str = "/job";
/// What the scenarios call beside `stack`, and the registry.
const PACKAGES: &str = "nftables docker-registry";
/// Where the registry's files lie in the folder.
const REGISTRY: &str = "registry";
/// In seconds: one emulated processor, beside whatever else this machine does.
const TIMEOUT: &str = "6000";
/// Builds the program and the scenarios, and runs them behind `STACK_VM DIR COMMAND…`, a script that boots a machine
/// with the folder in it (by default the one beside the checkout).
pub(crate) fn run(args: &VmArgs) -> Outcome {
    drop(images::serve(&images::make_all()?)?);
    let chosen = std::env::var_os("STACK_VM").map(PathBuf::from);
    let script = chosen.unwrap_or_else(|| workspace().join("../shared/vm/run.sh"));
    let stack = run::release()?;
    let job = tempfile::Builder::new().prefix("stack-vm-").tempdir()?;
    fs_err::copy(stack, job.path().join("stack"))?;
    for (name, words) in [
        ("it", ["--package", "stack-tests", "--test", "it"].as_slice()),
        ("cgroup", &["--package", "stack-cgroup", "--test", "kernel"]),
        ("oci", &["--package", "stack-oci", "--test", "kernel"]),
    ] {
        fs_err::copy(test_program(words)?, job.path().join(name))?;
    }
    run::run(program("cp").arg("-r").arg(workspace().join("examples")).arg(job.path()))?;
    registry::copy(&job.path().join(REGISTRY), &Path::new(JOB).join(REGISTRY))?;
    let (port, words) = (registry::PORT, args.words.join(" "));
    let script_text = format!(
        "cd {JOB}\nexport STACK_BIN={JOB}/stack STACK_REPOSITORY={JOB} TERM=dumb\nfailed=0\n\
         systemctl stop docker-registry\n\
         docker-registry serve {REGISTRY}/{port}.yml 2> registry.log &\n\
         until (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done\n\
         ./cgroup --test-threads 1 || failed=1\n./oci {words} || failed=1\n./it --test-threads 1 {words} || failed=1\nexit $failed\n"
    );
    fs_err::write(job.path().join("run.sh"), script_text)?;
    let mut machine = program(script);
    machine.env("EXTRA_PACKAGES", PACKAGES).env("TIMEOUT", TIMEOUT);
    run::run(machine.arg(job.path()).args(["bash", "run.sh"]))
}

/// Builds a test program and returns its path, which cargo names after a hash.
fn test_program(words: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let text = run::output(cargo().args(["test", "--no-run", "--message-format", "json"]).args(words))?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| {
        let is_test = message["profile"]["test"].as_bool()?;
        is_test.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    programs.next_back().ok_or_else(|| format!("cargo built no test program for {words:?}").into())
}
