//! The root filesystem and what every Linux system has in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, FileType, Mode, OFlags, makedev, mknodat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::thread::LinkNameSpaceType;
use stack_sys::{MountAttributes, MountChange, change_mount, set_mount_attributes};

use super::paths::{self, Kind, Links};
use crate::error::{StepFailure, shown};
use crate::spec::{CgroupView, RootSource, RootSpec, ShmSpec, SystemSpec};

/// Nodes of `/dev`, by name and number.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links of `/dev`.
pub(super) const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Memory that processes share by name (shm_overview(7)).
const SHM: &str = "/dev/shm";
/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

const PLAIN: MountAttrFlags = MountAttrFlags::empty();
const NO_SUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NO_DEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NO_EXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RD_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Makes a filesystem that is attached nowhere yet. An option without a value is a flag.
pub(crate) fn detached(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("mount", kind, error);
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| match error {
        rustix::io::Errno::NODEV => StepFailure::because("mount", kind, "the kernel does not know this filesystem"),
        other => failed(other),
    })?;
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
pub(super) fn keep_to_ourselves(root: &RootSpec) -> Result<(), StepFailure> {
    let propagation = MountPropagationFlags::from_bits_retain(u32::try_from(root.propagation).unwrap_or(0));
    mount_change("/", propagation | MountPropagationFlags::REC)
        .map_err(|error| StepFailure::new("make private", "the mount namespace", error))
}

/// Mounts the root filesystem, and returns the root of the result.
pub(super) fn mount_root(root: &RootSpec) -> Result<OwnedFd, StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("open", shown(&root.mountpoint), error);
    let place = rustix::fs::open(&root.mountpoint, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    let mount = match &root.source {
        RootSource::Overlay { lower, upper, work } => overlay(lower, upper, work)?,
        RootSource::Directory => clone_mount(place.as_fd(), true).map_err(failed)?,
    };
    make_parent_private(&root.mountpoint);
    attach(mount.as_fd(), place.as_fd(), "the root filesystem")?;
    let private = MountChange { propagation: nix::libc::MS_PRIVATE, ..MountChange::default() };
    if root.source == RootSource::Directory && root.propagation != nix::libc::MS_PRIVATE {
        // pivot_root(2) refuses a root that is shared.
        change_mount(mount.as_fd(), &private).map_err(failed)?;
    }
    // The descriptor of the mount is its root directory.
    Ok(mount)
}

/// What is mounted on the place of the root must not be seen outside, and pivot_root(2) wants it so. The mount that a
/// directory lies on is found by going up: only its own root can be changed.
fn make_parent_private(mountpoint: &Path) {
    for directory in mountpoint.ancestors() {
        if mount_change(directory, MountPropagationFlags::PRIVATE).is_ok() {
            return;
        }
    }
}

/// The layers and the writable directory.
fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, StepFailure> {
    // One option a layer: the option string of mount(2) would end after a page (about sixty layers).
    let lower: Vec<String> = lower.iter().map(|path| shown(path)).collect();
    let (upper, work) = (shown(upper), shown(work));
    let mut options: Vec<(&str, &str)> = lower.iter().map(|path| ("lowerdir+", path.as_str())).collect();
    options.extend([("upperdir", upper.as_str()), ("workdir", work.as_str())]);
    detached("overlay", &options, PLAIN)
}

/// Layers of an image, the highest first, for reading.
pub(super) fn layers_of_image(layers: &[PathBuf]) -> Result<OwnedFd, StepFailure> {
    let layers: Vec<String> = layers.iter().map(|path| shown(path)).collect();
    let options: Vec<(&str, &str)> = layers.iter().map(|path| ("lowerdir+", path.as_str())).collect();
    detached("overlay", &options, RD_ONLY)
}

/// `/proc`, `/dev` and `/sys`. `shm` is a copy of another container's `/dev/shm`.
pub(super) fn mount_system(
    root: &OwnedFd,
    spec: &SystemSpec,
    shm: Option<&OwnedFd>,
    tty: bool,
) -> Result<(), StepFailure> {
    mount_at(root, "/proc", "proc", &[], NO_SUID | NO_DEV | NO_EXEC)?;
    mount_at(
        root,
        "/dev",
        "tmpfs",
        &[("mode", "755"), ("size", "65536k")],
        NO_SUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME,
    )?;
    make_devices(root, tty)?;
    let terminals = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    mount_at(root, "/dev/pts", "devpts", &terminals, NO_SUID | NO_EXEC)?;
    match (spec.shm, shm) {
        (ShmSpec::Own(size), _) => {
            let size = size.to_string();
            let own = [("mode", "1777"), ("size", size.as_str())];
            mount_at(root, SHM, "tmpfs", &own, NO_SUID | NO_DEV | NO_EXEC)?;
        }
        (ShmSpec::Host, _) => bind_host(root, SHM)?,
        (ShmSpec::Shared, Some(copy)) => attach_at(root, copy, SHM)?,
        (ShmSpec::Shared, None) => return Err(StepFailure::because("mount", SHM, "nobody shares it")),
        (ShmSpec::Nothing, _) => {}
    }
    mount_at(root, "/dev/mqueue", "mqueue", &[], NO_SUID | NO_DEV | NO_EXEC)?;
    let writable = if spec.writable { PLAIN } else { RD_ONLY };
    mount_at(root, "/sys", "sysfs", &[], NO_SUID | NO_DEV | NO_EXEC | writable)?;
    let plain = NO_SUID | NO_DEV | NO_EXEC | writable;
    mount_cgroups(root, CGROUPS, &spec.cgroup_views, plain.bits().into())
}

