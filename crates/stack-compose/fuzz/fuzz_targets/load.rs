//! The YAML front end, interpolation, dotenv and every key: any bytes give a project or diagnostics, never a panic.
//! Run: `cargo +nightly fuzz run load` in `crates/stack-compose`.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use stack_compose::{SourceLoader, load};
use stack_model::ProjectSource;

/// The project file is the input up to a zero byte, everything else is what follows it.
#[derive(Debug)]
struct Halves<'a>(&'a [u8], &'a [u8]);

impl SourceLoader for Halves<'_> {
    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        Ok(if path.ends_with("compose.yaml") { self.0 } else { self.1 }.to_owned())
    }

    fn exists(&self, path: &Path) -> bool {
        path.ends_with("compose.yaml") || path.ends_with(".env") || path.ends_with("compose.override.yaml")
    }
}

fuzz_target!(|input: &[u8]| {
    let zero = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (file, rest) = input.split_at(zero);
    let source = ProjectSource { working_dir: "/p".into(), ..ProjectSource::default() };
    let loaded = load(&source, &Halves(file, rest.get(1..).unwrap_or_default()));
    match &loaded.project {
        Some(project) => {
            project.lower("");
            project.to_yaml();
        }
        None => assert!(!loaded.diagnostics.is_empty()),
    }
    for diagnostic in &loaded.diagnostics {
        for label in &diagnostic.labels {
            assert!(loaded.texts[&label.origin.file].get(label.bytes.clone()).is_some());
        }
    }
});
