//! From a directory, or entries, to a compressed layer and its two digests.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Failed;

/// Nothing in a layer is younger than this (2026-01-01T00:00:00Z), so that the same packages give the same layer.
pub(super) const MODIFIED: u64 = 1_767_225_600;
/// What package installation leaves and nothing needs.
const LEFT_OUT: [&str; 10] = [
    "dev",
    "proc",
    "sys",
    "tmp",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log/apt",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
];

/// A layer in the layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Packed {
    pub(super) diff_id: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

/// Writes one layer into the blobs; `fill` puts the entries in.
pub(super) fn pack(
    blobs: &Path,
    fill: impl FnOnce(&mut tar::Builder<&mut dyn Write>) -> Result<(), Failed>,
) -> Result<Packed, Failed> {
    let scratch = blobs.join("half-made");
    let file = Hashing::new(BufWriter::new(fs_err::File::create(&scratch)?));
    let mut plain = Hashing::new(GzEncoder::new(file, Compression::new(6)));
    {
        let mut archive = tar::Builder::new(&mut plain as &mut dyn Write);
        fill(&mut archive)?;
        archive.finish()?;
    }
    let (encoder, diff_id, _) = plain.finish();
    let (mut writer, digest, size) = encoder.finish()?.finish();
    writer.flush()?;
    fs_err::rename(&scratch, blobs.join(&digest["sha256:".len()..]))?;
    Ok(Packed { diff_id, digest, size })
}

/// Appends everything below a directory, overlayfs' marks turned into those of a layer.
pub(super) fn append_tree(archive: &mut tar::Builder<&mut dyn Write>, root: &Path) -> Result<(), Failed> {
    let mut walk = Walk { archive, root, links: HashMap::new() };
    walk.directory(Path::new(""))
}

struct Walk<'a, 'b> {
    archive: &'a mut tar::Builder<&'b mut dyn Write>,
    root: &'a Path,
    /// First name of each file that has several.
    links: HashMap<u64, PathBuf>,
}

impl Walk<'_, '_> {
    fn directory(&mut self, relative: &Path) -> Result<(), Failed> {
        let mut entries = fs_err::read_dir(self.root.join(relative))?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs_err::DirEntry::file_name);
        for entry in entries {
            let path = relative.join(entry.file_name());
            if LEFT_OUT.iter().any(|left_out| path == Path::new(left_out)) && relative != Path::new("") {
                continue;
            }
            self.entry(&path)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<(), Failed> {
        let full = self.root.join(path);
        let metadata = fs_err::symlink_metadata(&full)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(metadata.permissions().mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0).min(MODIFIED));
        header.set_size(0);
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            return self.mark(header, &whiteout(path));
        }
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            self.archive.append_data(&mut header.clone(), path, io::empty())?;
            if is_opaque(&full)? {
                self.mark(header, &path.join(".wh..wh..opq"))?;
            }
            // The mount points of the build are there, without what was mounted.
            let is_mount_point = LEFT_OUT.iter().any(|left_out| path == Path::new(left_out));
            return if is_mount_point { Ok(()) } else { self.directory(path) };
        }
        if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            return Ok(self.archive.append_link(&mut header, path, fs_err::read_link(&full)?)?);
        }
        if !kind.is_file() {
            return Err(format!("{} is neither file, directory nor link", full.display()).into());
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&metadata.ino()) {
                header.set_entry_type(tar::EntryType::Link);
                return Ok(self.archive.append_link(&mut header, path, first)?);
            }
            self.links.insert(metadata.ino(), path.to_owned());
        }
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(metadata.len());
        Ok(self.archive.append_data(&mut header, path, fs_err::File::open(&full)?)?)
    }

    fn mark(&mut self, mut header: tar::Header, path: &Path) -> Result<(), Failed> {
        header.set_entry_type(tar::EntryType::Regular);
        Ok(self.archive.append_data(&mut header, path, io::empty())?)
    }
}

fn whiteout(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".wh.");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn is_opaque(path: &Path) -> Result<bool, Failed> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = [0; 1];
    let length = rustix::fs::lgetxattr(path.as_c_str(), c"trusted.overlay.opaque", &mut value).unwrap_or(0);
    Ok(length == 1 && value == *b"y")
}

/// Hashes and counts what is written through it.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    count: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), count: 0 }
    }

    fn finish(self) -> (W, String, u64) {
        (self.inner, format!("sha256:{}", hex(self.hasher)), self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
