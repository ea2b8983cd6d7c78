//! What of the store is needed, how much it takes, and what can go.
//!
//! Needed is what a name leads to and what the caller knows of: layers of containers and of steps of builds. Whoever
//! adds content holds a lease from before the first byte until it is reachable; nothing is removed meanwhile. Removal
//! can be cut off anywhere: what is left is still not needed, and goes the next time.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use rustix::fs::FlockOperation;
use stack_model::{Bytes, DiffId};

use crate::commit::StoredLayer;
use crate::content::Content;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::lock::Lock;
use crate::manifest::{Document, parse_document};
use crate::scratch::ScratchDirectory;
use crate::store::Store;

/// What is needed besides the images that have a name.
#[derive(Debug, Clone, Default)]
pub struct Needed {
    /// Layers with their blobs.
    pub layers: Vec<StoredLayer>,
    /// Unpacked layers, such as those of containers.
    pub diff_ids: BTreeSet<DiffId>,
}

/// Sizes on the disk, as du(1) counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The OCI layout.
    pub blobs: Bytes,
    /// Unpacked layers.
    pub layers: Bytes,
    /// The part of both that nothing needs.
    pub unused: Bytes,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Their size on the disk.
    pub size: Bytes,
}

/// Names in the directories of blobs and layers.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    pub(crate) blobs: BTreeSet<String>,
    pub(crate) layers: BTreeSet<String>,
}

/// Keeps what is being added from being collected; released when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
}

impl Content {
    /// Waits for a collection that is under way.
    pub(crate) fn lease(&self) -> Result<Lease, ImageError> {
        Ok(Lease { _lock: Lock::hold(&self.lease_path(), FlockOperation::LockShared)? })
    }
}

impl Store {
    /// Keeps what is added from now on from being collected, and removes what dead processes have left half-made.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub fn lease(&self) -> Result<Lease, ImageError> {
        let lease = self.content.lease()?;
        self.content.sweep();
        Ok(lease)
    }

    /// How much the store takes.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn usage(&self, needed: &Needed) -> Result<Usage, ImageError> {
        let reachable = self.reachable(needed)?;
        let mut seen = HashSet::new();
        let (blobs, layers) = (self.content.blobs(), self.content.layers());
        let mut usage = Usage::default();
        let images = blobs.parent().and_then(Path::parent).unwrap_or(&blobs);
        usage.blobs = Bytes(size_of(images, &mut seen)?);
        usage.layers = Bytes(size_of(layers, &mut seen)?);
        let mut seen = HashSet::new();
        let mut unused = 0;
        for (directory, needed) in [(blobs.as_path(), &reachable.blobs), (layers, &reachable.layers)] {
            for name in names(directory)?.iter().filter(|name| !needed.contains(*name)) {
                unused += size_of(&directory.join(name), &mut seen)?;
            }
        }
        usage.unused = Bytes(unused);
        Ok(usage)
    }

    /// Removes what nothing needs. Waits for those who add content.
    ///
    /// # Errors
    /// The store is damaged, or something cannot be removed. What is needed is never touched.
    pub fn collect(&self, needed: &Needed) -> Result<Collected, ImageError> {
        let content = &self.content;
        let _alone = Lock::hold(&content.lease_path(), FlockOperation::LockExclusive)?;
        content.sweep();
        let reachable = self.reachable(needed)?;
        let (mut collected, mut seen) = (Collected::default(), HashSet::new());
        let layers = content.layers();
        for name in names(layers)?.into_iter().filter(|name| !reachable.layers.contains(name)) {
            let path = layers.join(&name);
            collected.size.0 += size_of(&path, &mut seen)?;
            // Moved out of sight at once: a layer is whole or not there.
            let doomed = ScratchDirectory::new_in(&content.layer_scratch())?;
            fs::rename(&path, doomed.path().join("old")).map_err(ImageError::store("remove", &path))?;
            drop(fs::remove_file(content.unsynced().join(&name)));
            collected.layers += 1;
        }
        let blobs = content.blobs();
        for name in names(&blobs)?.into_iter().filter(|name| !reachable.blobs.contains(name)) {
            let path = blobs.join(&name);
            collected.size.0 += size_of(&path, &mut seen)?;
            fs::remove_file(&path).map_err(ImageError::store("remove", &path))?;
            collected.blobs += 1;
        }
        Ok(collected)
    }

    /// Everything that a name or the caller leads to. A document that cannot be understood stops the collection.
    pub(crate) fn reachable(&self, needed: &Needed) -> Result<Reachable, ImageError> {
        let mut reachable = Reachable::default();
        let mut open: Vec<Digest> = Vec::new();
        for descriptor in self.content.read_index()?.manifests {
            open.push(descriptor.digest);
        }
        while let Some(digest) = open.pop() {
            if !reachable.blobs.insert(digest.hex().to_owned()) || !self.content.blob(&digest).exists() {
                continue;
            }
            let bytes = self.content.read_document(&digest)?;
            let refuse = |error| ImageError::Manifest {
                reference: digest.to_string(),
                digest: digest.to_string(),
                source: crate::error::BadDocument(error),
            };
            match parse_document(&bytes).map_err(refuse)? {
                Document::Index(index) => open.extend(index.manifests.into_iter().map(|entry| entry.digest)),
                Document::Manifest(manifest) => {
                    let blobs = manifest.layers.iter().chain([&manifest.config]);
                    reachable.blobs.extend(blobs.map(|blob| blob.digest.hex().to_owned()));
                    // An image that another tool brought may be for another machine: then nothing of it is unpacked.
                    if let Ok(bytes) = self.content.read_document(&manifest.config.digest)
                        && let Ok(parsed) = crate::config::parse_config(&bytes)
                    {
                        reachable.layers.extend(parsed.diff_ids.iter().map(|diff_id| diff_id.hex().to_owned()));
                    }
                }
            }
        }
        for layer in &needed.layers {
            let (blob, diff_id) = layer.digests();
            reachable.blobs.insert(blob.hex().to_owned());
            reachable.layers.insert(diff_id.hex().to_owned());
        }
        let diff_ids = needed.diff_ids.iter().filter_map(|diff_id| Digest::parse(diff_id.as_str()).ok());
        reachable.layers.extend(diff_ids.map(|digest| digest.hex().to_owned()));
        Ok(reachable)
    }
}

/// Names of content; what begins with a dot is ours.
fn names(directory: &Path) -> Result<Vec<String>, ImageError> {
    let entries = fs::read_dir(directory).map_err(ImageError::store("read", directory))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// Blocks of a tree, each inode once.
fn size_of(path: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<u64, ImageError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // It has gone meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(ImageError::store("look at", path)(error)),
    };
    if !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(0);
    }
    // stat(2): blocks are of 512 bytes whatever the file system's are.
    let mut size = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(ImageError::store("read", path))?.flatten() {
            size += size_of(&entry.path(), seen)?;
        }
    }
    Ok(size)
}

/// The size of any tree on the disk.
///
/// # Errors
/// It cannot be read.
pub fn disk_usage(path: &Path) -> Result<Bytes, ImageError> {
    size_of(path, &mut HashSet::new()).map(Bytes)
}
