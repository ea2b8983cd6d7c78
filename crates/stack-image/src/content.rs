//! The content store: an OCI image layout (image-spec `image-layout.md`) that other tools can read, and the directories
//! of unpacked layers beside it.
//!
//! ```text
//! images/oci-layout  index.json  blobs/sha256/<hex>     standard
//! images/.tmp/  .locks/  self.json                      ours
//! layers/<hex of the diff id>/                          a whole layer, always
//! layers/.tmp/                                          layers that are being unpacked
//! layers/.unsynced/<hex>                                the boot in which a layer was made, until it is on the disk
//! ```

use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use stack_model::Layout;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::lock::{Lock, sweep_locks};
use crate::manifest::{DOCUMENT_MAX, Descriptor, Index, REF_NAME};
use crate::scratch::{ScratchFile, sweep};

/// The file that marks a layout, word for word as the image-spec gives it.
const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Paths of a store, and the operations on them that are atomic.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    images: PathBuf,
    layers: PathBuf,
}

impl Content {
    /// Makes what is missing.
    pub(crate) fn open(layout: &Layout) -> Result<Self, ImageError> {
        let content = Self { images: layout.images(), layers: layout.layers() };
        // The file comes last: where it is, everything is.
        if content.images.join("oci-layout").exists() && content.unsynced().exists() {
            return Ok(content);
        }
        // Only root may pass: a layer holds set-user-id programs that nobody outside a container should reach.
        for directory in [&content.images, &content.layers] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(ImageError::store("make the directory", directory))?;
        }
        let inner = [content.blobs(), content.scratch(), content.locks(), content.layer_scratch(), content.unsynced()];
        for directory in inner {
            fs::create_dir_all(&directory).map_err(ImageError::store("make the directory", directory))?;
        }
        // Layers are unpacked there. Filesystems that do not know it do not need it.
        drop(stack_sys::spread_out(&content.layer_scratch()));
        if !content.index_path().exists() {
            content.change_index(|_| false)?;
        }
        drop(content.lease()?);
        content.write_whole(&content.images.join("oci-layout"), OCI_LAYOUT.as_bytes())?;
        Ok(content)
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.images.join("blobs/sha256")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.images.join(".tmp")
    }

    fn locks(&self) -> PathBuf {
        self.images.join(".locks")
    }

    pub(crate) fn lease_path(&self) -> PathBuf {
        self.locks().join("lease")
    }

    pub(crate) fn layers(&self) -> &Path {
        &self.layers
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.images.join("index.json")
    }

    pub(crate) fn self_memory(&self) -> PathBuf {
        self.images.join("self.json")
    }

    pub(crate) fn layer_scratch(&self) -> PathBuf {
        self.layers.join(".tmp")
    }

    pub(crate) fn unsynced(&self) -> PathBuf {
        self.layers.join(".unsynced")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    /// Removes what dead processes have left.
    pub(crate) fn sweep(&self) {
        sweep(&self.scratch());
        sweep(&self.layer_scratch());
        sweep_locks(&self.locks(), |name| name != "index" && name != "lease");
    }

    /// Waits until no other process or thread works on the same content.
    pub(crate) fn lock(&self, digest: &Digest) -> Result<Lock, ImageError> {
        Lock::wait_for_work(self.locks().join(digest.hex()))
    }

    /// The blob is there with this size. Blobs get their name after verification, so the name says the rest.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|metadata| metadata.len() == size)
    }

    /// A manifest, index or configuration.
    pub(crate) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.blob(digest);
        read_bounded(&path).map_err(ImageError::store("read", path))
    }

    /// Stores a small blob durably.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        let path = self.blob(&digest);
        if !self.has_blob(&digest, bytes.len() as u64) {
            self.write_whole(&path, bytes)?;
        }
        Ok(digest)
    }

    /// Temp file, fsync, rename: a reader sees the old or the new file, whatever dies when.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let mut scratch = ScratchFile::new_in(&self.scratch())?;
        scratch.file().write_all(bytes).map_err(ImageError::store("write", path))?;
        scratch.file().sync_all().map_err(ImageError::store("write", path))?;
        scratch.keep_as(path)?;
        let parent = path.parent().unwrap_or(path);
        let synced = fs::File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(ImageError::store("write", parent))
    }

    pub(crate) fn read_index(&self) -> Result<Index, ImageError> {
        let path = self.index_path();
        let bytes = read_bounded(&path).map_err(ImageError::store("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| ImageError::Store {
            action: "understand",
            path,
            source: error.into(),
        })
    }

    /// Reads, changes and writes the index as one step; `change` says whether it changed anything.
    fn change_index(&self, change: impl FnOnce(&mut Index) -> bool) -> Result<(), ImageError> {
        let _lock = Lock::wait(&self.locks().join("index"))?;
        let path = self.index_path();
        let exists = path.exists();
        let mut index = if exists { self.read_index()? } else { Index::default() };
        if change(&mut index) || !exists {
            let bytes = serde_json::to_vec_pretty(&index).expect("an index is made of texts and numbers");
            self.write_whole(&path, &bytes)?;
        }
        Ok(())
    }

    /// Takes a name away; `false` when nothing had it.
    pub(crate) fn unname(&self, name: &str) -> Result<bool, ImageError> {
        let mut found = false;
        self.change_index(|index| {
            let before = index.manifests.len();
            index.manifests.retain(|other| other.annotations.get(REF_NAME).is_none_or(|other| other != name));
            found = index.manifests.len() != before;
            found
        })?;
        Ok(found)
    }

    /// Lets a name mean a manifest.
    pub(crate) fn name(&self, name: &str, mut descriptor: Descriptor) -> Result<(), ImageError> {
        descriptor.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        self.change_index(|index| {
            if index.named(name) == Some(&descriptor) {
                return false;
            }
            index.manifests.retain(|other| other.annotations.get(REF_NAME).is_none_or(|other| other != name));
            index.manifests.push(descriptor);
            true
        })
    }
}

/// Reads a file that must be small.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    // With one byte more than there is, the second read is the end.
    let length = file.metadata()?.len().min(DOCUMENT_MAX) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(std::io::Error::other(format!("it is larger than {DOCUMENT_MAX} bytes")));
    }
    Ok(bytes)
}
