//! The program file that containers' processes run from until they execute their own: a copy that nobody can write
//! through `/proc/<pid>/exe` (CVE-2019-5736).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// Opens a copy of the program that cannot be written. An overlay without a writable layer costs no memory; where the
/// kernel refuses one, a sealed memory file does.
pub(super) fn open(program: &Path) -> io::Result<OwnedFd> {
    open_on_overlay(program).or_else(|_| copy_to_memory(program))
}

fn open_on_overlay(program: &Path) -> io::Result<OwnedFd> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (directory, name) = (program.parent().ok_or_else(invalid)?, program.file_name().ok_or_else(invalid)?);
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Without an upper directory overlayfs wants two lower ones; a detached tmpfs is the emptiest there is.
    let empty = detached_tmpfs()?;
    fsconfig_set_string(context.as_fd(), "lowerdir+", directory)?;
    fsconfig_set_string(context.as_fd(), "lowerdir+", format!("/proc/self/fd/{}", empty.as_raw_fd()))?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(rustix::fs::openat(&mount, name, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

fn detached_tmpfs() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

fn copy_to_memory(program: &Path) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("stack", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = std::fs::File::from(memory);
    io::copy(&mut fs_err::File::open(program)?, &mut copy)?;
    let memory = OwnedFd::from(copy);
    rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}

/// Replaces this process by the copy, with nothing of the environment.
pub(super) fn execute(copy: &OwnedFd, arguments: &[&str]) -> io::Error {
    let words: Result<Vec<CString>, _> = arguments.iter().map(|word| CString::new(*word)).collect();
    match words {
        Ok(words) => stack_sys::execute_descriptor(copy.as_fd(), &words, &[]),
        Err(error) => error.into(),
    }
}

/// Makes sure that this process runs from a sealed copy: starts it anew from one, with the same arguments and the same
/// environment, unless it does already. Returns only in the second case, or with an error.
pub(crate) fn ensure() -> io::Result<()> {
    let program = std::env::current_exe()?;
    let running = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if is_sealed(&running) {
        return Ok(());
    }
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::from);
    let arguments = std::env::args_os().map(|word| text(word.into_vec())).collect::<io::Result<Vec<_>>>()?;
    let variables = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        text(name.into_vec())
    });
    let variables = variables.collect::<io::Result<Vec<_>>>()?;
    let copy = open(&program)?;
    Err(stack_sys::execute_descriptor(copy.as_fd(), &arguments, &variables))
}

/// An overlay that was mounted read-only, or a memory file with seals.
fn is_sealed(program: &OwnedFd) -> bool {
    let on_overlay = rustix::fs::fstatvfs(program)
        .is_ok_and(|filesystem| filesystem.f_flag.contains(StatVfsMountFlags::RDONLY))
        && rustix::fs::fstatfs(program).is_ok_and(|filesystem| filesystem.f_type == OVERLAYFS);
    on_overlay || rustix::fs::fcntl_get_seals(program).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}
