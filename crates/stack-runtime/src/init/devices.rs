//! Nodes and links of `/dev` that are asked for one by one, and the console.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mknodat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::paths::{self, Kind, Links};
use super::rootfs::{DEVICE_LINKS, attach, clone_mount};
use crate::error::StepFailure;
use crate::spec::DeviceSpec;

/// Makes the nodes, then the links that every `/dev` has.
/// `prepared` are the nodes that were made outside.
pub(super) fn make(root: &OwnedFd, devices: &[DeviceSpec], prepared: &[OwnedFd]) -> Result<(), StepFailure> {
    devices.iter().try_for_each(|device| make_node(root, device, prepared))?;
    let failed = |error: std::io::Error| StepFailure::new("make", "/dev", error);
    let directory = paths::ensure(root.as_fd(), "/dev", Kind::Directory, Links::Follow).map_err(failed)?;
    for (name, target) in DEVICE_LINKS {
        if name == "ptmx" {
            // The host's, if it is a node: it makes terminals that the container does not see.
            let _ = unlinkat(&directory, name, AtFlags::empty());
        }
        match symlinkat(target, &directory, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(())
}

fn make_node(root: &OwnedFd, device: &DeviceSpec, prepared: &[OwnedFd]) -> Result<(), StepFailure> {
    let failed = |error: Errno| StepFailure::new("make", &device.path, error);
    if let Some(node) = device.prepared.and_then(|at| prepared.get(at)) {
        return attach_node(root, device, node);
    }
    let (parent, name) = device.path.rsplit_once('/').unwrap_or(("", &device.path));
    let parent = if parent.is_empty() { "/" } else { parent };
    let directory = paths::ensure(root.as_fd(), parent, Kind::Directory, Links::Follow)
        .map_err(|error| StepFailure::new("make", &device.path, error))?;
    let kind = match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(&directory, name, kind, mode, makedev(device.major, device.minor)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return is_the_same(&directory, name, device),
        // In a user namespace nobody makes nodes; the host's own do as well.
        Err(Errno::PERM) => return bind_node(root, device),
        Err(error) => return Err(failed(error)),
    }
    // mknod(2) applies the umask.
    chmodat(&directory, name, mode, AtFlags::empty()).map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

/// A node that the image has is good if it is the wanted one.
fn is_the_same(directory: &OwnedFd, name: &str, device: &DeviceSpec) -> Result<(), StepFailure> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| StepFailure::new("look at", &device.path, error))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let same = match device.kind {
        'p' => kind.is_fifo(),
        'b' => kind.is_block_device() && stat.st_rdev == makedev(device.major, device.minor),
        _ => kind.is_char_device() && stat.st_rdev == makedev(device.major, device.minor),
    };
    if same { Ok(()) } else { Err(StepFailure::because("make", &device.path, "something else is in its place")) }
}

fn bind_node(root: &OwnedFd, device: &DeviceSpec) -> Result<(), StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("bind", &device.path, error);
    let source =
        rustix::fs::open(device.path.as_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
    let stat = rustix::fs::fstat(&source).map_err(|error| failed(error.into()))?;
    if stat.st_rdev != makedev(device.major, device.minor) {
        return Err(StepFailure::because("bind", &device.path, "the host has another device there"));
    }
    attach_node(root, device, &clone_mount(source.as_fd(), false).map_err(failed)?)
}

/// Attaches a copy of a node that was made elsewhere.
fn attach_node(root: &OwnedFd, device: &DeviceSpec, node: &OwnedFd) -> Result<(), StepFailure> {
    let place = paths::ensure(root.as_fd(), &device.path, Kind::File, Links::Follow)
        .map_err(|error| StepFailure::new("bind", &device.path, error))?;
    attach(node.as_fd(), place.as_fd(), &device.path)
}

/// Makes the program's terminal appear as `/dev/console`: by its descriptor, not by a name that may lead elsewhere
/// (CVE-2025-52565).
pub(super) fn bind_console(terminal: &OwnedFd) -> Result<(), StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("bind", "/dev/console", error);
    let root =
        rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()))?;
    let place = match paths::ensure(root.as_fd(), "/dev/console", Kind::File, Links::Refuse) {
        // A root that cannot be written has the console that it has.
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => return Ok(()),
        place => place.map_err(failed)?,
    };
    let copy = clone_mount(terminal.as_fd(), false).map_err(failed)?;
    attach(copy.as_fd(), place.as_fd(), "/dev/console")
}
