//! Users of the container as users of the host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use fs_err as fs;
use oci_spec::runtime::{LinuxIdMapping, Spec};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mknodat};
use stack_sys::{MountChange, Namespaces, change_mount};

use super::holder::Holder;
use super::{OciError, lower, mount_options};
use crate::init;
use crate::spec::DeviceSpec;

/// Gives the process of a new user namespace the users of the configuration.
pub(super) fn write_own_maps(spec: &Spec, pid: u32) -> Result<(), OciError> {
    let linux = spec.linux().as_ref();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    write_maps(pid, uids, gids).map_err(OciError::file("map the users"))
}

fn write_maps(pid: u32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> io::Result<()> {
    let text = |maps: &[LinuxIdMapping]| {
        let lines = maps.iter().map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size()));
        lines.collect::<String>()
    };
    for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
        if !maps.is_empty() {
            fs::write(format!("/proc/{pid}/{file}"), text(maps))?;
        }
    }
    Ok(())
}

/// A copy of the source of each mount that needs one, in the order of the mounts.
pub(super) fn prepare_sources(spec: &Spec, bundle: &Path, outside: bool) -> Result<Vec<OwnedFd>, OciError> {
    let mut prepared = Vec::new();
    let linux = spec.linux().as_ref();
    for mount in spec.mounts().iter().flatten() {
        let options = mount_options::parse(mount.options().iter().flatten().map(String::as_str));
        if !lower::is_prepared(mount, &options, outside) {
            continue;
        }
        let source = bundle.join(mount.source().clone().unwrap_or_default());
        let open = || -> io::Result<OwnedFd> {
            let place = rustix::fs::open(&source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            init::clone_mount(place.as_fd(), options.bind.unwrap_or(true))
        };
        let copy = open().map_err(OciError::file(format!("open the source {}", source.display())))?;
        if mount.uid_mappings().is_none() && options.idmap.is_none() {
            prepared.push(copy);
            continue;
        }
        let own = |mounts: &Option<Vec<LinuxIdMapping>>, containers: Option<Vec<LinuxIdMapping>>| {
            mounts.clone().or(containers).unwrap_or_default()
        };
        let uids = own(mount.uid_mappings(), linux.and_then(|linux| linux.uid_mappings().clone()));
        let gids = own(mount.gid_mappings(), linux.and_then(|linux| linux.gid_mappings().clone()));
        let map = || -> io::Result<()> {
            let map = user_map(&uids, &gids)?;
            let recursive = options.idmap.unwrap_or(false);
            let change = MountChange { idmap: Some(map.as_fd()), recursive, ..MountChange::default() };
            change_mount(copy.as_fd(), &change)
        };
        map().map_err(OciError::file(format!("map the owners of {}", source.display())))?;
        prepared.push(copy);
    }
    Ok(prepared)
}

/// Makes the nodes of a container with users of its own, where nodes can be made: on a filesystem that is mounted
/// nowhere.
pub(super) fn prepare_devices<'a>(
    spec: &Spec,
    devices: impl Iterator<Item = &'a mut DeviceSpec>,
    prepared: &mut Vec<OwnedFd>,
) -> Result<(), OciError> {
    let linux = spec.linux().as_ref();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    let attributes =
        rustix::mount::MountAttrFlags::MOUNT_ATTR_NOEXEC | rustix::mount::MountAttrFlags::MOUNT_ATTR_NOSUID;
    let place = init::detached("tmpfs", &[("mode", "755"), ("size", "64k")], attributes).map_err(OciError::Step)?;
    for (number, device) in devices.filter(|device| device.kind != 'p').enumerate() {
        let name = number.to_string();
        let owner = (outside(uids, device.uid), outside(gids, device.gid));
        let make = || -> io::Result<OwnedFd> {
            let (mode, rdev) = (Mode::from_raw_mode(device.mode), makedev(device.major, device.minor));
            let kind = if device.kind == 'b' { FileType::BlockDevice } else { FileType::CharacterDevice };
            mknodat(&place, name.as_str(), kind, mode, rdev)?;
            // mknod(2) applies the umask.
            chmodat(&place, name.as_str(), mode, AtFlags::empty())?;
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            chownat(&place, name.as_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            let node = rustix::fs::openat(&place, name.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            init::clone_mount(node.as_fd(), false)
        };
        let node = match make() {
            // Whoever is root of a user namespace only cannot make any either, and before Linux 6.15 what is mounted nowhere
            // cannot be cloned; the host's own do as well.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {
                return Ok(());
            }
            made => made.map_err(OciError::file(format!("make the device {}", device.path)))?,
        };
        device.prepared = Some(prepared.len());
        prepared.push(node);
    }
    Ok(())
}

/// Who somebody of the container is outside; one that is not mapped stays who he is, and is nobody inside.
fn outside(maps: &[LinuxIdMapping], id: u32) -> u32 {
    let within = |map: &&LinuxIdMapping| id.checked_sub(map.container_id()).is_some_and(|above| above < map.size());
    maps.iter().find(within).map_or(id, |map| map.host_id() + (id - map.container_id()))
}

/// A user namespace with these maps. A process holds it just long enough to be opened.
fn user_map(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> io::Result<OwnedFd> {
    let holder = Holder::begin(Namespaces { user: true, ..Namespaces::default() })?;
    write_maps(holder.pid, uids, gids)?;
    let path = format!("/proc/{}/ns/user", holder.pid);
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
