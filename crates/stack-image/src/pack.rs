//! From the upper directory of an overlay to the tar of a layer: the way back of `unpack`.
//!
//! Entries come in the order of their names and hold nothing of this machine but what the change is, so equal changes
//! give equal layers. What overlayfs says with devices and attributes becomes whiteouts (OCI image-spec `layer.md`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tar::{EntryType, Header};

/// overlayfs: this directory hides those of the layers below (kernel, `filesystems/overlayfs.rst`).
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
/// overlayfs: what this directory holds lies elsewhere.
const REDIRECT_ATTRIBUTE: &str = "trusted.overlay.redirect";
/// Largest extended attribute (`XATTR_SIZE_MAX`, linux/limits.h).
const ATTRIBUTE_BYTES_MAX: usize = 65_536;

/// What is to become a layer.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// The upper directory. Nobody writes to it any more.
    pub upper: &'a Path,
    /// What was there before, all layers merged; `None` when there was nothing.
    pub lower: Option<&'a Path>,
    /// No time in the layer is later than this, in seconds since the epoch.
    pub latest: Option<i64>,
    /// Mount points, relative to the root: where they were made for a mount only and are empty, they are left out.
    pub mount_points: &'a [PathBuf],
}

/// Writes the tar; `false` when there is no change, and nothing was written.
///
/// # Errors
/// Something cannot be read or written; the path is named.
pub fn pack(changes: &Changes<'_>, output: &mut dyn Write) -> io::Result<bool> {
    let lower = match changes.lower {
        Some(path) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| named("open", path, error.into()))?)
        }
        None => None,
    };
    let mut packer = Packer { changes, lower, output, links: HashMap::new(), waiting: Vec::new(), written: false };
    packer.directory(Path::new(""), false)?;
    if packer.written {
        // Two empty records end a tar (tar(5)).
        packer.output.write_all(&[0; 1024])?;
    }
    Ok(packer.written)
}

struct Packer<'a> {
    changes: &'a Changes<'a>,
    lower: Option<OwnedFd>,
    output: &'a mut dyn Write,
    /// Files with several names, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    /// Directories on the way down that are written once something in them is.
    waiting: Vec<PathBuf>,
    written: bool,
}

