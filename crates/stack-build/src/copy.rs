//! Effects of COPY and ADD on the tree of an image. Every path of the image is resolved with openat2(2) as if its root
//! were `/`: links of the image never lead to files of this machine.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown,
    fsetxattr, futimens, linkat, mkdirat, mknodat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::BuildError;
use crate::sources::Entry;

/// What is set on everything that is copied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    /// `--chown`; `None` keeps the owner of an image's file and gives the rest to root.
    pub(crate) owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub(crate) mode: Option<Chmod>,
    /// The source is an image: owners are kept.
    pub(crate) keep: bool,
}

/// `--chmod`: in octal, or as chmod(1) writes changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chmod {
    Absolute(u32),
    Changes(Vec<ModeChange>),
}

/// `u+x`, `go=rX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModeChange {
    who: u32,
    operator: char,
    bits: u32,
    /// `X`: execution where somebody has it already, and for directories.
    search: bool,
}

impl Chmod {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Absolute);
        }
        text.split(',').map(parse_change).collect::<Option<Vec<_>>>().map(Self::Changes)
    }

    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Absolute(mode) => *mode,
            Self::Changes(changes) => changes.iter().fold(mode, |mode, change| {
                let search = change.search && (is_directory || mode & 0o111 != 0);
                let bits = (change.bits | if search { 0o111 } else { 0 }) & change.who;
                match change.operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => mode & !(change.who & 0o777) | bits,
                }
            }),
        }
    }
}

fn parse_change(text: &str) -> Option<ModeChange> {
    let position = text.find(['+', '-', '='])?;
    let who = text[..position].chars().try_fold(0, |who, c| {
        Some(
            who | match c {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return None,
            },
        )
    })?;
    let mut change = ModeChange {
        who: if who == 0 { 0o7777 } else { who },
        operator: text[position..].chars().next()?,
        bits: 0,
        search: false,
    };
    for c in text[position + 1..].chars() {
        match c {
            'r' => change.bits |= 0o444,
            'w' => change.bits |= 0o222,
            'x' => change.bits |= 0o111,
            's' => change.bits |= 0o6000,
            't' => change.bits |= 0o1000,
            'X' => change.search = true,
            _ => return None,
        }
    }
    Some(change)
}

/// The tree of an image that is being changed.
pub(crate) struct Target {
    root: OwnedFd,
    /// For messages.
    shown: PathBuf,
    /// Files that have several names in the source, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    /// Set in the end: filling a directory changes its time.
    times: Vec<(PathBuf, Timespec)>,
}

type Outcome<T = ()> = Result<T, BuildError>;

