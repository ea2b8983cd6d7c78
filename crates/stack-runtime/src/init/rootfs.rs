//! The root filesystem and what every Linux system has in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dev, FileType, Mode, OFlags, makedev, mknodat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use stack_sys::{MountAttributes, set_mount_attributes};

use super::paths::{self, Kind, Links};
use crate::error::{StepFailure, shown};
use crate::spec::{CgroupView, InitSpec, RootSpec};

/// Nodes of `/dev`, by name and number.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links of `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// What says too much about the host, or does too much to it. Docker's and Podman's list.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What may be read but not written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const PLAIN: MountAttrFlags = MountAttrFlags::empty();
const NO_SUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NO_DEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NO_EXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RD_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Makes a filesystem that is attached nowhere yet. An option without a value is a flag.
pub(super) fn detached(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("mount", kind, error);
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    for (name, value) in options {
        let set = if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), *name)
        } else {
            fsconfig_set_string(context.as_fd(), *name, *value)
        };
        set.map_err(|error| StepFailure::new("mount", format!("{kind} with {name}={value}"), error))?;
    }
    fsconfig_create(context.as_fd()).map_err(failed)?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
}

/// Attaches a detached mount on an open mount point.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &str) -> Result<(), StepFailure> {
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", by_descriptor).map_err(|error| StepFailure::new("mount", name, error))
}

/// Whatever is mounted from here on stays in this namespace.
pub(super) fn keep_to_ourselves() -> Result<(), StepFailure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| StepFailure::new("make private", "the mount namespace", error))
}

/// Mounts the layers and the writable directory, and returns the root of the result.
pub(super) fn mount_overlay(root: &RootSpec) -> Result<OwnedFd, StepFailure> {
    // One option a layer: the option string of mount(2) would end after a page (about sixty layers).
    let lower: Vec<String> = root.lower.iter().map(|path| shown(path)).collect();
    let (upper, work) = (shown(&root.upper), shown(&root.work));
    let mut options: Vec<(&str, &str)> = lower.iter().map(|path| ("lowerdir+", path.as_str())).collect();
    options.extend([("upperdir", upper.as_str()), ("workdir", work.as_str())]);
    let mount = detached("overlay", &options, PLAIN)?;
    let place = rustix::fs::open(&root.mountpoint, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| StepFailure::new("open", shown(&root.mountpoint), error))?;
    attach(mount.as_fd(), place.as_fd(), "the root filesystem")?;
    // The descriptor of the mount is its root directory.
    Ok(mount)
}

/// `/proc`, `/dev` and `/sys`.
pub(super) fn mount_system(root: &OwnedFd, spec: &InitSpec) -> Result<(), StepFailure> {
    mount_at(root, "/proc", "proc", &[], NO_SUID | NO_DEV | NO_EXEC)?;
    mount_at(
        root,
        "/dev",
        "tmpfs",
        &[("mode", "755"), ("size", "65536k")],
        NO_SUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME,
    )?;
    make_devices(root, spec.tty)?;
    let terminals = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    mount_at(root, "/dev/pts", "devpts", &terminals, NO_SUID | NO_EXEC)?;
    let shared = [("mode", "1777"), ("size", "65536k")];
    mount_at(root, "/dev/shm", "tmpfs", &shared, NO_SUID | NO_DEV | NO_EXEC)?;
    mount_at(root, "/dev/mqueue", "mqueue", &[], NO_SUID | NO_DEV | NO_EXEC)?;
    let writable = if spec.privileged { PLAIN } else { RD_ONLY };
    mount_at(root, "/sys", "sysfs", &[], NO_SUID | NO_DEV | NO_EXEC | writable)?;
    mount_cgroups(root, spec)
}

