//! Kernel parameters of the container's namespaces.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::MountAttrFlags;

use super::rootfs::detached;
use crate::error::StepFailure;

/// Writes each through a procfs of our own that is attached nowhere: whatever the container has at `/proc`, nothing
/// of it is followed (CVE-2025-52881).
pub(super) fn write_all(sysctls: &[(String, String)]) -> Result<(), StepFailure> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let procfs = detached("proc", &[], MountAttrFlags::empty())?;
    for (name, value) in sysctls {
        write(&procfs, name, value).map_err(|error| StepFailure::new("set the sysctl", name, error))?;
    }
    Ok(())
}

fn write(procfs: &OwnedFd, name: &str, value: &str) -> std::io::Result<()> {
    // With a slash in it the dots are part of names (sysctl(8)).
    let path = if name.contains('/') { format!("sys/{name}") } else { format!("sys/{}", name.replace('.', "/")) };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = openat2(procfs.as_fd(), path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}
