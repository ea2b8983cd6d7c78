//! Layers on disk: whole or not there.
//!
//! A layer is unpacked in a private directory and gets its name by one rename, so a process that dies half-way leaves
//! nothing that looks like a layer. A power failure is another matter: names may reach the disk before content. Until
//! the content was synced, a note beside the layers says in which boot it was made; after another boot such a layer
//! counts as missing and is unpacked again from its verified blob.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use fs_err as fs;

use crate::content::Content;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::scratch::{ScratchDirectory, ScratchFile};

/// Names this boot of the kernel (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned())
}

/// The layer is unpacked, and nothing of it can have been lost.
pub(crate) fn is_whole(content: &Content, diff_id: &Digest) -> bool {
    if !content.layer(diff_id).exists() {
        return false;
    }
    match fs::read_to_string(content.unsynced().join(diff_id.hex())) {
        Ok(boot) => boot == boot_id(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The future root of the layer inside the private directory. Image tools make it 0755 unless the layer says otherwise.
pub(crate) fn make_root(scratch: &ScratchDirectory) -> Result<PathBuf, ImageError> {
    let root = scratch.path().join("root");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let made = fs::create_dir(&root).and_then(|()| fs::set_permissions(&root, mode));
    made.map_err(ImageError::store("make the directory", &root))?;
    Ok(root)
}

/// Gives an unpacked layer its name. The caller holds the lock of the diff id.
pub(crate) fn keep_layer(content: &Content, scratch: &ScratchDirectory, diff_id: &Digest) -> Result<(), ImageError> {
    let path = content.layer(diff_id);
    if path.exists() {
        // Left from before a power failure: move it into the private directory, which goes away as a whole.
        let old = scratch.path().join("old");
        fs::rename(&path, &old).map_err(ImageError::store("replace", &path))?;
    }
    let note = content.unsynced().join(diff_id.hex());
    fs::write(&note, boot_id()).map_err(ImageError::store("write", &note))?;
    fs::rename(scratch.path().join("root"), &path).map_err(ImageError::store("name the layer", &path))
}

/// Gives a verified blob its name.
pub(crate) fn keep_blob(content: &Content, blob: ScratchFile, digest: &Digest) -> Result<(), ImageError> {
    blob.keep_as(&content.blob(digest))
}

/// The notes of layers that may not be on the disk yet.
pub(crate) fn unsettled(content: &Content) -> Vec<PathBuf> {
    fs::read_dir(content.unsynced()).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Brings everything to the disk and forgets those of the notes that this makes useless. Slow; nobody waits for it.
pub(crate) fn settle(content: &Content, notes: Vec<PathBuf>) -> Result<(), ImageError> {
    let directory = content.unsynced();
    let path = |source| ImageError::Store { action: "sync", path: directory.clone(), source };
    let current = notes.into_iter().filter(|note| fs::read_to_string(note).is_ok_and(|boot| boot == boot_id()));
    let current: Vec<PathBuf> = current.collect();
    let handle = fs::File::open(&directory).map_err(path)?;
    rustix::fs::syncfs(handle.as_fd()).map_err(|error| path(error.into()))?;
    for note in current {
        drop(fs::remove_file(note));
    }
    Ok(())
}
