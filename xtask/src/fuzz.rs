//! Longer runs of the robustness tests: whatever the bytes are, no panic, bounded work, a value or an error.

use clap::Args;

use crate::Outcome;
use crate::run::{self, cargo};

/// The crates that read what others wrote. In each of them, modules of such tests are named `robust_tests`.
const READERS: [&str; 4] = ["stack-compose", "stack-image", "stack-dns", "stack-runtime"];

/// How long.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Cases of each property; the gate runs 256
    #[arg(long, default_value_t = 20_000)]
    cases: u32,
}

/// Runs the robustness tests of every reader.
pub(crate) fn run(args: &FuzzArgs) -> Outcome {
    let mut command = cargo();
    command.args(["test", "--release"]).args(READERS.iter().flat_map(|reader| ["--package", reader]));
    // Optimised, but with the checks that find what is wrong.
    command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true").env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    command.env("PROPTEST_CASES", args.cases.to_string());
    let verdict = run::tests(command.args(["--lib", "--", "robust_tests"]))?;
    println!("{} passed, {} failed", verdict.passed, verdict.failed);
    match (verdict.failed, verdict.passed, verdict.complete) {
        (0, 1.., true) => Ok(()),
        (0, 0, _) => Err("no robustness tests were found".into()),
        _ => Err("a reader breaks on broken input".into()),
    }
}
