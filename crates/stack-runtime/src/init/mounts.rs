//! Volumes, bind mounts, filesystems and generated files.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use fs_err as fs;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsPickFlags, MountAttrFlags, UnmountFlags, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fspick,
    unmount,
};
use stack_sys::{MountChange, change_mount};

use super::copy;
use super::paths::{self, Kind, Links};
use super::rootfs::{attach, clone_mount, detached, layers_of_image, mount_cgroups};
use crate::error::{StepFailure, shown};
use crate::spec::{ChangeSpec, Fill, MountKind, MountSpec};

/// Where devices are.
const DEVICES: &str = "/dev";
/// Filesystems whose mount points are never links: what the kernel says is not to appear somewhere else.
const KERNELS_OWN: [&str; 2] = ["proc", "sysfs"];

/// Mounts everything in order. `prepared` are the copies of sources that had to be made outside.
pub(super) fn mount_all(root: &OwnedFd, mounts: &[MountSpec], prepared: &[OwnedFd]) -> Result<(), StepFailure> {
    for mount in mounts {
        match &mount.source {
            MountKind::Bind { path, create, recursive } => {
                let copy = match mount.change.prepared {
                    Some(at) => take(prepared, at, mount)?,
                    None => copy_of(&open_source(path, *create)?, mount, *recursive)?,
                };
                bind(root, mount, &copy)?;
            }
            MountKind::Volume { path, copy } => {
                if *copy {
                    fill(root, mount, path)?;
                }
                let source = open_source(path, false)?;
                bind(root, mount, &copy_of(&source, mount, true)?)?;
            }
            MountKind::Subpath { volume, path } => {
                let volume = open_source(volume, false)?;
                // Whoever fills the volume may have put links in it: they lead nowhere else.
                let source = paths::open(volume.as_fd(), path, Links::Follow)
                    .map_err(|error| StepFailure::new("find in the volume", path, error))?;
                bind(root, mount, &copy_of(&source, mount, true)?)?;
            }
            MountKind::Filesystem { kind, options, fill } => mount_filesystem(root, mount, kind, options, *fill)?,
            MountKind::Remount { options } => remount(root, mount, options)?,
            MountKind::Cgroups { views } => mount_cgroups(root, &mount.target, views, mount.change.set)?,
            MountKind::Layers { layers, path } => {
                let whole = match layers.as_slice() {
                    // overlayfs wants two of them where nothing is written.
                    [only] => copy_of(&open_source(only, false)?, mount, false)?,
                    layers => layers_of_image(layers)?,
                };
                let shown = path.as_ref().map_or(Ok(None), |path| inside(root, &whole, path).map(Some))?;
                bind(root, mount, shown.as_ref().unwrap_or(&whole))?;
            }
        }
    }
    Ok(())
}

/// A copy of the mount at a path inside an image. What is not mounted anywhere cannot be copied in parts before
/// Linux 6.15 (open_tree(2)), so the image lies on the root for a moment.
fn inside(root: &OwnedFd, image: &OwnedFd, path: &str) -> Result<OwnedFd, StepFailure> {
    let failed = |error: io::Error| StepFailure::new("find in the image", path, error);
    attach(image.as_fd(), root.as_fd(), path)?;
    let place = paths::open(image.as_fd(), path, Links::Follow).map_err(failed)?;
    let copy = clone_mount(place.as_fd(), false).map_err(failed)?;
    let itself = format!("/proc/self/fd/{}", image.as_raw_fd());
    unmount(itself, UnmountFlags::DETACH).map_err(|error| failed(error.into()))?;
    Ok(copy)
}

/// Takes away what [`mount_all`] has left to write: the devices are there.
pub(super) fn close_devices(root: &OwnedFd, mounts: &[MountSpec]) -> Result<(), StepFailure> {
    let own = |mount: &&MountSpec| mount.target == DEVICES && matches!(mount.source, MountKind::Filesystem { .. });
    let set = mounts.iter().rfind(own).map_or(0, |mount| mount.change.set | mount.change.all_set);
    let set = set & nix::libc::MOUNT_ATTR_RDONLY;
    if set == 0 {
        return Ok(());
    }
    let failed = |error: io::Error| StepFailure::new("make read-only", DEVICES, error);
    let place = paths::open(root.as_fd(), DEVICES, Links::Follow).map_err(failed)?;
    change_mount(place.as_fd(), &MountChange { set, ..MountChange::default() }).map_err(failed)
}

fn open_source(path: &Path, create: bool) -> Result<OwnedFd, StepFailure> {
    if create && !path.exists() {
        fs::create_dir_all(path).map_err(|error| StepFailure::new("make", shown(path), error))?;
    }
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| StepFailure::new("bind", shown(path), error))
}

fn copy_of(source: &OwnedFd, mount: &MountSpec, recursive: bool) -> Result<OwnedFd, StepFailure> {
    clone_mount(source.as_fd(), recursive).map_err(|error| StepFailure::new("mount", &mount.target, error))
}

