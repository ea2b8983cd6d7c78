//! Flags of directories (ioctl_iflags(2)).

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `FS_TOPDIR_FL` of `linux/fs.h`: `T` of chattr(1).
const TOPDIR: libc::c_int = 0x2_0000;

/// Says that the directories in a directory have nothing to do with each other: ext4 gives each a place of its own on
/// the disk then, instead of one beside its siblings. Without a journal it passes over the inodes of what was deleted at
/// a place in the last minutes, one by one, at every new file (`recently_deleted`, fs/ext4/ialloc.c).
///
/// # Errors
/// ENOTTY or EOPNOTSUPP where the filesystem knows no such flag; what open(2) says.
pub fn spread_out(directory: &Path) -> io::Result<()> {
    let directory = fs_err::File::open(directory)?;
    let mut flags: libc::c_int = 0;
    // SAFETY: the kernel writes an int to `flags`, which lives across the call.
    let got = unsafe { libc::ioctl(directory.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    flags |= TOPDIR;
    // SAFETY: the kernel reads an int from `flags`, which lives across the call.
    let set = unsafe { libc::ioctl(directory.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