impl Packer<'_> {
    /// The entries of a directory; `hidden` when nothing of the lower layers shows through it.
    fn directory(&mut self, path: &Path, hidden: bool) -> io::Result<()> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(self.changes.upper.join(path))? {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            self.entry(&path.join(name), hidden)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, hidden: bool) -> io::Result<()> {
        let full = self.changes.upper.join(path);
        let metadata = fs::symlink_metadata(&full)?;
        let kind = metadata.file_type();
        let before = if hidden { None } else { self.before(path) };
        if self.is_stub(path, &full, &metadata, before.is_some())? {
            return Ok(());
        }
        if kind.is_dir() {
            return self.enter(path, &full, &metadata, before);
        }
        if kind.is_char_device() && metadata.rdev() == 0 {
            // A whiteout of nothing hides nothing.
            return if before.is_some() { self.mark(path) } else { Ok(()) };
        }
        // A socket is of a process; tar has no word for it.
        if kind.is_socket() {
            return Ok(());
        }
        self.flush()?;
        self.write(path, &full, &metadata)
    }

    fn enter(
        &mut self,
        path: &Path,
        full: &Path,
        metadata: &std::fs::Metadata,
        before: Option<OwnedFd>,
    ) -> io::Result<()> {
        if attribute(full, REDIRECT_ATTRIBUTE)?.is_some() {
            let reason = "the kernel has renamed a directory by reference; load overlay with redirect_dir=off";
            return Err(io::Error::other(format!("{}: {reason}", path.display())));
        }
        let was_directory = before.as_ref().is_some_and(is_directory);
        let opaque = was_directory && attribute(full, OPAQUE_ATTRIBUTE)?.is_some_and(|value| value == b"y");
        let unchanged = match &before {
            Some(before) if was_directory && !opaque => same_directory(before, full, metadata)?,
            _ => false,
        };
        self.waiting.push(path.to_owned());
        if !unchanged {
            self.flush()?;
        }
        if opaque {
            self.header(&path.join(".wh..wh..opq"), EntryType::Regular, 0, 0)?;
        }
        self.directory(path, !was_directory || opaque)?;
        // Written ones are gone from the list.
        if self.waiting.last().is_some_and(|last| last == path) {
            self.waiting.pop();
        }
        Ok(())
    }

    /// The same path below, without following any link.
    fn before(&self, path: &Path) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // Only the last component may be a link, and it is not followed.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let lower = self.lower.as_ref()?;
        let strict = resolve | ResolveFlags::NO_SYMLINKS;
        let directory = match parent {
            Some(parent) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Some(rustix::fs::openat2(lower, parent, flags, Mode::empty(), strict).ok()?)
            }
            None => None,
        };
        let parent = directory.as_ref().unwrap_or(lower);
        rustix::fs::openat(parent, path.file_name()?, flags, Mode::empty()).ok()
    }

    fn is_stub(&self, path: &Path, full: &Path, metadata: &std::fs::Metadata, was_there: bool) -> io::Result<bool> {
        let mounts = &self.changes.mount_points;
        if was_there || !mounts.iter().any(|mount| mount.starts_with(path)) {
            return Ok(false);
        }
        if !metadata.is_dir() {
            return Ok(mounts.iter().any(|mount| mount == path) && metadata.is_file() && metadata.len() == 0);
        }
        // A directory that holds nothing but stubs is one.
        for entry in fs::read_dir(full)? {
            let entry = entry?;
            let inner = path.join(entry.file_name());
            if !self.is_stub(&inner, &entry.path(), &entry.metadata()?, false)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the directories that lead here.
    fn flush(&mut self) -> io::Result<()> {
        for path in std::mem::take(&mut self.waiting) {
            let full = self.changes.upper.join(&path);
            let metadata = fs::symlink_metadata(&full)?;
            self.write(&path, &full, &metadata)?;
        }
        Ok(())
    }

    /// `.wh.<name>`.
    fn mark(&mut self, path: &Path) -> io::Result<()> {
        self.flush()?;
        let mut name = OsString::from(".wh.");
        name.push(path.file_name().unwrap_or_default());
        self.header(&path.with_file_name(name), EntryType::Regular, 0, 0)
    }

    fn header(&mut self, path: &Path, kind: EntryType, size: u64, mode: u32) -> io::Result<()> {
        let mut header = Header::new_ustar();
        fill(&mut header, kind, size, mode, (0, 0));
        self.append(&mut header, path, None, &[], &mut io::empty())
    }

    fn write(&mut self, path: &Path, full: &Path, metadata: &std::fs::Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        let mut header = Header::new_ustar();
        let owner = (metadata.uid(), metadata.gid());
        fill(&mut header, EntryType::Regular, 0, metadata.mode() & 0o7777, owner);
        let time = self.changes.latest.map_or(metadata.mtime(), |latest| metadata.mtime().min(latest));
        header.set_mtime(u64::try_from(time).unwrap_or(0));
        let mut extensions = if kind.is_symlink() { Vec::new() } else { attributes(full)? };
        if u64::from(owner.0.max(owner.1)) > HEADER_ID_MAX {
            extensions.push(("uid".to_owned(), owner.0.to_string().into_bytes()));
            extensions.push(("gid".to_owned(), owner.1.to_string().into_bytes()));
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(full)?;
            return self.append(&mut header, path, Some(target.as_os_str()), &extensions, &mut io::empty());
        }
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            return self.append(&mut header, Path::new(&name), None, &extensions, &mut io::empty());
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&(metadata.dev(), metadata.ino())).cloned() {
                header.set_entry_type(EntryType::Link);
                return self.append(&mut header, path, Some(first.as_os_str()), &[], &mut io::empty());
            }
            self.links.insert((metadata.dev(), metadata.ino()), path.to_owned());
        }
        if kind.is_file() {
            let size = metadata.len();
            header.set_size(size);
            if size > HEADER_SIZE_MAX {
                extensions.push(("size".to_owned(), size.to_string().into_bytes()));
            }
            let mut content = fs::File::open(full)?;
            return self.append(&mut header, path, None, &extensions, &mut content);
        }
        header.set_entry_type(if kind.is_fifo() {
            EntryType::Fifo
        } else if kind.is_block_device() {
            EntryType::Block
        } else {
            EntryType::Char
        });
        header.set_device_major(rustix::fs::major(metadata.rdev()))?;
        header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
        self.append(&mut header, path, None, &extensions, &mut io::empty())
    }

    /// One entry: extended header where the plain one is too small, header, content, padding.
    fn append(
        &mut self,
        header: &mut Header,
        path: &Path,
        link: Option<&OsStr>,
        extensions: &[(String, Vec<u8>)],
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.written = true;
        let mut records = Vec::new();
        if !path.is_ascii_short() {
            record(&mut records, "path", path.as_os_str().as_bytes());
        }
        set_name(header, path.as_os_str().as_bytes());
        if let Some(link) = link {
            if link.len() > LINK_BYTES_MAX || !link.as_bytes().is_ascii() {
                record(&mut records, "linkpath", link.as_bytes());
            }
            let short = &link.as_bytes()[..link.len().min(LINK_BYTES_MAX)];
            header.as_old_mut().linkname[..short.len()].copy_from_slice(short);
        }
        for (key, value) in extensions {
            record(&mut records, key, value);
        }
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            fill(&mut extended, EntryType::XHeader, records.len() as u64, 0o644, (0, 0));
            set_name(&mut extended, b"PaxHeaders/entry");
            extended.set_cksum();
            self.output.write_all(extended.as_bytes())?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        let size = header.size()?;
        let copied = io::copy(&mut content.take(size), self.output)?;
        if copied != size {
            return Err(io::Error::other(format!("{} changed while it was read", path.display())));
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.output.write_all(&[0; 512][..rest])
    }
}