/// Shows a directory of the host's at the same place.
fn bind_host(root: &OwnedFd, path: &str) -> Result<(), StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("mount", path, error);
    let source = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    attach_at(root, &clone_mount(source.as_fd(), true).map_err(failed)?, path)
}

/// Attaches a detached mount at a place of the system's own.
fn attach_at(root: &OwnedFd, mount: &OwnedFd, target: &str) -> Result<(), StepFailure> {
    let place = paths::ensure(root.as_fd(), target, Kind::Directory, Links::Refuse)
        .map_err(|error| StepFailure::new("mount", target, error))?;
    attach(mount.as_fd(), place.as_fd(), target)
}

/// A detached copy of the `/dev/shm` of a container, by the pidfd of its process 1. A mount is copied only by who is in
/// its mount namespace (open_tree(2)), so this process goes there and comes back. It has mounts of its own already.
pub(crate) fn shared_memory_of(peer: &OwnedFd) -> Result<OwnedFd, StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("share", SHM, error);
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()))
    };
    let (own, root) = (open("/proc/self/ns/mnt", OFlags::RDONLY)?, open("/", OFlags::PATH | OFlags::DIRECTORY)?);
    let enter = |namespace: &OwnedFd| {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(|error| failed(error.into()))
    };
    enter(peer)?;
    let inside = open("/", OFlags::PATH | OFlags::DIRECTORY)?;
    let place = paths::open(inside.as_fd(), SHM, Links::Refuse).map_err(failed)?;
    let copy = clone_mount(place.as_fd(), false).map_err(failed)?;
    enter(&own)?;
    // setns(2) has moved the root to that of the namespace, which need not be the one of before.
    rustix::process::fchdir(&root).map_err(|error| failed(error.into()))?;
    rustix::process::chroot(".").map_err(|error| failed(error.into()))?;
    Ok(copy)
}

