//! Locks between processes: one file per subject, held with flock(2), so that the death of the holder frees it.

use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};

use crate::error::ImageError;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
    /// The file goes away with a lock that is about one passing piece of work.
    remove: Option<PathBuf>,
}

impl Lock {
    /// Waits for the lock of something that stays, such as the index.
    pub(crate) fn wait(path: &Path) -> Result<Self, ImageError> {
        Self::hold(path, FlockOperation::LockExclusive)
    }

    /// Waits for the lock of something that stays, alone or with others.
    pub(crate) fn hold(path: &Path, how: FlockOperation) -> Result<Self, ImageError> {
        Ok(Self { _file: open_locked(path, how)?, remove: None })
    }

    /// Takes a lock alone if nobody has it.
    pub(crate) fn try_alone(path: &Path) -> Option<Self> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
        flock_retrying(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _file: file, remove: None })
    }

    /// Waits for the lock of a piece of work; its file is removed afterwards.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn wait_for_work(path: PathBuf) -> Result<Self, ImageError> {
        loop {
            let file = open_locked(&path, FlockOperation::LockExclusive)?;
            // The holder before us has removed the file that we waited on: ours locks nothing that others see.
            if is_same_file(&file, &path) {
                return Ok(Self { _file: file, remove: Some(path) });
            }
        }
    }
}

/// Removes the files of locks of work that died with its process; `is_of_work` tells them by their names.
pub fn sweep_locks(directory: &Path, is_of_work: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(&is_of_work) {
            continue;
        }
        // Whoever waits for it meanwhile finds out that it is gone, and makes another.
        if let Some(lock) = Lock::try_alone(&entry.path())
            && is_same_file(&lock._file, &entry.path())
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.remove {
            // Still locked here, so whoever opens the path afterwards makes a new file.
            drop(fs::remove_file(path));
        }
    }
}

fn open_locked(path: &Path, how: FlockOperation) -> Result<fs::File, ImageError> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(ImageError::store("open the lock", path))?;
    flock_retrying(&file, how).map_err(ImageError::store("lock", path))?;
    Ok(file)
}

/// flock(2) without `EINTR`.
pub(crate) fn flock_retrying(file: impl std::os::fd::AsFd, operation: FlockOperation) -> std::io::Result<()> {
    rustix::io::retry_on_intr(|| flock(&file, operation)).map_err(Into::into)
}

/// The path still names the open file.
pub(crate) fn is_same_file(file: impl std::os::fd::AsFd, path: &Path) -> bool {
    let of_file = rustix::fs::fstat(file);
    let of_path = rustix::fs::lstat(path);
    matches!((of_file, of_path), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}