impl Target {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root, shown: PathBuf::from("/"), links: HashMap::new(), times: Vec::new() }
    }

    fn failed<'p>(&self, action: &'static str, path: &'p Path) -> impl FnOnce(Errno) -> BuildError + use<'p> {
        let path = self.shown.join(path);
        move |error| BuildError::io(action, path)(error.into())
    }

    fn open_in(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let inside = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, inside, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// There is a directory, or a link to one.
    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        self.open_in(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// A small file of the image, if it is there.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        const BYTES_MAX: u64 = 1 << 20;
        let file = self.open_in(path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), BYTES_MAX), &mut bytes).ok()?;
        Some(bytes)
    }

    /// Makes what is missing of a directory.
    pub(crate) fn ensure_directory(&self, path: &Path, owner: (u32, u32)) -> Outcome {
        let mut walked = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let parent = self.open_in(&walked, OFlags::PATH | OFlags::DIRECTORY);
            let parent = parent.map_err(self.failed("open", &walked))?;
            walked.push(name);
            match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let made = self.open_in(&walked, OFlags::RDONLY | OFlags::DIRECTORY);
                    let made = made.map_err(self.failed("open", &walked))?;
                    // The umask has its say in mkdir.
                    fchown(&made, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
                        .and_then(|()| fchmod(&made, Mode::from_raw_mode(0o755)))
                        .map_err(self.failed("make", &walked))?;
                }
                Err(Errno::EXIST) if self.is_directory(&walked) => {}
                Err(Errno::EXIST) => return Err(self.failed("make the directory", &walked)(Errno::NOTDIR)),
                Err(error) => return Err(self.failed("make the directory", &walked)(error)),
            }
        }
        Ok(())
    }

    /// Copies one entry to a path of the image, whose parent is there.
    pub(crate) fn put(&mut self, path: &Path, entry: &Entry, marks: &Marks) -> Outcome {
        let metadata = &entry.metadata;
        let kind = metadata.file_type();
        let (parent, name) = self.parent(path)?;
        if kind.is_dir() {
            return self.put_directory(path, entry, marks);
        }
        self.make_way(&parent, name, path)?;
        if metadata.nlink() > 1 && kind.is_file() && !self.is_first(path, metadata, &parent, name)? {
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&entry.source).map_err(BuildError::io("read", &entry.source))?;
            symlinkat(&target, &parent, name).map_err(self.failed("make the link", path))?;
        } else if kind.is_file() {
            let mut source = fs::File::open(&entry.source).map_err(BuildError::io("read", &entry.source))?;
            let file = self.create(&parent, name, path)?;
            let mut file = std::fs::File::from(file);
            io::copy(source.file_mut(), &mut file).map_err(BuildError::io("write", self.shown.join(path)))?;
            return self.finish_file(&file, path, entry, marks);
        } else {
            let device = if kind.is_fifo() { 0 } else { metadata.rdev() };
            mknodat(&parent, name, FileType::from_raw_mode(metadata.mode()), Mode::empty(), device)
                .map_err(self.failed("make the node", path))?;
        }
        let (uid, gid) = owner_of(metadata, marks);
        rustix::fs::chownat(
            &parent,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(self.failed("give", path))?;
        if !kind.is_symlink() {
            let mode = Mode::from_raw_mode(mode_of(metadata, marks));
            rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).map_err(self.failed("set the mode of", path))?;
        }
        utimensat(&parent, name, &times_of(metadata), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the time of", path))
    }

    /// Writes a file of these bytes.
    pub(crate) fn put_bytes(&self, path: &Path, bytes: &[u8], mode: u32, owner: (u32, u32), time: i64) -> Outcome {
        let (parent, name) = self.parent(path)?;
        self.make_way(&parent, name, path)?;
        let mut file = std::fs::File::from(self.create(&parent, name, path)?);
        file.write_all(bytes).map_err(BuildError::io("write", self.shown.join(path)))?;
        let time = Timespec { tv_sec: time, tv_nsec: 0 };
        fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
            .and_then(|()| fchmod(&file, Mode::from_raw_mode(mode)))
            .and_then(|()| futimens(&file, &Timestamps { last_access: time, last_modification: time }))
            .map_err(self.failed("write", path))
    }

    /// Sets what filling directories has changed.
    pub(crate) fn finish(self) -> Outcome {
        for (path, time) in &self.times {
            let Ok(directory) = self.open_in(path, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            futimens(&directory, &Timestamps { last_access: *time, last_modification: *time })
                .map_err(self.failed("set the time of", path))?;
        }
        Ok(())
    }

    fn parent<'p>(&self, path: &'p Path) -> Outcome<(OwnedFd, &'p OsStr)> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let opened = self.open_in(parent, OFlags::PATH | OFlags::DIRECTORY);
        let opened = opened.map_err(self.failed("open", parent))?;
        Ok((opened, path.file_name().unwrap_or_default()))
    }

    fn create(&self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Outcome<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(self.failed("make", path))
    }

    /// What has the name gives way, unless it is a directory.
    fn make_way(&self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Outcome {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("replace", path)(error)),
        }
    }

    /// Of several names of one file the first is copied; the others are linked to it.
    fn is_first(&mut self, path: &Path, metadata: &std::fs::Metadata, parent: &OwnedFd, name: &OsStr) -> Outcome<bool> {
        let key = (metadata.dev(), metadata.ino());
        let Some(first) = self.links.get(&key) else {
            self.links.insert(key, path.to_owned());
            return Ok(true);
        };
        let (first_parent, first_name) = self.parent(first)?;
        linkat(first_parent, first_name, parent, name, AtFlags::empty())
            .map(|()| false)
            .map_err(self.failed("link", path))
    }

    fn put_directory(&mut self, path: &Path, entry: &Entry, marks: &Marks) -> Outcome {
        let (parent, name) = self.parent(path)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.is_directory(path) => {}
            Err(Errno::EXIST) => {
                let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed("look at", path))?;
                let what = if FileType::from_raw_mode(stat.st_mode).is_symlink() { Errno::LOOP } else { Errno::NOTDIR };
                return Err(self.failed("put a directory over", path)(what));
            }
            Err(error) => return Err(self.failed("make the directory", path)(error)),
        }
        let opened = self.open_in(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(self.failed("open", path))?;
        self.set(opened.as_fd(), path, entry, marks)?;
        self.times.push((path.to_owned(), times_of(&entry.metadata).last_modification));
        Ok(())
    }

    fn finish_file(&self, file: &std::fs::File, path: &Path, entry: &Entry, marks: &Marks) -> Outcome {
        self.set(file.as_fd(), path, entry, marks)?;
        futimens(file, &times_of(&entry.metadata)).map_err(self.failed("set the time of", path))
    }

    /// Owner, mode, attributes. chown(2) clears bits of the mode and capabilities, so it comes first.
    fn set(&self, file: std::os::fd::BorrowedFd<'_>, path: &Path, entry: &Entry, marks: &Marks) -> Outcome {
        let (uid, gid) = owner_of(&entry.metadata, marks);
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .and_then(|()| fchmod(file, Mode::from_raw_mode(mode_of(&entry.metadata, marks))))
            .map_err(self.failed("set the owner of", path))?;
        for (name, value) in attributes(&entry.source) {
            fsetxattr(file, name.as_str(), &value, XattrFlags::empty())
                .map_err(self.failed("set an attribute of", path))?;
        }
        Ok(())
    }
}

