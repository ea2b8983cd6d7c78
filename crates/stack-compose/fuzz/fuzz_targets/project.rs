// A project in memory, shared by the targets: whatever the bytes are, no panic, and either a project or an error.

use std::io;
use std::path::{Path, PathBuf};

use stack_compose::{Phases, SourceLoader, load, read};
use stack_model::ProjectSource;

#[derive(Debug)]
struct Files<'a>(&'a [(&'a str, &'a [u8])]);

impl SourceLoader for Files<'_> {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let found = self.0.iter().find(|(name, _)| Path::new("/p").join(name) == path);
        let (_, content) = found.ok_or(io::ErrorKind::NotFound)?;
        if content.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(content.to_vec()) }
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.iter().any(|(name, _)| Path::new("/p").join(name) == path)
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }

    fn resolve(&self, _: &Path) -> Option<PathBuf> {
        None
    }
}

/// Loads the files in every way, and lowers and shows what comes of it.
pub(crate) fn total(files: &[(&str, &[u8])]) {
    let source = ProjectSource { working_dir: PathBuf::from("/p"), ..ProjectSource::default() };
    let loader = Files(files);
    let loaded = load(&source, &loader);
    match &loaded.project {
        Some(project) => drop((project.lower("x"), project.to_yaml(), project.why(""))),
        None => assert!(!loaded.diagnostics.is_empty()),
    }
    for diagnostic in &loaded.diagnostics {
        for label in &diagnostic.labels {
            assert!(loaded.texts[&label.origin.file].get(label.bytes.clone()).is_some());
        }
    }
    let raw = Phases {
        interpolate: false,
        normalize: false,
        resolve_paths: false,
        consistency: false,
        env_files: false,
        only_used: false,
    };
    drop(read(&source, &loader, raw).project.map(|project| project.to_json()));
}
