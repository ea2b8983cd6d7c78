//! Volumes, bind mounts, temporary filesystems and generated files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use fs_err as fs;
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;
use stack_sys::{MountAttributes, set_mount_attributes};

use super::copy;
use super::paths::{self, Kind, Links};
use super::rootfs::{attach, clone_mount, detached};
use crate::error::{StepFailure, shown};
use crate::spec::{MountKind, MountSpec};

/// Mounts everything in order.
pub(super) fn mount_all(root: &OwnedFd, mounts: &[MountSpec]) -> Result<(), StepFailure> {
    for mount in mounts {
        match &mount.source {
            MountKind::Bind { path, create } => {
                let source = open_source(path, *create)?;
                bind(root, mount, &source)?;
            }
            MountKind::Volume { path, copy } => {
                if *copy {
                    fill(root, mount, path)?;
                }
                let source = open_source(path, false)?;
                bind(root, mount, &source)?;
            }
            MountKind::Tmpfs { size, mode } => mount_tmpfs(root, mount, *size, *mode)?,
        }
    }
    Ok(())
}

fn open_source(path: &Path, create: bool) -> Result<OwnedFd, StepFailure> {
    if create && !path.exists() {
        fs::create_dir_all(path).map_err(|error| StepFailure::new("make", shown(path), error))?;
    }
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| StepFailure::new("bind", shown(path), error))
}

fn bind(root: &OwnedFd, mount: &MountSpec, source: &OwnedFd) -> Result<(), StepFailure> {
    let failed = |error: io::Error| StepFailure::new("mount", &mount.target, error);
    let stat = rustix::fs::fstat(source).map_err(|error| failed(error.into()))?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    let kind = if is_directory { Kind::Directory } else { Kind::File };
    let place = paths::ensure(root.as_fd(), &mount.target, kind, Links::Follow).map_err(failed)?;
    let copy = clone_mount(source.as_fd(), true).map_err(failed)?;
    if mount.read_only {
        let attributes = MountAttributes { read_only: true, recursive: true, ..MountAttributes::default() };
        set_mount_attributes(copy.as_fd(), attributes).map_err(failed)?;
    }
    attach(copy.as_fd(), place.as_fd(), &mount.target)
}

fn mount_tmpfs(root: &OwnedFd, mount: &MountSpec, size: Option<u64>, mode: u32) -> Result<(), StepFailure> {
    let mode = format!("{mode:o}");
    let size = size.map(|size| size.to_string());
    let mut options = vec![("mode", mode.as_str())];
    if let Some(size) = &size {
        options.push(("size", size));
    }
    let mut attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if mount.read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let tmpfs = detached("tmpfs", &options, attributes)?;
    let place = paths::ensure(root.as_fd(), &mount.target, Kind::Directory, Links::Follow)
        .map_err(|error| StepFailure::new("mount", &mount.target, error))?;
    attach(tmpfs.as_fd(), place.as_fd(), &mount.target)
}

/// Fills an empty volume with what the image has at its target.
fn fill(root: &OwnedFd, mount: &MountSpec, volume: &Path) -> Result<(), StepFailure> {
    // A target that the image does not have gives an empty volume.
    let Ok(target) = paths::open(root.as_fd(), &mount.target, Links::Follow) else { return Ok(()) };
    copy::fill(target.as_fd(), volume).map_err(|error| StepFailure::new("fill the volume for", &mount.target, error))
}
