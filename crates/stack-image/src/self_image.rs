//! The built-in image: one layer whose only file is the running static binary.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde::{Deserialize, Serialize};
use stack_model::ImageFacts;

use crate::content::{Content, read_bounded};
use crate::digest::{Digest, HashingReader};
use crate::error::ImageError;
use crate::layer;
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::platform::Platform;
use crate::scratch::{ScratchDirectory, ScratchFile};
use crate::store::Store;

/// The name under which a file asks for it.
pub const SELF_IMAGE: &str = "stack.local/self";
/// What stands where others have a registry.
pub(crate) const BUILT_IN_REGISTRY: &str = "stack.local";
/// The name it has in the index.
const CANONICAL: &str = "stack.local/self:latest";
/// The name of the binary in the layer.
const PROGRAM: &str = "stack";
/// Readable and executable by all, writable by none: a container runs it as any user.
const MODE: u32 = 0o555;
/// tar(5): everything is padded to records of this many bytes.
const TAR_RECORD: u64 = 512;

/// What `self.json` remembers, so that an unchanged binary costs one stat.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    version: u32,
    device: u64,
    inode: u64,
    modified_ns: i64,
    size: u64,
    manifest: Digest,
}

impl Memory {
    fn is_of(&self, binary: &fs::File) -> io::Result<bool> {
        let seen = Self::new(binary, self.manifest.clone())?;
        Ok(*self == seen)
    }

    /// The change time is left out: linking the file changes it.
    fn new(binary: &fs::File, manifest: Digest) -> io::Result<Self> {
        let metadata = binary.metadata()?;
        let modified_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok(Self {
            version: 1,
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns,
            size: metadata.len(),
            manifest,
        })
    }
}

impl Store {
    /// Makes `stack.local/self` hold this static binary. Works without any network; costs a stat when the binary is
    /// the one of the last call.
    ///
    /// # Errors
    /// When the binary cannot be read or the store not written.
    pub fn ensure_self_image(&self, binary: &Path) -> Result<ImageFacts, ImageError> {
        let file = fs::File::open(binary).map_err(ImageError::store("read", binary))?;
        if let Some(facts) = self.remembered(&file) {
            return Ok(facts);
        }
        let content = &self.content;
        let _lease = content.lease()?;
        content.sweep();
        let (tar, diff_id, size) = write_tar(content, &file).map_err(|error| match error {
            Failed::Binary(source) => ImageError::Store { action: "read", path: binary.to_owned(), source },
            Failed::Store(error) => error,
        })?;
        let lock = content.lock(&diff_id)?;
        layer::keep_blob(content, tar, &diff_id)?;
        if !layer::is_whole(content, &diff_id) {
            let scratch = ScratchDirectory::new_in(&content.layer_scratch())?;
            let root = layer::make_root(&scratch)?;
            place(binary, &file, &root.join(PROGRAM))?;
            layer::keep_layer(content, &scratch, &diff_id)?;
        }
        drop(lock);
        let manifest = self.name_self(&diff_id, size)?;
        let memory = Memory::new(&file, manifest.clone()).map_err(ImageError::store("read", binary))?;
        let text = serde_json::to_vec_pretty(&memory).expect("it is made of texts and numbers");
        content.write_whole(&content.self_memory(), &text)?;
        self.read_facts(CANONICAL, &manifest)
    }

    fn remembered(&self, binary: &fs::File) -> Option<ImageFacts> {
        let memory: Memory = serde_json::from_slice(&read_bounded(&self.content.self_memory()).ok()?).ok()?;
        if !memory.is_of(binary).ok()? {
            return None;
        }
        // The index has the last word: it may have been deleted or written by an older program.
        let facts = self.find(&SELF_IMAGE.into()).ok()??;
        (self.named(CANONICAL)? == memory.manifest).then_some(facts)
    }

    fn name_self(&self, diff_id: &Digest, size: u64) -> Result<Digest, ImageError> {
        let platform = Platform::of_this_machine();
        let config = serde_json::json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "config": { "Entrypoint": [format!("/{PROGRAM}")], "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let config = config.to_string().into_bytes();
        let config = Descriptor::new(OCI_CONFIG, self.content.put(&config)?, config.len() as u64);
        let layer = Descriptor::new(OCI_LAYER, diff_id.clone(), size);
        let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer]));
        let manifest = manifest.expect("a manifest is made of texts and numbers");
        let digest = self.content.put(&manifest)?;
        let mut descriptor = Descriptor::new(OCI_MANIFEST, digest.clone(), manifest.len() as u64);
        descriptor.platform = Some(platform);
        self.content.name(CANONICAL, descriptor)?;
        Ok(digest)
    }
}

enum Failed {
    Binary(io::Error),
    Store(ImageError),
}

/// Writes the tar that the layer is: one header, the binary, padding. Its digest is the diff id.
fn write_tar(content: &Content, binary: &fs::File) -> Result<(ScratchFile, Digest, u64), Failed> {
    let size = binary.metadata().map_err(Failed::Binary)?.len();
    let mut header = tar::Header::new_ustar();
    header.set_path(PROGRAM).map_err(Failed::Binary)?;
    header.set_size(size);
    header.set_mode(MODE);
    header.set_mtime(0);
    header.set_cksum();
    let padding = size.next_multiple_of(TAR_RECORD) - size + 2 * TAR_RECORD;
    let source = header.as_bytes().chain(binary.take(size)).chain(io::repeat(0).take(padding));
    let mut reader = HashingReader::new(source);
    let mut scratch = ScratchFile::new_in(&content.scratch()).map_err(Failed::Store)?;
    let path = scratch.path().to_owned();
    let written = io::copy(&mut reader, scratch.file()).and_then(|_| scratch.file().flush());
    written.map_err(ImageError::store("write", path)).map_err(Failed::Store)?;
    let (_, digest, length) = reader.finish();
    if length != TAR_RECORD + size + padding {
        return Err(Failed::Binary(io::Error::other("it changed while it was read")));
    }
    Ok((scratch, digest, length))
}

/// Reflink, else hard link, else copy: the first two share the page cache or the disk blocks with the host's binary.
/// A container cannot write through a hard link: the layer is only ever the lower side of an overlay.
fn place(binary: &Path, source: &fs::File, target: &Path) -> Result<(), ImageError> {
    let mut options = fs::OpenOptions::new();
    let new = options.write(true).create_new(true).mode(MODE).open(target);
    let mut new = new.map_err(ImageError::store("make", target))?;
    let set_mode = |file: &fs::File| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(MODE);
        file.set_permissions(mode).map_err(ImageError::store("set the mode of", target))
    };
    if rustix::fs::ioctl_ficlone(&new, source).is_ok() {
        return set_mode(&new);
    }
    // Linking takes the mode as it is: only a file that everyone may read and run serves every user.
    let is_for_all = source.metadata().is_ok_and(|metadata| metadata.mode() & 0o7777 & !0o222 == MODE);
    if is_for_all && fs::remove_file(target).is_ok() && fs::hard_link(binary, target).is_ok() {
        if crate::lock::is_same_file(source, target) {
            return Ok(());
        }
        // The path was replaced meanwhile; the open file is the one that was hashed.
        fs::remove_file(target).map_err(ImageError::store("remove", target))?;
    }
    if !target.exists() {
        let again = fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(target);
        new = again.map_err(ImageError::store("make", target))?;
    }
    let mut source = source.try_clone().map_err(ImageError::store("read", binary))?;
    let copied = io::Seek::rewind(&mut source).and_then(|()| io::copy(&mut source, &mut new));
    copied.map_err(ImageError::store("write", target))?;
    set_mode(&new)
}
