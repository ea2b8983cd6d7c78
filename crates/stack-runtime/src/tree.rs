//! Directories that a container has filled, of any depth, with any names, under any links: opening and copying what is in
//! them one step at a time, and deleting them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, fchmod, fchown, futimens,
    openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// Directories that are open below each other. What lies deeper is moved to the top first, so that neither descriptors
/// nor stack run out, however deep a container has gone.
const DEPTH_MAX: usize = 64;
/// How often a directory is gone through before it counts as being refilled by someone.
const PASSES_MAX: usize = 1 << 20;

/// A directory that is read.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A file that is read. Without blocking: there may be a pipe where a file was a moment ago.
pub(crate) const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// A file that is made.
pub(crate) const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The owner that a file has.
pub(crate) fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

/// Gives a copy its owner, and the mode and the time of what it was copied from.
pub(crate) fn copy_attributes(stat: &Stat, (uid, gid): (Uid, Gid), to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fchown(to, Some(uid), Some(gid))?;
    // After the owner: a change of owner clears the set-id bits.
    fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    futimens(to, &Timestamps { last_access: modified, last_modification: modified })
}

/// Deletes `path` and everything below it; `false` when it was not there. Links are deleted, not followed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<bool> {
    let top = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => opened?,
    };
    let mut moved = 0;
    for _ in 0..PASSES_MAX {
        empty(&top, &top, 0, &mut moved)?;
        match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            // What was moved up while this pass went on.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::NOTEMPTY.into())
}

fn empty(top: &OwnedFd, directory: &OwnedFd, depth: usize, moved: &mut u64) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) if depth == DEPTH_MAX => move_up(top, directory, name, moved)?,
            Err(Errno::ISDIR) => {
                let inner = openat(directory, name, DIRECTORY, Mode::empty())?;
                empty(top, &inner, depth + 1, moved)?;
                unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Moves a directory to the top under a name that is free there.
fn move_up(top: &OwnedFd, directory: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match renameat_with(directory, name, top, format!(".deep-{moved}"), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_depth_is_deleted_and_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let (doomed, kept) = (place.path().join("doomed"), place.path().join("kept"));
        fs_err::create_dir_all(&doomed).unwrap();
        fs_err::create_dir_all(&kept).unwrap();
        fs_err::write(kept.join("file"), "1").unwrap();
        fs_err::os::unix::fs::symlink(&kept, doomed.join("link")).unwrap();
        fs_err::write(doomed.join(".deep-1"), "in the way").unwrap();
        let mut directory = openat(CWD, &doomed, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat(&kept, &directory, "link2").unwrap();
            directory = openat(&directory, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        assert!(remove_tree(&doomed).unwrap());
        assert!(!doomed.exists() && kept.join("file").exists());
        assert!(!remove_tree(&doomed).unwrap());
    }
}
