//! The YAML front end, merge, include, extends and every key: any bytes give a project or diagnostics, never a panic.
//! Run: `cargo +nightly fuzz run load` in `crates/stack-compose`.
#![no_main]

mod project;

use libfuzzer_sys::fuzz_target;

// The project file is the input up to a zero byte, everything else is what follows it.
fuzz_target!(|input: &[u8]| {
    let zero = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (file, rest) = input.split_at(zero);
    let rest = rest.get(1..).unwrap_or_default();
    project::total(&[("compose.yaml", file), ("compose.override.yaml", rest), (".env", rest), ("b.yaml", rest)]);
});