/// Seven octal digits (ustar).
const HEADER_ID_MAX: u64 = 0o7_777_777;
/// Eleven octal digits (ustar).
const HEADER_SIZE_MAX: u64 = 0o77_777_777_777;
/// The name fields of a plain header.
const NAME_BYTES_MAX: usize = 100;
/// The same for the target of a link.
const LINK_BYTES_MAX: usize = 100;

trait ShortAscii {
    /// Fits into the plain header.
    fn is_ascii_short(&self) -> bool;
}

impl ShortAscii for Path {
    fn is_ascii_short(&self) -> bool {
        let bytes = self.as_os_str().as_bytes();
        bytes.len() <= NAME_BYTES_MAX && bytes.is_ascii()
    }
}

fn set_name(header: &mut Header, name: &[u8]) {
    let short = &name[..name.len().min(NAME_BYTES_MAX)];
    header.as_old_mut().name[..short.len()].copy_from_slice(short);
}

fn fill(header: &mut Header, kind: EntryType, size: u64, mode: u32, owner: (u32, u32)) {
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    // Larger ones stand in the extended header.
    header.set_uid(u64::from(owner.0).min(HEADER_ID_MAX));
    header.set_gid(u64::from(owner.1).min(HEADER_ID_MAX));
    header.set_mtime(0);
}

/// `length key=value\n`, where the length counts itself (pax(1)).
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn is_directory(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Equal but for its times, which change with what is in it.
fn same_directory(before: &OwnedFd, full: &Path, metadata: &std::fs::Metadata) -> io::Result<bool> {
    let stat = rustix::fs::fstat(before)?;
    if (stat.st_mode, stat.st_uid, stat.st_gid) != (metadata.mode(), metadata.uid(), metadata.gid()) {
        return Ok(false);
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&before.as_fd()));
    Ok(attributes(Path::new(&path))? == attributes(full)?)
}

/// The extended attributes that images carry, as PAX records, in order.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let length = match rustix::fs::listxattr(path, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(named("read the attributes of", path, error.into())),
    };
    let names = names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let mut names: Vec<&str> = names.filter(|name| crate::unpack::is_allowed_attribute(name)).collect();
    names.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        if let Some(value) = attribute(path, name)? {
            found.push((format!("SCHILY.xattr.{name}"), value));
        }
    }
    Ok(found)
}

fn attribute(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
    match rustix::fs::getxattr(path, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(named("read an attribute of", path, error.into())),
    }
}

fn named(action: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action} {}: {error}", path.display()))
}