/// A copy that was made outside.
fn take(prepared: &[OwnedFd], at: usize, mount: &MountSpec) -> Result<OwnedFd, StepFailure> {
    let missing = || StepFailure::because("mount", &mount.target, "it has not been prepared");
    let copy = prepared.get(at).ok_or_else(missing)?.try_clone();
    copy.map_err(|error| StepFailure::new("mount", &mount.target, error))
}

fn bind(root: &OwnedFd, mount: &MountSpec, copy: &OwnedFd) -> Result<(), StepFailure> {
    let failed = |error: io::Error| StepFailure::new("mount", &mount.target, error);
    let stat = rustix::fs::fstat(copy).map_err(|error| failed(error.into()))?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    let kind = if is_directory { Kind::Directory } else { Kind::File };
    let place = paths::ensure(root.as_fd(), &mount.target, kind, Links::Follow).map_err(failed)?;
    change_attributes(copy, &mount.change).map_err(failed)?;
    attach(copy.as_fd(), place.as_fd(), &mount.target)?;
    propagate(copy, mount)
}

fn change_attributes(mount: &OwnedFd, spec: &ChangeSpec) -> io::Result<()> {
    for (set, clear, recursive) in [(spec.set, spec.clear, false), (spec.all_set, spec.all_clear, true)] {
        if set | clear != 0 {
            change_mount(mount.as_fd(), &MountChange { set, clear, recursive, ..MountChange::default() })?;
        }
    }
    Ok(())
}

fn propagate(mount: &OwnedFd, spec: &MountSpec) -> Result<(), StepFailure> {
    for (propagation, recursive) in &spec.change.propagation {
        let change = MountChange { propagation: *propagation, recursive: *recursive, ..MountChange::default() };
        change_mount(mount.as_fd(), &change)
            .map_err(|error| StepFailure::new("set the propagation of", &spec.target, error))?;
    }
    Ok(())
}

fn mount_filesystem(
    root: &OwnedFd,
    mount: &MountSpec,
    kind: &str,
    options: &[(String, String)],
    take: Fill,
) -> Result<(), StepFailure> {
    let failed = |error: io::Error| StepFailure::new("mount", &mount.target, error);
    let links = if KERNELS_OWN.contains(&kind) { Links::Refuse } else { Links::Follow };
    let place = paths::ensure(root.as_fd(), &mount.target, Kind::Directory, links).map_err(|error| {
        if links == Links::Refuse && error.raw_os_error() == Some(nix::libc::ELOOP) {
            let why = format!("{kind} must be mounted on ordinary directory, and this is a link");
            return StepFailure::because("mount", &mount.target, why);
        }
        failed(error)
    })?;
    let mut options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mode = rustix::fs::fstat(&place).map(|stat| format!("{:o}", stat.st_mode & 0o7777));
    let mode = mode.map_err(|error| failed(error.into()))?;
    if take != Fill::Nothing && !options.iter().any(|(name, _)| *name == "mode") {
        options.push(("mode", &mode));
    }
    let ChangeSpec { set, all_set, .. } = mount.change;
    // What is copied into it has to be written first, and the devices are made after all mounts.
    let is_late = take == Fill::Content || mount.target == DEVICES;
    let late = if is_late { nix::libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = u32::try_from((set | all_set) & !late).unwrap_or(0);
    let filesystem = detached(kind, &options, MountAttrFlags::from_bits_retain(attributes))?;
    if take == Fill::Content {
        copy::copy_all(place.as_fd(), filesystem.as_fd())
            .map_err(|error| StepFailure::new("copy what is at", &mount.target, error))?;
        if mount.target != DEVICES {
            change_attributes(&filesystem, &mount.change).map_err(failed)?;
        }
    }
    attach(filesystem.as_fd(), place.as_fd(), &mount.target)?;
    propagate(&filesystem, mount)
}

/// Changes the mount that is at the target already.
fn remount(root: &OwnedFd, mount: &MountSpec, options: &[(String, String)]) -> Result<(), StepFailure> {
    let failed = |error: io::Error| StepFailure::new("mount again", &mount.target, error);
    let place = paths::open(root.as_fd(), &mount.target, Links::Follow).map_err(failed)?;
    if !options.is_empty() {
        reconfigure(&place, options).map_err(|error| failed(error.into()))?;
    }
    change_attributes(&place, &mount.change).map_err(failed)?;
    propagate(&place, mount)
}

fn reconfigure(place: &OwnedFd, options: &[(String, String)]) -> rustix::io::Result<()> {
    let context = fspick(place, "", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)?;
    for (name, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), name.as_str())?;
        } else {
            fsconfig_set_string(context.as_fd(), name.as_str(), value.as_str())?;
        }
    }
    fsconfig_reconfigure(context.as_fd())
}

/// Fills an empty volume with what the image has at its target.
fn fill(root: &OwnedFd, mount: &MountSpec, volume: &Path) -> Result<(), StepFailure> {
    // A target that the image does not have gives an empty volume.
    let Ok(target) = paths::open(root.as_fd(), &mount.target, Links::Follow) else { return Ok(()) };
    copy::fill(target.as_fd(), volume).map_err(|error| StepFailure::new("fill the volume for", &mount.target, error))
}
