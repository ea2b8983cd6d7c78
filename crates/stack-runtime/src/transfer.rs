//! `cp`: files and directories between the host and a running container.
//!
//! The container may change everything under the copy while it goes on. Its paths are resolved by the kernel inside of
//! its root (openat2(2), `RESOLVE_IN_ROOT`), and below that every step is relative to an open directory and follows no
//! link: what is swapped under the copy is an error, never a way out (CVE-2019-14271, CVE-2018-15664).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fs_err::File;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fstat, mkdirat, openat, openat2,
    readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use stack_model::{ContainerId, Fault, Layout, ProjectName};

use crate::tree::{DIRECTORY, FILE, NEW_FILE, copy_attributes, owner};
use crate::{RuntimeError, process, record};

/// Directories below each other that are copied; a container with more is hostile.
const DEPTH_MAX: usize = 256;

/// A file that is written to where it is.
const OLD_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::TRUNC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// One end of a copy.
#[derive(Debug)]
pub enum Side {
    /// This command's own files.
    Host,
    /// Those of a container; its root.
    Container(OwnedFd),
}

/// How files are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// A link that is named is followed instead of copied.
    pub follow_link: bool,
    /// Owners stay the same numbers. Otherwise files are the user's on the host, and root's in a container.
    pub keep_owner: bool,
}

/// A copy that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {path}: {}", reason(error))]
pub struct TransferError {
    step: &'static str,
    path: String,
    error: io::Error,
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), crate::error::reason)
}

impl TransferError {
    /// Its kind.
    pub fn fault(&self) -> Fault {
        match self.error.kind() {
            io::ErrorKind::NotFound => Fault::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Denied,
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Fault::User,
            _ => Fault::Transient,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        (self.step == "copy into").then(|| "directories above it have to exist".to_owned())
    }
}

impl Side {
    /// The files of a running container, as its process 1 sees them.
    ///
    /// # Errors
    /// It does not run.
    pub fn of_container(layout: &Layout, project: &ProjectName, id: &ContainerId) -> Result<Self, RuntimeError> {
        let adopted = record::adopt(layout, project, id)?.ok_or(RuntimeError::NotRunning)?;
        let pid = process::id_of(adopted.pidfd.as_fd()).ok_or(RuntimeError::NotRunning)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty());
        let root = root.map_err(|error| RuntimeError::record(id)(error.into()))?;
        // Still the process that was asked about: its number cannot have been given away while it was there.
        let is_there = stack_sys::signal_process(adopted.pidfd.as_fd(), 0).is_ok();
        if is_there { Ok(Self::Container(root)) } else { Err(RuntimeError::NotRunning) }
    }

    fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match self {
            Self::Host => rustix::fs::open(path, flags, Mode::empty()),
            Self::Container(root) => {
                let path = if path.is_empty() { "/" } else { path };
                openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
            }
        }
    }

    fn owner(&self) -> (Uid, Gid) {
        match self {
            Self::Host => (rustix::process::geteuid(), rustix::process::getegid()),
            Self::Container(_) => (Uid::ROOT, Gid::ROOT),
        }
    }
}

/// Copies by the rules of `docker cp`; returns what was left out: sockets, pipes and devices.
///
/// # Errors
/// What cannot be read or written, by its path.
pub fn transfer(
    (from, source): (&Side, &str),
    (to, target): (&Side, &str),
    how: Transfer,
) -> Result<Vec<String>, TransferError> {
    let read = |error: Errno| failed("read", source, error);
    let content_only = source.ends_with("/.") || matches!(source, "." | "/");
    let nofollow = if how.follow_link || source.ends_with('/') { OFlags::empty() } else { OFlags::NOFOLLOW };
    let found = from.open(source, OFlags::PATH | nofollow).map_err(read)?;
    let stat = fstat(&found).map_err(read)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let name = Path::new(source).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (directory, name) = place(to, target, &name, (kind, content_only))?;
    let mut copy = Copy { owner: (!how.keep_owner).then(|| to.owner()), skipped: Vec::new() };
    match kind {
        FileType::Directory => {
            let inner = openat(&found, ".", DIRECTORY, Mode::empty()).map_err(read)?;
            let made = match &name {
                Some(name) => {
                    copy.make_directory(directory.as_fd(), &c_name(name)).map_err(|it| failed("make", target, it))?
                }
                None => directory,
            };
            copy.directory(&inner, &made, source, 0)?;
            if name.is_some() {
                copy.finish(&stat, made.as_fd()).map_err(|error| failed("write", target, error))?;
            }
        }
        FileType::Symlink => {
            let link = readlinkat(&found, "", Vec::new()).map_err(read)?;
            copy.link(&link, &stat, directory.as_fd(), &c_name(&name.unwrap_or_default()))
                .map_err(|error| failed("write", target, error))?;
        }
        FileType::RegularFile => {
            let file = from.open(source, OFlags::RDONLY | OFlags::NONBLOCK | nofollow).map_err(read)?;
            copy.file(file, directory.as_fd(), &c_name(&name.unwrap_or_default())).map_err(|error| TransferError {
                step: "write",
                path: target.to_owned(),
                error,
            })?;
        }
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            copy.skipped.push(source.to_owned());
        }
    }
    Ok(copy.skipped)
}

