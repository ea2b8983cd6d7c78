//! Private places for half-made things. Each is locked by its maker while it lives, so that what a dead process left
//! is told from what a living one works on, and removed.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::FlockOperation;

use crate::error::ImageError;
use crate::lock::{flock_retrying, is_same_file};

/// Tells the places of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn fresh_name() -> OsString {
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A directory that is removed unless what it holds was moved out.
#[derive(Debug)]
pub(crate) struct ScratchDirectory {
    path: PathBuf,
    _lock: fs::File,
}

impl ScratchDirectory {
    pub(crate) fn new_in(parent: &Path) -> Result<Self, ImageError> {
        loop {
            let path = parent.join(fresh_name());
            match fs::create_dir(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(ImageError::store("make the directory", &path))?,
            }
            let Ok(lock) = fs::File::open(&path) else { continue };
            flock_retrying(&lock, FlockOperation::LockExclusive).map_err(ImageError::store("lock", &path))?;
            // A sweeper may have been quicker than our lock.
            if is_same_file(&lock, &path) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

/// A file that is removed unless it was kept under its final name.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    path: PathBuf,
    file: fs::File,
    kept: bool,
}

impl ScratchFile {
    pub(crate) fn new_in(parent: &Path) -> Result<Self, ImageError> {
        loop {
            let path = parent.join(fresh_name());
            let mut options = fs::OpenOptions::new();
            let file = match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                opened => opened.map_err(ImageError::store("make the file", &path))?,
            };
            flock_retrying(&file, FlockOperation::LockExclusive).map_err(ImageError::store("lock", &path))?;
            if is_same_file(&file, &path) {
                return Ok(Self { path, file, kept: false });
            }
        }
    }

    pub(crate) fn file(&mut self) -> &mut fs::File {
        &mut self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its final name at once.
    pub(crate) fn keep_as(mut self, name: &Path) -> Result<(), ImageError> {
        fs::rename(&self.path, name).map_err(ImageError::store("name the file", name))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if !self.kept {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes what processes that died have left. Errors are left to the next sweep: nothing depends on it.
pub(crate) fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(file) = fs::File::open(&path) else { continue };
        if flock_retrying(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let is_directory = file.metadata().is_ok_and(|metadata| metadata.is_dir());
        let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sweep_spares_the_living() {
        let parent = tempfile::tempdir().unwrap();
        let living = ScratchDirectory::new_in(parent.path()).unwrap();
        let mut file = ScratchFile::new_in(parent.path()).unwrap();
        std::io::Write::write_all(file.file(), b"x").unwrap();
        fs::create_dir_all(parent.path().join("dead/a/b")).unwrap();
        fs::write(parent.path().join("dead-file"), "x").unwrap();
        sweep(parent.path());
        assert!(living.path().exists() && file.path().exists());
        assert!(!parent.path().join("dead").exists() && !parent.path().join("dead-file").exists());
        file.keep_as(&parent.path().join("kept")).unwrap();
        drop(living);
        let left: Vec<_> = fs::read_dir(parent.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["kept"]);
    }
}
