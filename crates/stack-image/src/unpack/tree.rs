//! Effects on the directory of the layer, all relative to its descriptor.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown,
    fsetxattr, futimens, makedev, mkdirat, mknodat, openat2, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::header::Facts;
use super::path::{show, split};
use super::{Refusal, UnpackError};

/// overlayfs: this directory hides those of the layers below (kernel, `filesystems/overlayfs.rst`).
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
/// Character devices that images may bring, by major and minor number (kernel, `admin-guide/devices.txt`): null, zero,
/// full, random, urandom, tty, console, ptmx. A container's own /dev covers them anyway.
const DEVICES: [(u32, u32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
/// Bytes copied at once.
const BUFFER: usize = 128 << 10;

/// The directory of a layer while it is filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// For messages only.
    below: Rc<Path>,
    /// When the root was modified, as the layer says it or as it was.
    root_modified: Timespec,
    /// The directory of the last entry: tars go through a directory entry by entry.
    parent: Option<Parent>,
    buffer: Vec<u8>,
}

/// A directory that is being filled. Filling it changes its time, which is put right when it is left: a list of all
/// times until the end would be as long as a hostile layer wants.
struct Parent {
    path: Vec<u8>,
    directory: OwnedFd,
    modified: Timespec,
}

type Outcome = Result<(), UnpackError>;

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(root, flags, Mode::empty());
        let below: Rc<Path> = root.into();
        let root = opened.map_err(|errno| write_error("open", b"", 0, &below)(errno.into()))?;
        let root_modified = modified_of(&root).map_err(|errno| write_error("look at", b"", 0, &below)(errno.into()))?;
        Ok(Self { root, below, root_modified, parent: None, buffer: vec![0; BUFFER] })
    }

    pub(super) fn directory(&mut self, path: &[u8], facts: &Facts) -> Outcome {
        if !path.is_empty() {
            let (name, below) = (name_of(path), Rc::clone(&self.below));
            let parent = self.parent_of(path)?;
            match mkdirat(parent, &name, Mode::RWXU) {
                Err(Errno::EXIST) => self.directory_over(path, &name)?,
                made => made.map_err(|errno| write_error("make the directory", path, 0, &below)(errno.into()))?,
            }
        }
        let directory = self.open_directory(path)?;
        self.set_facts(directory.as_fd(), path, facts)?;
        if path.is_empty() {
            self.root_modified = facts.modified;
        } else if let Some(parent) = self.parent.as_mut().filter(|parent| parent.path == path) {
            parent.modified = facts.modified;
        }
        self.set_time(directory.as_fd(), path, facts.modified)
    }

    /// Something has the name of a new directory: another directory is continued, anything else gives way. Where the
    /// layer hid the name before, the directory starts empty, which overlayfs calls opaque.
    fn directory_over(&mut self, path: &[u8], name: &CString) -> Outcome {
        let below = Rc::clone(&self.below);
        let fail = |errno: Errno| write_error("make the directory", path, 0, &below)(errno.into());
        let parent = self.parent_of(path)?;
        let status = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            return Ok(());
        }
        unlinkat(parent, name, AtFlags::empty()).map_err(fail)?;
        mkdirat(parent, name, Mode::RWXU).map_err(fail)?;
        if is_whiteout(&status) { self.make_opaque(path) } else { Ok(()) }
    }

    pub(super) fn file<R: Read>(&mut self, path: &[u8], facts: &Facts, content: &mut R, entries: u64) -> Outcome {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.create("make", path, facts.size, |parent, name| {
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let mut file = std::fs::File::from(file);
        let mut left = facts.size;
        while left > 0 {
            let damaged = |source| UnpackError::Damaged { entries, source };
            let want = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let count = match content.read(&mut self.buffer[..want]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(damaged)?,
            };
            if count == 0 {
                return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_all(&self.buffer[..count]).map_err(write_error("write", path, facts.size, &self.below))?;
            left -= count as u64;
        }
        self.set_facts(file.as_fd(), path, facts)?;
        let times = Timestamps { last_access: facts.modified, last_modification: facts.modified };
        let set = futimens(&file, &times);
        set.map_err(|errno| write_error("set the time of", path, facts.size, &self.below)(errno.into()))
    }

    pub(super) fn symlink(&mut self, path: &[u8], facts: &Facts, target: &[u8]) -> Outcome {
        let refuse = |reason| UnpackError::Refused { entry: show(path), reason };
        let target = CString::new(target).map_err(|_| refuse(Refusal::Nul))?;
        if target.as_bytes().len() > 4095 {
            return Err(refuse(Refusal::TooLong));
        }
        self.create("link", path, 0, |parent, name| rustix::fs::symlinkat(&target, parent, name))?;
        self.set_owner_and_time(path, facts)
    }

    pub(super) fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Outcome {
        let refuse = || UnpackError::Refused { entry: show(path), reason: Refusal::LinkTarget };
        if path == target {
            return if self.status_of(target)?.is_some() { Ok(()) } else { Err(refuse()) };
        }
        // A link to a whiteout would hide a name without saying so; one to a directory does not exist.
        let status = self.status_of(target)?.ok_or_else(refuse)?;
        let is_file = matches!(FileType::from_raw_mode(status.st_mode), FileType::RegularFile | FileType::Symlink);
        if target.is_empty() || !is_file {
            return Err(refuse());
        }
        let (directory, name) = (self.open_parent(split(target).0)?, name_of(target));
        self.create("link", path, 0, |parent, new| rustix::fs::linkat(&directory, &name, parent, new, AtFlags::empty()))
    }

    pub(super) fn fifo(&mut self, path: &[u8], facts: &Facts) -> Outcome {
        self.node(path, facts, FileType::Fifo, 0)
    }

    pub(super) fn device(&mut self, path: &[u8], facts: &Facts, is_character: bool) -> Outcome {
        // This also keeps out 0:0, which overlayfs takes for a whiteout.
        let allowed = facts.device.filter(|device| is_character && DEVICES.contains(device));
        let Some((major, minor)) = allowed else {
            return Err(UnpackError::Refused { entry: show(path), reason: Refusal::Device });
        };
        self.node(path, facts, FileType::CharacterDevice, makedev(major, minor))
    }

    fn node(&mut self, path: &[u8], facts: &Facts, kind: FileType, device: u64) -> Outcome {
        self.create("make the node", path, 0, |parent, name| mknodat(parent, name, kind, Mode::empty(), device))?;
        self.set_owner_and_time(path, facts)?;
        // chown(2) clears the set-id bits, so the mode comes last. The name is ours and no link.
        let (name, below) = (name_of(path), Rc::clone(&self.below));
        let set = rustix::fs::chmodat(self.parent_of(path)?, &name, Mode::from_raw_mode(facts.mode), AtFlags::empty());
        set.map_err(|errno| write_error("set the mode of", path, 0, &below)(errno.into()))
    }

    /// Hides a path of the layers below. What this layer itself has there stays: a whiteout speaks of lower layers
    /// only (image-spec `layer.md`), and overlayfs says the same of a directory by calling it opaque.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Outcome {
        match self.status_of(path)? {
            Some(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => self.make_opaque(path),
            Some(_) => Ok(()),
            None => self.create("hide", path, 0, |parent, name| {
                mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
            }),
        }
    }

    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Outcome {
        let directory = match self.open_directory(path) {
            // The mark may come before the entry of its directory, or without one.
            Err(UnpackError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                drop(self.open_parent(path)?);
                self.open_directory(path)?
            }
            opened => opened?,
        };
        let set = fsetxattr(&directory, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty());
        set.map_err(|errno| write_error("hide what is below", path, 0, &self.below)(errno.into()))
    }

    /// Puts right the times of the directories that were filled last.
    pub(super) fn finish(mut self) -> Outcome {
        self.leave()?;
        self.set_time(self.root.as_fd(), b"", self.root_modified)
    }

    fn leave(&mut self) -> Outcome {
        match self.parent.take() {
            Some(parent) => self.set_time(parent.directory.as_fd(), &parent.path, parent.modified),
            None => Ok(()),
        }
    }

    fn set_time(&self, directory: BorrowedFd<'_>, path: &[u8], modified: Timespec) -> Outcome {
        let set = set_modified(directory, modified);
        set.map_err(|errno| write_error("set the time of", path, 0, &self.below)(errno.into()))
    }

    /// Makes something new; what had the name before gives way, for the last entry of a name counts.
    fn create<T>(
        &mut self,
        action: &'static str,
        path: &[u8],
        size: u64,
        make: impl Fn(BorrowedFd<'_>, &CString) -> rustix::io::Result<T>,
    ) -> Result<T, UnpackError> {
        let (name, below) = (name_of(path), Rc::clone(&self.below));
        let fail = |errno: Errno| write_error(action, path, size, &below)(errno.into());
        let parent = self.parent_of(path)?;
        match make(parent, &name) {
            Err(Errno::EXIST) => {
                let was_directory = remove(parent, &name).map_err(fail)?;
                let made = make(parent, &name).map_err(fail);
                if was_directory {
                    self.parent = None;
                }
                made
            }
            made => made.map_err(fail),
        }
    }

    /// Owner, attributes and mode, in the order in which none undoes another: chown(2) clears set-id bits and
    /// capabilities.
    fn set_facts(&self, file: BorrowedFd<'_>, path: &[u8], facts: &Facts) -> Outcome {
        let fail = |action| {
            let below = &self.below;
            move |errno: Errno| write_error(action, path, facts.size, below)(errno.into())
        };
        let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
        fchown(file, Some(uid), Some(gid)).map_err(fail("set the owner of"))?;
        for (name, value) in &facts.attributes {
            let set = fsetxattr(file, name.as_str(), value, XattrFlags::empty());
            set.map_err(fail("set an attribute of"))?;
        }
        fchmod(file, Mode::from_raw_mode(facts.mode)).map_err(fail("set the mode of"))
    }

    fn set_owner_and_time(&mut self, path: &[u8], facts: &Facts) -> Outcome {
        let (name, below) = (name_of(path), Rc::clone(&self.below));
        let fail = |errno: Errno| write_error("set the owner of", path, 0, &below)(errno.into());
        let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
        let times = Timestamps { last_access: facts.modified, last_modification: facts.modified };
        let parent = self.parent_of(path)?;
        rustix::fs::chownat(parent, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        utimensat(parent, &name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
    }

    fn status_of(&mut self, path: &[u8]) -> Result<Option<rustix::fs::Stat>, UnpackError> {
        let (name, below) = (name_of(path), Rc::clone(&self.below));
        let parent = self.parent_of(path)?;
        match statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            status => status.map(Some).map_err(|errno| write_error("look at", path, 0, &below)(errno.into())),
        }
    }

    fn parent_of(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, UnpackError> {
        let (directory, _) = split(path);
        if directory.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.parent.as_ref().is_none_or(|parent| parent.path != directory) {
            let opened = self.open_parent(directory)?;
            let modified = modified_of(&opened);
            let fail = |errno: Errno| write_error("look at", directory, 0, &self.below)(errno.into());
            let modified = modified.map_err(fail)?;
            self.leave()?;
            self.parent = Some(Parent { path: directory.to_vec(), directory: opened, modified });
        }
        Ok(self.parent.as_ref().expect("it was set above").directory.as_fd())
    }

    /// Opens a directory for use in a path, and makes it with all above it where no entry did.
    fn open_parent(&self, directory: &[u8]) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fail = |errno: Errno| match errno {
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
                UnpackError::Refused { entry: show(directory), reason: Refusal::ThroughLink }
            }
            errno => write_error("open the directory", directory, 0, &self.below)(errno.into()),
        };
        let or_root = if directory.is_empty() { b"." } else { directory };
        match self.open_beneath(or_root, flags) {
            Err(Errno::NOENT) => {}
            opened => return opened.map_err(fail),
        }
        let parent = self.open_parent(split(directory).0)?;
        let modified = modified_of(&parent).map_err(fail)?;
        match mkdirat(&parent, name_of(directory), Mode::RWXU) {
            Ok(()) => {
                set_modified(parent.as_fd(), modified).map_err(fail)?;
                let made = self.open_beneath(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC);
                let mode = Mode::from_raw_mode(0o755);
                made.and_then(|made| fchmod(made, mode)).map_err(fail)?;
            }
            Err(errno) => return Err(fail(errno)),
        }
        self.open_beneath(directory, flags).map_err(fail)
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let path_or_root = if path.is_empty() { b"." } else { path };
        let opened = self.open_beneath(path_or_root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC);
        opened.map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
                UnpackError::Refused { entry: show(path), reason: Refusal::ThroughLink }
            }
            errno => write_error("open the directory", path, 0, &self.below)(errno.into()),
        })
    }

    /// openat2(2): `EAGAIN` says that a rename or mount elsewhere made the kernel unsure.
    fn open_beneath(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..OPEN_TRIES_MAX {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Tries of openat2(2) before its `EAGAIN` counts.
const OPEN_TRIES_MAX: usize = 128;

fn modified_of(directory: &OwnedFd) -> rustix::io::Result<Timespec> {
    let status = rustix::fs::fstat(directory)?;
    Ok(Timespec { tv_sec: status.st_mtime, tv_nsec: status.st_mtime_nsec.try_into().unwrap_or(0) })
}

/// utimensat(2); an empty path takes descriptors of any kind since Linux 5.8.
fn set_modified(directory: BorrowedFd<'_>, modified: Timespec) -> rustix::io::Result<()> {
    let times = Timestamps { last_access: modified, last_modification: modified };
    utimensat(directory, "", &times, AtFlags::EMPTY_PATH)
}

fn name_of(path: &[u8]) -> CString {
    CString::new(split(path).1).expect("cleaned paths hold no NUL")
}

fn is_whiteout(status: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == makedev(0, 0)
}

/// Removes what has a name, with all that is below it; tells whether it was a directory.
fn remove(parent: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        removed => return removed.map(|()| false),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            remove(directory.as_fd(), &entry.file_name().to_owned())?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).map(|()| true)
}

fn write_error<'e>(
    action: &'static str,
    entry: &'e [u8],
    size: u64,
    below: &Rc<Path>,
) -> impl FnOnce(io::Error) -> UnpackError + use<'e> {
    let below = Rc::clone(below);
    move |source| UnpackError::Write { action, entry: show(entry), size, below: below.to_path_buf(), source }
}
