//! Digests of files, remembered by what stat(2) says of them, so that an unchanged context is not read again.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::error::BuildError;

/// Most files that are remembered.
const FILES_MAX: usize = 200_000;
/// A file that was changed this recently may change again within one tick of its clock, in seconds.
const SETTLED_AFTER: i64 = 2;

/// What changes with every write, as far as the kernel tells: the change time cannot be set by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, u64, u64, i64, i64);

/// The digests of one store.
#[derive(Debug)]
pub(crate) struct FileDigests {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    files: HashMap<PathBuf, (Stamp, String)>,
    changed: bool,
}

impl FileDigests {
    pub(crate) fn open(path: PathBuf) -> Self {
        let files = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, known: Mutex::new(Known { files, changed: false }) }
    }

    pub(crate) fn of(&self, file: &Path, metadata: &std::fs::Metadata) -> Result<String, BuildError> {
        let stamp = Stamp(metadata.dev(), metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, digest)) = lock().files.get(file)
            && *known == stamp
        {
            return Ok(digest.clone());
        }
        let digest = digest_of(file)?;
        if crate::time::now() - metadata.ctime() > SETTLED_AFTER {
            let mut known = lock();
            known.files.insert(file.to_owned(), (stamp, digest.clone()));
            known.changed = true;
        }
        Ok(digest)
    }

    /// Writes down what was learned. Losing it costs time only.
    pub(crate) fn save(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.changed {
            return;
        }
        if known.files.len() > FILES_MAX {
            known.files.clear();
        }
        let part = self.path.with_extension(format!("part{}", std::process::id()));
        if let Ok(bytes) = serde_json::to_vec(&known.files) {
            drop(fs::write(&part, bytes).and_then(|()| fs::rename(&part, &self.path)));
        }
        known.changed = false;
    }
}

fn digest_of(file: &Path) -> Result<String, BuildError> {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(file)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 128 << 10]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(hasher)),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    read().map_err(BuildError::io("read", file))
}
