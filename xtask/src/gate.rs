//! The whole gate, the same on a laptop and in CI.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::run::{self, Verdict, cargo};
use crate::{Outcome, network, setup, tidy};

/// Below the home directory: outside the checkout, so that a fresh clone starts warm.
const CACHE: &str = ".cache/stack-target-ci";
/// Scenarios compare the whole machine before and after, so they take turns anyway.
const TEST_THREADS: &str = "--test-threads=2";

/// Runs everything that must pass.
pub(crate) fn run() -> Outcome {
    setup::run()?;
    let gate = Gate { cache: cache(), start: Instant::now() };
    gate.say("formatting, tidiness, lints");
    run::run(gate.cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    run::run(gate.cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    gate.say("the program");
    run::run(gate.cargo(&["build", "--quiet", "--release", "--package", "stack"]))?;
    gate.say("unit tests, simulation, kernel tests of the crates");
    let words = ["test", "--no-fail-fast", "--workspace", "--exclude", "stack-tests"];
    let mut verdict = run::tests(&mut gate.cargo(&[&words[..], &["--", TEST_THREADS]].concat()))?;
    gate.say("test images");
    let images = crate::images::make_all()?;
    gate.say("scenarios, with a registry in a network of their own");
    // Ports, bridges and rules of whatever else runs on this machine are out of their way, and they are out of its.
    network::enter()?;
    let _registry = crate::images::serve(&images)?;
    let mut scenarios = gate.cargo(&["test", "--no-fail-fast", "--package", "stack-tests", "--", TEST_THREADS]);
    verdict.add(run::tests(scenarios.env("STACK_BIN", gate.binary()))?);
    gate.close(&verdict)
}

struct Gate {
    cache: PathBuf,
    start: Instant,
}

impl Gate {
    fn cargo(&self, words: &[&str]) -> Command {
        let mut command = cargo();
        // Here every run is the same one; `cargo xtask fuzz` is the one that looks for what nobody has seen yet.
        command.env("CARGO_TARGET_DIR", &self.cache).env("PROPTEST_RNG_SEED", "20261125").args(words);
        command
    }

    fn binary(&self) -> PathBuf {
        self.cache.join("release/stack")
    }

    fn say(&self, what: &str) {
        println!("\n== {what} (after {} s)", self.start.elapsed().as_secs());
    }

    /// The last line of the output, and the verdict. A skipped test is a failure where everything is there to run it.
    fn close(&self, verdict: &Verdict) -> Outcome {
        for failure in &verdict.failures {
            println!("failed: {failure}");
        }
        for skip in &verdict.skips {
            println!("skipped: {skip}");
        }
        let is_ci = std::env::var_os("CI").is_some();
        let skips_count = is_ci && !verdict.skips.is_empty();
        println!("\nafter {} s, build cache {}", self.start.elapsed().as_secs(), self.cache.display());
        println!("{} passed, {} failed", verdict.passed, verdict.failed);
        match (verdict.failed, skips_count, verdict.complete) {
            (0, false, true) => Ok(()),
            (0, true, _) => Err(format!("{} tests were skipped in CI", verdict.skips.len()).into()),
            (0, false, false) => Err("a test program did not come to its end".into()),
            (failed, _, _) => {
                let evidence = self.cache.join("scenario-failures");
                let evidence = if evidence.exists() { evidence } else { self.cache.join("debug/scenario-failures") };
                Err(format!("{failed} tests failed{}", shown(&evidence)).into())
            }
        }
    }
}

fn shown(evidence: &Path) -> String {
    if evidence.exists() { format!("; evidence in {}", evidence.display()) } else { String::new() }
}

fn cache() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    chosen.unwrap_or_else(|| home().join(CACHE))
}