fn mount_at(
    root: &OwnedFd,
    target: &str,
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<(), StepFailure> {
    attach_at(root, &detached(kind, options, attributes)?, target)
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
pub(super) fn mount_cgroups(
    root: &OwnedFd,
    top: &str,
    views: &[CgroupView],
    attributes: u64,
) -> Result<(), StepFailure> {
    let change = MountChange { set: attributes, ..MountChange::default() };
    let is_v1 = views.iter().any(|view| !view.hierarchy.is_empty());
    if is_v1 {
        mount_at(root, top, "tmpfs", &[("mode", "755"), ("size", "64k")], NO_SUID | NO_DEV | NO_EXEC)?;
    }
    for CgroupView { hierarchy, directory } in views {
        let target = if is_v1 { format!("{top}/{hierarchy}") } else { top.to_owned() };
        let failed = |error: std::io::Error| StepFailure::new("mount", &target, error);
        let source = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let copy = clone_mount(source.as_fd(), false).map_err(failed)?;
        change_mount(copy.as_fd(), &change).map_err(failed)?;
        let place = paths::ensure(root.as_fd(), &target, Kind::Directory, Links::Refuse).map_err(failed)?;
        attach(copy.as_fd(), place.as_fd(), &target)?;
    }
    if is_v1 {
        name_controllers(root, top, views, &change)?;
    }
    Ok(())
}

/// Controllers that share a hierarchy are found under each of their names, as on any host; then the directory of
/// hierarchies is closed.
fn name_controllers(
    root: &OwnedFd,
    top: &str,
    views: &[CgroupView],
    change: &MountChange<'_>,
) -> Result<(), StepFailure> {
    let failed = |error: std::io::Error| StepFailure::new("mount", top, error);
    let directory = paths::open(root.as_fd(), top, Links::Refuse).map_err(failed)?;
    for CgroupView { hierarchy, .. } in views {
        for controller in hierarchy.split(',').filter(|controller| controller != hierarchy) {
            symlinkat(hierarchy.as_str(), &directory, controller).map_err(|error| failed(error.into()))?;
        }
    }
    change_mount(directory.as_fd(), change).map_err(failed)
}

/// Covers what should not be seen and protects what should not be written. What does not exist needs neither. What
/// covers a file is the host's own null device: nothing of the container's can be in its place (CVE-2025-31133).
pub(super) fn hide_paths(root: &OwnedFd, masked: &[String], protected: &[String]) -> Result<(), StepFailure> {
    if !masked.is_empty() {
        let null = rustix::fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| StepFailure::new("open", "/dev/null", error))?;
        verify_null(&null)?;
        masked.iter().try_for_each(|path| mask(root, &null, path))?;
    }
    for path in protected {
        let Ok(place) = paths::open(root.as_fd(), path, Links::Follow) else { continue };
        let failed = |error: std::io::Error| StepFailure::new("protect", path, error);
        let copy = clone_mount(place.as_fd(), true).map_err(failed)?;
        let attributes = MountAttributes { read_only: true, recursive: true, ..MountAttributes::default() };
        set_mount_attributes(copy.as_fd(), attributes).map_err(failed)?;
        attach(copy.as_fd(), place.as_fd(), path)?;
    }
    Ok(())
}

fn mask(root: &OwnedFd, null: &OwnedFd, path: &str) -> Result<(), StepFailure> {
    let Ok(place) = paths::open(root.as_fd(), path, Links::Follow) else { return Ok(()) };
    let is_directory = rustix::fs::fstat(&place).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    let cover = if is_directory {
        detached("tmpfs", &[("size", "0k"), ("nr_inodes", "1")], RD_ONLY | NO_SUID | NO_DEV | NO_EXEC)?
    } else {
        clone_mount(null.as_fd(), false).map_err(|error| StepFailure::new("hide", path, error))?
    };
    attach(cover.as_fd(), place.as_fd(), path)
}

/// What covers secrets is looked at.
fn verify_null(null: &OwnedFd) -> Result<(), StepFailure> {
    let stat = rustix::fs::fstat(null).map_err(|error| StepFailure::new("look at", "/dev/null", error))?;
    let is_null = FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == makedev(1, 3);
    if is_null { Ok(()) } else { Err(StepFailure::because("use", "/dev/null", "it is not the null device")) }
}

/// A detached copy of the mount at an open file, with those below it if asked.
pub(crate) fn clone_mount(place: BorrowedFd<'_>, recursive: bool) -> std::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(place, "", flags)?)
}

/// Makes `root` the root and lets go of the host's.
pub(super) fn enter(root: &OwnedFd, spec: &RootSpec) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("enter", "the root filesystem", error);
    if spec.read_only {
        let attributes = MountAttributes { read_only: true, ..MountAttributes::default() };
        set_mount_attributes(root.as_fd(), attributes)
            .map_err(|error| StepFailure::new("make read-only", "the root filesystem", error))?;
    }
    rustix::process::fchdir(root).map_err(failed)?;
    if spec.no_pivot {
        hide_kernel_filesystems(&spec.mountpoint);
        rustix::mount::mount_move(".", "/").map_err(failed)?;
        rustix::process::chroot(".").map_err(failed)?;
    } else {
        let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let old = old.map_err(failed)?;
        // pivot_root(2): with both arguments the same, the old root ends up on top of the new one, and is taken off.
        rustix::process::pivot_root(".", ".").map_err(failed)?;
        rustix::process::fchdir(&old).map_err(failed)?;
        // Where the host's mounts know of ours, what is taken off here would be taken off there.
        mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).map_err(failed)?;
        unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    }
    rustix::process::chdir("/").map_err(failed)?;
    if let Some(propagation) = spec.own_propagation {
        let flags = MountPropagationFlags::from_bits_retain(u32::try_from(propagation).unwrap_or(0));
        mount_change("/", flags).map_err(failed)?;
    }
    Ok(())
}

/// Without pivot_root(2) the host's mounts stay below the new root, out of reach. An uncovered procfs or sysfs among them
/// would still let a user namespace in the container mount a new one without what is masked in ours (mount_too_revealing,
/// fs/namespace.c).
fn hide_kernel_filesystems(root: &Path) {
    let text = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut places: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let place = left.split(' ').nth(4)?;
            let is_kernels = matches!(right.split(' ').next(), Some("proc" | "sysfs"));
            (is_kernels && !Path::new(place).starts_with(root)).then_some(place)
        })
        .collect();
    places.sort_unstable_by_key(|place| std::cmp::Reverse(place.len()));
    for place in places {
        let _ = mount_change(place, MountPropagationFlags::PRIVATE);
        // One that may not be taken off is covered; one that can be neither is as before.
        if unmount(place, UnmountFlags::DETACH).is_err()
            && let Ok(cover) = detached("tmpfs", &[], RD_ONLY | NO_SUID | NO_DEV | NO_EXEC)
            && let Ok(place_fd) = rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        {
            drop(attach(cover.as_fd(), place_fd.as_fd(), place));
        }
    }
}

/// Changes the root without a mount namespace: the mounts are those that there are.
pub(super) fn change_root(spec: &RootSpec) -> Result<(), StepFailure> {
    let failed = |error: rustix::io::Errno| StepFailure::new("change to", shown(&spec.mountpoint), error);
    rustix::process::chroot(&spec.mountpoint).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)
}