/// The directory that something is copied into, and its name there; no name for the content of a directory.
fn place(
    to: &Side,
    target: &str,
    name: &str,
    (kind, content_only): (FileType, bool),
) -> Result<(OwnedFd, Option<String>), TransferError> {
    let is_directory = kind == FileType::Directory;
    match to.open(target, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) if is_directory && (content_only || name.is_empty()) => return Ok((directory, None)),
        Ok(directory) => return Ok((directory, Some(name.to_owned()))),
        Err(Errno::NOENT) => {}
        // A file, which is replaced by a file only.
        Err(Errno::NOTDIR) if !is_directory && !target.ends_with('/') => {}
        Err(error) => return Err(failed("copy into", target, error)),
    }
    let trimmed = target.trim_end_matches('/');
    let path = Path::new(trimmed);
    let (Some(own), false) = (path.file_name(), target.ends_with('/') && !is_directory) else {
        return Err(failed("copy into", target, Errno::NOENT));
    };
    let above = path.parent().map(|parent| parent.to_string_lossy().into_owned()).unwrap_or_default();
    let above = if above.is_empty() { ".".to_owned() } else { above };
    let directory = to.open(&above, OFlags::RDONLY | OFlags::DIRECTORY);
    Ok((directory.map_err(|error| failed("copy into", &above, error))?, Some(own.to_string_lossy().into_owned())))
}

fn failed(step: &'static str, path: &str, error: Errno) -> TransferError {
    TransferError { step, path: path.to_owned(), error: error.into() }
}

/// A name of a path, which has no zero bytes.
fn c_name(name: &str) -> std::ffi::CString {
    std::ffi::CString::new(name).unwrap_or_default()
}

/// A copy under way.
struct Copy {
    /// Instead of the owners that files have.
    owner: Option<(Uid, Gid)>,
    skipped: Vec<String>,
}

impl Copy {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &str, depth: usize) -> Result<(), TransferError> {
        if depth > DEPTH_MAX {
            let error = io::Error::other("the directories are nested too deeply");
            return Err(TransferError { step: "copy", path: path.to_owned(), error });
        }
        for entry in Dir::read_from(from).map_err(|error| failed("read", path, error))? {
            let entry = entry.map_err(|error| failed("read", path, error))?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                let inner = format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy());
                self.entry((from, to), name, &inner, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        (from, to): (&OwnedFd, &OwnedFd),
        name: &CStr,
        path: &str,
        depth: usize,
    ) -> Result<(), TransferError> {
        let failed = |error: Errno| failed("copy", path, error);
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let source = openat(from, name, DIRECTORY, Mode::empty()).map_err(failed)?;
                let target = self.make_directory(to.as_fd(), name).map_err(failed)?;
                self.directory(&source, &target, path, depth + 1)?;
                self.finish(&stat, target.as_fd()).map_err(failed)
            }
            FileType::Symlink => {
                let link = readlinkat(from, name, Vec::new()).map_err(failed)?;
                self.link(&link, &stat, to.as_fd(), name).map_err(failed)
            }
            FileType::RegularFile => {
                let source = openat(from, name, FILE, Mode::empty()).map_err(failed)?;
                let copied = self.file(source, to.as_fd(), name);
                copied.map_err(|error| TransferError { step: "copy", path: path.to_owned(), error })
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                self.skipped.push(path.to_owned());
                Ok(())
            }
        }
    }

    /// Makes a directory, or takes the one that is there.
    fn make_directory(&self, parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => openat(parent, name, DIRECTORY, Mode::empty()),
            Err(error) => Err(error),
        }
    }

    fn link(&self, link: &CStr, stat: &Stat, to: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
        make_way(to, name)?;
        symlinkat(link, to, name)?;
        let (uid, gid) = self.owner_of(stat);
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Copies a file under a new name, which takes the place of what had it.
    fn file(&self, source: OwnedFd, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let stat = fstat(&source)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it was changed while it was copied"));
        }
        let target = match make_way(to, name) {
            Ok(()) => openat(to, name, NEW_FILE, Mode::RUSR | Mode::WUSR)?,
            // Something is mounted there, such as the container's own /etc/hosts.
            Err(Errno::BUSY) => openat(to, name, OLD_FILE, Mode::empty())?,
            Err(error) => return Err(error.into()),
        };
        let (mut source, mut target) =
            (File::from_parts(source.into(), "the file"), File::from_parts(target.into(), "its copy"));
        io::copy(&mut source, &mut target)?;
        Ok(self.finish(&stat, target.file().as_fd())?)
    }

    /// Owner, mode and time.
    fn finish(&self, stat: &Stat, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
        copy_attributes(stat, self.owner_of(stat), to)
    }

    fn owner_of(&self, stat: &Stat) -> (Uid, Gid) {
        self.owner.unwrap_or_else(|| owner(stat))
    }
}

