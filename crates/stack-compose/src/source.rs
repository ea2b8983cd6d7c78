//! The only way to the disk: everything else of this crate is a function of what a [`SourceLoader`] answers.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes. Compose files of real projects stay below 300 kB.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// Reads input files. Paths are absolute.
pub trait SourceLoader: fmt::Debug {
    /// The content of a file; one of more than `limit` bytes is [`io::ErrorKind::FileTooLarge`], and
    /// something that could make the reader wait for ever is [`io::ErrorKind::InvalidInput`].
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Something is there, a file or a directory.
    fn exists(&self, path: &Path) -> bool;

    /// A directory is there.
    fn is_directory(&self, path: &Path) -> bool;

    /// The path without symbolic links, if something is there.
    fn resolve(&self, path: &Path) -> Option<PathBuf>;
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskLoader;

impl SourceLoader for DiskLoader {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // Opening a named pipe waits for a writer that may never come; those of a shell's `<(…)` have one.
        let from_shell = path.starts_with("/dev") || path.starts_with("/proc");
        if !from_shell && fs_err::metadata(path)?.file_type().is_fifo() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = fs_err::File::open(path)?;
        let mut content = Vec::new();
        // One byte more tells a file of exactly `limit` bytes from a larger one, or from a device without end.
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        fs_err::canonicalize(path).ok()
    }
}

#[cfg(test)]
pub(crate) mod memory {
    use super::*;
    use std::collections::BTreeMap;

    /// Files in memory.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct MemoryLoader {
        pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    }

    impl SourceLoader for MemoryLoader {
        fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
            let content = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
            if content.len() as u64 > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(content.clone())
        }

        fn exists(&self, path: &Path) -> bool {
            self.files.keys().any(|file| file.starts_with(path))
        }

        fn is_directory(&self, path: &Path) -> bool {
            self.exists(path) && !self.files.contains_key(path)
        }

        fn resolve(&self, path: &Path) -> Option<PathBuf> {
            self.exists(path).then(|| path.to_owned())
        }
    }
}
