//! Filling an empty volume with what the image has at its target.
//!
//! Another container may have the same volume and change it while this goes on, so every step is relative to an open
//! directory and no link is followed (CVE-2021-30465): what is swapped under the copy is an error, never a way out.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fs_err::File;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, Stat, chownat, flock, fstat, mkdirat, openat, readlinkat, statat,
    symlinkat,
};

use crate::tree::{DIRECTORY, FILE, NEW_FILE, copy_attributes, owner};

/// Directories below each other that are copied; an image with more is hostile.
const COPY_DEPTH_MAX: usize = 128;

/// Copies the directory `from` into `volume` if nothing is in there, its own owner and mode included.
pub(super) fn fill(from: BorrowedFd<'_>, volume: &Path) -> io::Result<()> {
    // A target that is no directory gives an empty volume.
    let from = match openat(from, ".", DIRECTORY, Mode::empty()) {
        Err(rustix::io::Errno::NOTDIR) => return Ok(()),
        opened => opened?,
    };
    // The lock is beside what containers see: they could keep it for ever. Of two that start at once, one fills.
    let lock = rustix::fs::open(volume.parent().unwrap_or(volume), DIRECTORY, Mode::empty())?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let volume = rustix::fs::open(volume, DIRECTORY, Mode::empty())?;
    if !is_empty(&volume)? {
        return Ok(());
    }
    copy_directory(&from, &volume, 0)?;
    keep_attributes(&fstat(&from)?, volume.as_fd())
}

/// Copies everything below the directory `from` into `to`.
pub(super) fn copy_all(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let (from, to) = (openat(from, ".", DIRECTORY, Mode::empty())?, openat(to, ".", DIRECTORY, Mode::empty())?);
    copy_directory(&from, &to, 0)?;
    keep_attributes(&fstat(&from)?, to.as_fd())
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !is_dot(entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > COPY_DEPTH_MAX {
        return Err(io::Error::other("the directories are nested too deeply"));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let (source, target) =
                    (openat(from, name, DIRECTORY, Mode::empty())?, openat(to, name, DIRECTORY, Mode::empty())?);
                copy_directory(&source, &target, depth + 1)?;
                keep_attributes(&stat, target.as_fd())?;
            }
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?.as_c_str(), to, name)?;
                let (uid, gid) = owner(&stat);
                chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            FileType::RegularFile => {
                let source = openat(from, name, FILE, Mode::empty())?;
                let target = openat(to, name, NEW_FILE, Mode::RUSR | Mode::WUSR)?;
                let (mut source, mut target) = (
                    File::from_parts(source.into(), "a file of the image"),
                    File::from_parts(target.into(), "its copy"),
                );
                io::copy(&mut source, &mut target)?;
                keep_attributes(&stat, target.file().as_fd())?;
            }
            // Sockets, pipes and devices in an image are leftovers: no program expects to find them in its volume.
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }
    Ok(())
}

fn keep_attributes(stat: &Stat, to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(copy_attributes(stat, owner(stat), to)?)
}
