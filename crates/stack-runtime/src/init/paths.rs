//! Paths inside a root that is not trusted: every step by descriptor, nothing outside the root (openat2(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// Whether symbolic links on the way are followed, inside the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    /// For the system's own mount points: an image with `/proc -> /tmp` is refused (CVE-2023-27561).
    Refuse,
}

/// Opens `path` below `root` without leaving it.
pub(super) fn open(root: BorrowedFd<'_>, path: &str, links: Links) -> io::Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    Ok(openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Opens a mount point; what is missing of it is made.
pub(super) fn ensure(root: BorrowedFd<'_>, path: &str, kind: Kind, links: Links) -> io::Result<OwnedFd> {
    match open(root, path, links) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let names: Vec<&str> = Path::new(path)
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
        })
        .collect();
    let Some((last, parents)) = names.split_last() else { return open(root, "/", links) };
    let mut walked = String::from("/");
    let mut directory = open(root, &walked, links)?;
    for name in parents {
        walked.push_str(name);
        directory = make_directory(root, directory.as_fd(), &walked, name, links)?;
        walked.push('/');
    }
    walked.push_str(last);
    match kind {
        Kind::Directory => make_directory(root, directory.as_fd(), &walked, last, links),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match rustix::fs::openat(&directory, *last, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => open(root, &walked, links),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Makes one directory in `parent` and opens it by its whole path, so that a link in its place stays inside the root.
fn make_directory(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    path: &str,
    name: &str,
    links: Links,
) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open(root, path, links),
        Err(error) => Err(error.into()),
    }
}
