//! Whatever the bytes of an env file are: no panic, and either a project or an error.
//! Run: `cargo +nightly fuzz run dotenv` in `crates/stack-compose`.
#![no_main]

mod project;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = b"services: {a: {image: i, env_file: [a.env, {path: b.env, format: raw}], label_file: a.env}}\n";
    project::total(&[("compose.yaml", file), (".env", bytes), ("a.env", bytes), ("b.env", bytes)]);
});