fn mount_at(
    root: &OwnedFd,
    target: &str,
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<(), StepFailure> {
    let mount = detached(kind, options, attributes)?;
    let place = paths::ensure(root.as_fd(), target, Kind::Directory, Links::Refuse)
        .map_err(|error| StepFailure::new("mount", target, error))?;
    attach(mount.as_fd(), place.as_fd(), target)
}

fn make_devices(root: &OwnedFd, tty: bool) -> Result<(), StepFailure> {
    let directory =
        paths::open(root.as_fd(), "/dev", Links::Refuse).map_err(|error| StepFailure::new("open", "/dev", error))?;
    for (name, major, minor) in DEVICES {
        let device: Dev = makedev(major, minor);
        mknodat(&directory, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
            .map_err(|error| StepFailure::new("make", format!("/dev/{name}"), error))?;
        // mknod(2) applies the umask.
        rustix::fs::chmodat(&directory, name, Mode::from_raw_mode(0o666), rustix::fs::AtFlags::empty())
            .map_err(|error| StepFailure::new("make", format!("/dev/{name}"), error))?;
    }
    // The first terminal of a fresh devpts is the one that is made for the program.
    let console = tty.then_some(("console", "pts/0"));
    for (name, target) in DEVICE_LINKS.into_iter().chain(console) {
        symlinkat(target, &directory, name).map_err(|error| StepFailure::new("make", format!("/dev/{name}"), error))?;
    }
    Ok(())
}

/// The container's own directory of each cgroup hierarchy. Bound, not mounted anew: a version 1 hierarchy can only be
/// mounted with all the controllers it has, and which those are is the host's choice.
fn mount_cgroups(root: &OwnedFd, spec: &InitSpec) -> Result<(), StepFailure> {
    let top = "/sys/fs/cgroup";
    let attributes = MountAttributes {
        read_only: !spec.privileged,
        no_suid: true,
        no_dev: true,
        no_exec: true,
        ..MountAttributes::default()
    };
    let is_v1 = spec.cgroup_views.iter().any(|view| !view.hierarchy.is_empty());
    if is_v1 {
        mount_at(root, top, "tmpfs", &[("mode", "755"), ("size", "64k")], NO_SUID | NO_DEV | NO_EXEC)?;
    }
    for CgroupView { hierarchy, directory } in &spec.cgroup_views {
        let target = if is_v1 { format!("{top}/{hierarchy}") } else { top.to_owned() };
        let failed = |error: std::io::Error| StepFailure::new("mount", &target, error);
        let source = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let copy = clone_mount(source.as_fd(), false).map_err(failed)?;
        set_mount_attributes(copy.as_fd(), attributes).map_err(failed)?;
        let place = paths::ensure(root.as_fd(), &target, Kind::Directory, Links::Refuse).map_err(failed)?;
        attach(copy.as_fd(), place.as_fd(), &target)?;
    }
    if is_v1 {
        name_controllers(root, top, spec)?;
    }
    Ok(())
}

/// Controllers that share a hierarchy are found under each of their names, as on any host; then the directory of
/// hierarchies is closed.
fn name_controllers(root: &OwnedFd, top: &str, spec: &InitSpec) -> Result<(), StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("mount", top, error);
    let directory = paths::open(root.as_fd(), top, Links::Refuse).map_err(failed)?;
    for CgroupView { hierarchy, .. } in &spec.cgroup_views {
        for controller in hierarchy.split(',').filter(|controller| controller != hierarchy) {
            symlinkat(hierarchy.as_str(), &directory, controller).map_err(|error| failed(error.into()))?;
        }
    }
    let attributes = MountAttributes { read_only: !spec.privileged, ..MountAttributes::default() };
    set_mount_attributes(directory.as_fd(), attributes).map_err(failed)
}

/// Covers what should not be seen and protects what should not be written.
pub(super) fn hide_paths(root: &OwnedFd) -> Result<(), StepFailure> {
    let null = paths::open(root.as_fd(), "/dev/null", Links::Refuse)
        .map_err(|error| StepFailure::new("open", "/dev/null", error))?;
    verify_null(&null)?;
    for path in MASKED {
        let Ok(place) = paths::open(root.as_fd(), path, Links::Refuse) else { continue };
        let is_directory = rustix::fs::fstat(&place).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
        let cover = if is_directory {
            detached("tmpfs", &[("size", "0k"), ("nr_inodes", "1")], RD_ONLY | NO_SUID | NO_DEV | NO_EXEC)?
        } else {
            clone_mount(null.as_fd(), false).map_err(|error| StepFailure::new("hide", path, error))?
        };
        attach(cover.as_fd(), place.as_fd(), path)?;
    }
    for path in READ_ONLY {
        let Ok(place) = paths::open(root.as_fd(), path, Links::Refuse) else { continue };
        let failed = |error: std::io::Error| StepFailure::new("protect", path, error);
        let copy = clone_mount(place.as_fd(), true).map_err(failed)?;
        let attributes = MountAttributes { read_only: true, recursive: true, ..MountAttributes::default() };
        set_mount_attributes(copy.as_fd(), attributes).map_err(failed)?;
        attach(copy.as_fd(), place.as_fd(), path)?;
    }
    Ok(())
}

/// The node was made by us on a filesystem of ours; still, what covers secrets is looked at (CVE-2025-31133).
fn verify_null(null: &OwnedFd) -> Result<(), StepFailure> {
    let stat = rustix::fs::fstat(null).map_err(|error| StepFailure::new("look at", "/dev/null", error))?;
    let is_null = FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == makedev(1, 3);
    if is_null { Ok(()) } else { Err(StepFailure::because("use", "/dev/null", "it is not the null device")) }
}

/// A detached copy of the mount at an open file, with those below it if asked.
pub(super) fn clone_mount(place: BorrowedFd<'_>, recursive: bool) -> std::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(place, "", flags)?)
}

/// Makes `root` the root and lets go of the host's.
pub(super) fn enter(root: &OwnedFd, read_only: bool) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("enter", "the root filesystem", error);
    if read_only {
        let attributes = MountAttributes { read_only: true, ..MountAttributes::default() };
        set_mount_attributes(root.as_fd(), attributes)
            .map_err(|error| StepFailure::new("make read-only", "the root filesystem", error))?;
    }
    rustix::process::fchdir(root).map_err(failed)?;
    // pivot_root(2): with both arguments the same, the old root ends up on top of the new one, and is taken off.
    rustix::process::pivot_root(".", ".").map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)
}