fn owner_of(metadata: &std::fs::Metadata, marks: &Marks) -> (u32, u32) {
    match marks.owner {
        Some(owner) => owner,
        None if marks.keep => (metadata.uid(), metadata.gid()),
        None => (0, 0),
    }
}

fn mode_of(metadata: &std::fs::Metadata, marks: &Marks) -> u32 {
    let mode = metadata.mode() & 0o7777;
    marks.mode.as_ref().map_or(mode, |change| change.apply(mode, metadata.is_dir()))
}

fn times_of(metadata: &std::fs::Metadata) -> Timestamps {
    let time = Timespec { tv_sec: metadata.mtime(), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Attributes that images carry; none where the file system has none.
pub(crate) fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link {
        return Vec::new();
    }
    let mut names = vec![0; 65_536];
    let Ok(length) = rustix::fs::listxattr(path, names.as_mut_slice()) else { return Vec::new() };
    let names = names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let kept = names.filter(|name| {
        *name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay")
    });
    let mut found: Vec<(String, Vec<u8>)> = kept
        .filter_map(|name| {
            let mut value = vec![0; 65_536];
            let length = rustix::fs::getxattr(path, name, value.as_mut_slice()).ok()?;
            value.truncate(length);
            Some((name.to_owned(), value))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_octal_and_in_words() {
        let apply = |text: &str, mode| Chmod::parse(text).unwrap().apply(mode, false);
        assert_eq!(apply("755", 0o600), 0o755);
        assert_eq!(apply("u+x,go-r", 0o644), 0o700);
        assert_eq!(apply("a=rX", 0o644), 0o444);
        assert_eq!(apply("+x", 0o644), 0o755);
        assert_eq!(apply("u=rwx,g=rx,o=", 0o644), 0o750);
        assert_eq!(Chmod::parse("go=rX").unwrap().apply(0o700, true), 0o755);
        assert_eq!(apply("u+s", 0o755), 0o4755);
        for bad in ["", "99", "17777", "q+x", "u", "u+q"] {
            assert_eq!(Chmod::parse(bad), None, "{bad}");
        }
    }
}
