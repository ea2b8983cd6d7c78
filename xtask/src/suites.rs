//! The suites of other runtimes, run against `stack oci` and against those runtimes on the same machine: the tests of
//! crun (Python), the validation programs of runtime-tools (Go) and the integration tests of runc (bats). Their sources
//! come from Debian's archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::run::{self, program, workspace};

/// Options of `suites`.
#[derive(Debug, Args)]
pub(crate) struct SuitesArgs {
    /// Only `stack oci`, without the runtimes beside it
    #[arg(long)]
    alone: bool,
    /// Only files of tests whose name this regular expression finds something in (`^runc-`, `crun-test_mounts`)
    #[arg(long, default_value = "")]
    only: String,
}

/// Each suite by the start of the names of its files.
const SUITES: [&str; 3] = ["crun", "runtime-tools", "runc"];
/// The runtimes beside ours, as Debian has them.
const BESIDE: [&str; 2] = ["/usr/bin/crun", "/usr/sbin/runc"];

/// Passed and failed tests of each suite.
type Counts = BTreeMap<&'static str, (usize, usize)>;

pub(crate) fn run(args: &SuitesArgs) -> Outcome {
    let stack = run::release()?;
    let root = cache().join("root");
    let scripts = workspace().join("xtask/src/suites");
    run::run(program("bash").arg(scripts.join("prepare.sh")).arg(&root))?;
    fs_err::copy(scripts.join("suites.sh"), root.join("src/suites.sh"))?;
    fs_err::copy(stack, root.join("usr/local/bin/stack-oci"))?;
    let beside = BESIDE.iter().copied().filter(|_| !args.alone);
    for runtime in std::iter::once("/usr/local/bin/stack-oci").chain(beside) {
        let name = runtime.rsplit('/').next().unwrap_or(runtime);
        let out = format!("/src/out/{name}");
        if args.only.is_empty() {
            // What is run in parts adds up.
            drop(fs_err::remove_dir_all(root.join(out.trim_start_matches('/'))));
        }
        run::run(program("bash").arg(scripts.join("run.sh")).arg(&root).args([runtime, &out, &args.only]))?;
        let (counts, failures) = read(&root.join(out.trim_start_matches('/')))?;
        for (suite, (passed, failed)) in &counts {
            println!("{name:<12} {suite:<14} {passed:>6} passed {failed:>6} failed");
        }
        let list = run::target().join(format!("suites-{name}.txt"));
        fs_err::write(&list, failures.join("\n"))?;
        println!("{name:<12} what failed is in {}", list.display());
    }
    Ok(())
}

/// A Debian root with the suites in it takes minutes to make.
fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    std::env::var_os("STACK_SUITES").map_or_else(|| home.join(".cache/stack-suites"), PathBuf::from)
}

/// Counts what the files say, one `ok` or `not ok` for each test.
fn read(directory: &Path) -> Result<(Counts, Vec<String>), Box<dyn std::error::Error>> {
    let mut counts: Counts = SUITES.iter().map(|suite| (*suite, (0, 0))).collect();
    let mut failures = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_of = |suite: &&&str| name.ends_with(".tap") && name.starts_with(&format!("{suite}-"));
        let Some(suite) = SUITES.iter().find(is_of) else { continue };
        let text = String::from_utf8_lossy(&fs_err::read(entry.path())?).into_owned();
        let count = counts.entry(suite).or_default();
        for line in text.lines() {
            if line.starts_with("ok ") {
                count.0 += 1;
            } else if line.starts_with("not ok ") {
                count.1 += 1;
                failures.push(format!("{name}: {line}"));
            }
        }
    }
    failures.sort();
    Ok((counts, failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_suite() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("runc-exec.bats.tap"), "1..2\nok 1 a\nnot ok 2 b\n# not ok\n").unwrap();
        fs_err::write(directory.path().join("runtime-tools-start.tap"), "ok 1 - c\n").unwrap();
        let (counts, failures) = read(directory.path()).unwrap();
        assert_eq!(counts["runc"], (1, 1));
        assert_eq!((counts["runtime-tools"], counts["crun"]), ((1, 0), (0, 0)));
        assert_eq!(failures, ["runc-exec.bats.tap: not ok 2 b"]);
    }
}