/// Deletes what has a name; a directory stays, and the name with it.
fn make_way(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::CWD;

    use super::*;

    /// A folder that stands for a container's root, with a file of the host's beside it.
    fn bed() -> (tempfile::TempDir, Side) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs_err::create_dir_all(root.join("etc")).unwrap();
        fs_err::write(root.join("etc/name"), "inside").unwrap();
        fs_err::write(folder.path().join("name"), "outside").unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let side = Side::Container(openat(CWD, &root, flags, Mode::empty()).unwrap());
        (folder, side)
    }

    fn text(path: impl AsRef<Path>) -> String {
        fs_err::read_to_string(path.as_ref()).unwrap()
    }

    #[test]
    fn targets_follow_the_rules_of_docker() {
        let (folder, container) = bed();
        let at = |path: &str| folder.path().join(path).to_string_lossy().into_owned();
        let out = |source: &str, target: &str| {
            transfer((&container, source), (&Side::Host, &at(target)), Transfer::default())
        };
        fs_err::create_dir(at("there")).unwrap();
        out("/etc/name", "new").unwrap();
        out("etc/name", "there").unwrap();
        out("/etc", "copy").unwrap();
        out("/etc", "there").unwrap();
        out("/etc/.", "there").unwrap();
        out("/etc/.", "there").unwrap();
        for path in ["new", "there/name", "copy/name", "there/etc/name"] {
            assert_eq!(text(at(path)), "inside", "{path}");
        }
        for (source, target) in [("/etc", "new"), ("/etc/name", "missing/"), ("/etc/name", "missing/x"), ("/no", "x")] {
            let error = out(source, target).unwrap_err();
            assert!(matches!(error.fault(), Fault::Missing | Fault::User), "{source} {target}: {error:?}");
        }
    }

    #[test]
    fn modes_stay_and_links_are_copied_or_followed() {
        let (folder, container) = bed();
        let root = folder.path().join("root");
        fs_err::set_permissions(root.join("etc/name"), PermissionsExt::from_mode(0o751)).unwrap();
        fs_err::os::unix::fs::symlink("/etc/name", root.join("link")).unwrap();
        let target = folder.path().join("target").to_string_lossy().into_owned();
        let out = |how| transfer((&container, "/link"), (&Side::Host, &target), how).unwrap();
        out(Transfer::default());
        assert_eq!(fs_err::read_link(&target).unwrap(), Path::new("/etc/name"));
        out(Transfer { follow_link: true, ..Transfer::default() });
        assert_eq!(text(&target), "inside");
        assert_eq!(fs_err::metadata(&target).unwrap().permissions().mode() & 0o777, 0o751);
    }

    #[test]
    fn no_link_leads_out_of_the_container() {
        let (folder, container) = bed();
        let root = folder.path().join("root");
        for (name, link) in [("up", "../../../.."), ("abs", "/"), ("file", "../../name")] {
            fs_err::os::unix::fs::symlink(link, root.join(name)).unwrap();
        }
        let host = folder.path().join("name").to_string_lossy().into_owned();
        let mine = folder.path().join("mine").to_string_lossy().into_owned();
        fs_err::write(&mine, "mine").unwrap();
        let into = |target: &str| transfer((&Side::Host, &mine), (&container, target), Transfer::default()).unwrap();
        into("/up/up-here");
        into("/abs/abs-here");
        into("/../../top");
        // A link that is written to is replaced.
        into("/file");
        for path in ["up-here", "abs-here", "top", "file"] {
            assert_eq!(text(root.join(path)), "mine", "{path}");
        }
        assert_eq!(text(&host), "outside");
        let follow = Transfer { follow_link: true, ..Transfer::default() };
        fs_err::os::unix::fs::symlink("../../name", root.join("etc/out")).unwrap();
        assert!(transfer((&container, "/etc/out"), (&Side::Host, &mine), follow).is_err());
        assert_eq!(text(&mine), "mine");
    }

    #[test]
    fn pipes_are_left_out_and_said() {
        let (folder, container) = bed();
        rustix::fs::mkfifoat(CWD, folder.path().join("root/etc/pipe"), Mode::RUSR).unwrap();
        let target = folder.path().join("copy").to_string_lossy().into_owned();
        let skipped = transfer((&container, "/etc"), (&Side::Host, &target), Transfer::default()).unwrap();
        assert_eq!(skipped, ["/etc/pipe"]);
    }
}
