//! Whatever stands in a value with variables: no panic, and either a project or an error.
//! Run: `cargo +nightly fuzz run interpolation` in `crates/stack-compose`.
#![no_main]

mod project;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = format!("services: {{a: {{image: i, x-v: {text:?}, environment: [{text:?}]}}}}\n");
    project::total(&[("compose.yaml", file.as_bytes()), (".env", b"A=1\nB=${A}\n")]);
});
