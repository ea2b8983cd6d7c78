//! mount_setattr(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Attributes to add to a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_RDONLY`.
    pub read_only: bool,
    /// `MOUNT_ATTR_NOSUID`.
    pub no_suid: bool,
    /// `MOUNT_ATTR_NODEV`.
    pub no_dev: bool,
    /// `MOUNT_ATTR_NOEXEC`.
    pub no_exec: bool,
    /// The mounts below too.
    pub recursive: bool,
}

/// Adds attributes to the mount that `mount` refers to; since Linux 5.12.
///
/// # Errors
/// EINVAL when it is no mount point, EPERM without CAP_SYS_ADMIN.
pub fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<()> {
    let MountAttributes { read_only, no_suid, no_dev, no_exec, recursive } = attributes;
    let chosen = [
        (read_only, libc::MOUNT_ATTR_RDONLY),
        (no_suid, libc::MOUNT_ATTR_NOSUID),
        (no_dev, libc::MOUNT_ATTR_NODEV),
        (no_exec, libc::MOUNT_ATTR_NOEXEC),
    ];
    let set = chosen.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | *flag);
    change_mount(mount, &MountChange { set, recursive, ..MountChange::default() })
}

/// A change of a mount, in the kernel's own bits (linux/mount.h).
#[derive(Debug, Clone, Copy, Default)]
pub struct MountChange<'a> {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear first.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// Maps owners by this user namespace (`MOUNT_ATTR_IDMAP`).
    pub idmap: Option<BorrowedFd<'a>>,
    /// The mounts below too.
    pub recursive: bool,
}

/// Changes the mount that `mount` refers to; since Linux 5.12.
///
/// # Errors
/// EINVAL when it is no mount point or its filesystem cannot map owners, EPERM without CAP_SYS_ADMIN.
pub fn change_mount(mount: BorrowedFd<'_>, change: &MountChange<'_>) -> io::Result<()> {
    let MountChange { set, clear, propagation, idmap, recursive } = *change;
    let set = if idmap.is_some() { set | libc::MOUNT_ATTR_IDMAP } else { set };
    let userns_fd = idmap.map_or(0, |namespace| namespace.as_raw_fd() as u64);
    let change = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `change` is a whole mount_attr of the size passed; the path is an empty C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
