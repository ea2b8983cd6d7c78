//! The store against registries and archives that behave, and that do not. Unpacking needs root.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on says so and ends")]

mod archive;
mod disk;
mod image;
mod polite;
mod pull;
mod registry;
mod self_image;
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use fs_err as fs;
use stack_image::Store;
use stack_model::Layout;

/// A store of its own.
struct Place {
    directory: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&layout(directory.path())).unwrap();
        Self { directory, store }
    }

    /// Names of layers, and of anything half-made.
    fn layers(&self) -> Vec<String> {
        names(&self.directory.path().join("layers"))
    }

    fn blobs(&self) -> usize {
        names(&self.directory.path().join("images/blobs/sha256")).len()
    }

    #[track_caller]
    fn assert_clean(&self) {
        for scratch in ["images/.tmp", "images/.locks", "layers/.tmp"] {
            let mut left = names(&self.directory.path().join(scratch));
            left.retain(|name| name != "index" && name != "lease");
            assert!(left.is_empty(), "{scratch} holds {left:?}");
        }
    }

    /// A thread of the store brings new layers to the disk and then removes the notes that say it has not.
    #[track_caller]
    fn wait_until_synced(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !names(&self.directory.path().join("layers/.unsynced")).is_empty() {
            assert!(Instant::now() < deadline, "the layers are not synced");
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn assert_nothing_made(&self) {
        self.assert_clean();
        assert_eq!(self.layers(), Vec::<String>::new());
        assert_eq!(self.blobs(), 0);
        assert!(self.store.list().unwrap().is_empty());
    }
}

fn layout(root: &Path) -> Layout {
    Layout { root: root.to_owned(), run: root.join("run") }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".tmp" && name != ".unsynced");
    names.sort();
    names
}

/// Owners, trusted attributes and mounts need it.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP unpacking needs root");
    }
    root
}
