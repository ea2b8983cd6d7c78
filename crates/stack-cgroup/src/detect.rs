//! Where the controllers are on this machine, and where the cgroup of a project lies below them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::hierarchies::{Mountinfo, mountinfo_self};
use fs_err as fs;

use crate::{CgroupError, further};

/// The controllers of v1 that a container joins, in a fixed order, all or none: a process that is in some of them and
/// not in others would be limited in surprising ways. The freezer is there for `pause`, cpuacct for statistics.
const V1_CONTROLLERS: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "devices", "freezer"];

/// systemd runs and is process 1 (`sd_booted(3)`).
const SYSTEMD_SIGN: &str = "/run/systemd/system";
/// The slice that scopes of projects are made in.
const SLICE: &str = "system.slice";

/// Which interface limits are written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Version 1, or hybrid: the controllers are on v1 hierarchies.
    V1,
    /// Version 2.
    V2,
}

/// The cgroup hierarchies of this machine.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    kind: Kind,
    /// v1: controller to the mount point of its hierarchy. v2: one entry named "".
    mounts: BTreeMap<&'static str, PathBuf>,
    /// v2 under systemd, which owns the tree: projects live in scopes that it delegates.
    systemd: bool,
}

impl Hierarchy {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    /// [`CgroupError::NotMounted`].
    pub fn detect() -> Result<Self, CgroupError> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // A mount may be listed and covered by another one.
        let is_seen = |mount: &Path| mount.join("cgroup.procs").exists();
        let mut v1 = mountinfo_self();
        v1.retain(|mount| is_seen(&mount.mount_point));
        let found = Self::from_mounts(&v1, v2_mount(&mountinfo).filter(|mount| is_seen(mount)))?;
        let systemd = found.kind == Kind::V2 && Path::new(SYSTEMD_SIGN).exists();
        Ok(Self { systemd, ..found })
    }

    fn from_mounts(v1: &[Mountinfo], v2: Option<PathBuf>) -> Result<Self, CgroupError> {
        let find = |controller: &&'static str| {
            let carries = |mount: &&Mountinfo| {
                mount.fs_type.0 == "cgroup" && mount.super_opts.iter().any(|option| option == controller)
            };
            v1.iter().find(carries).map(|mount| (*controller, mount.mount_point.clone()))
        };
        let v1: BTreeMap<&'static str, PathBuf> = V1_CONTROLLERS.iter().chain(&further::V1).filter_map(find).collect();
        // In hybrid layouts the v2 tree is there too, but holds none of these controllers.
        if v1.contains_key("memory") || v1.contains_key("pids") {
            return Ok(Self { kind: Kind::V1, mounts: v1, systemd: false });
        }
        v2.map(|root| Self::v2_at(&root)).ok_or(CgroupError::NotMounted)
    }

    /// A v2 hierarchy whose root is any directory: for tests, and for a subtree that someone delegated.
    pub fn v2_at(root: &Path) -> Self {
        Self { kind: Kind::V2, mounts: BTreeMap::from([("", root.to_path_buf())]), systemd: false }
    }

    /// Which interface limits are written through.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cgroups of projects are scopes of systemd.
    pub(crate) fn is_delegated(&self) -> bool {
        self.systemd
    }

    /// The directory of a controller's hierarchy, if the machine has it.
    pub(crate) fn mount(&self, controller: &str) -> Option<&Path> {
        let key = if self.kind == Kind::V1 { controller } else { "" };
        self.mounts.get(key).map(PathBuf::as_path)
    }

    /// The directory of a cgroup in a controller's hierarchy.
    pub(crate) fn directory(&self, controller: &str, cgroup: &Path) -> Option<PathBuf> {
        self.mount(controller).map(|mount| mount.join(self.place(cgroup)))
    }

    /// The directories of a cgroup in all hierarchies, each once: v1 controllers may share one (`cpu,cpuacct`).
    pub fn directories(&self, cgroup: &Path) -> Vec<PathBuf> {
        let place = self.place(cgroup);
        let mut mounts: Vec<&PathBuf> = match self.kind {
            Kind::V1 => V1_CONTROLLERS.iter().filter_map(|controller| self.mounts.get(controller)).collect(),
            Kind::V2 => self.mounts.values().collect(),
        };
        let mut seen = Vec::new();
        mounts.retain(|mount| {
            let is_new = !seen.contains(mount);
            seen.push(mount);
            is_new
        });
        mounts.into_iter().map(|mount| mount.join(&place)).collect()
    }

    /// A cgroup below the mount: as it is asked for, or in the scope that stands for its first two parts.
    fn place(&self, cgroup: &Path) -> PathBuf {
        if !self.systemd {
            return cgroup.to_path_buf();
        }
        let project: PathBuf = cgroup.components().take(2).collect();
        let below: PathBuf = cgroup.components().skip(2).collect();
        Path::new(SLICE).join(scope_unit(&project)).join(below)
    }
}

/// The scope of a project: `stack/shop` is `stack-shop.scope`.
pub(crate) fn scope_unit(project: &Path) -> String {
    let parts: Vec<_> = project.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    format!("{}.scope", parts.join("-"))
}

/// The slice as systemd's properties name it.
pub(crate) fn slice() -> &'static str {
    SLICE
}

/// Where version 2 is mounted (proc(5), mountinfo: field 5 is the place, the type follows the lone dash).
/// `cgroups-rs` lists mounts of version 1 only.
fn v2_mount(mountinfo: &str) -> Option<PathBuf> {
    let found = mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then(|| left.split(' ').nth(4)).flatten()
    });
    found.map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, options: &[&str]) -> Mountinfo {
        Mountinfo {
            mount_root: "/".into(),
            mount_point: point.into(),
            fs_type: ("cgroup".to_owned(), None),
            super_opts: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    #[test]
    fn hybrid_is_v1_and_shared_mounts_count_once() {
        let v1 = [
            mount("/sys/fs/cgroup/cpu,cpuacct", &["rw", "cpu", "cpuacct"]),
            mount("/sys/fs/cgroup/memory", &["rw", "memory"]),
            mount("/sys/fs/cgroup/systemd", &["rw", "name=systemd"]),
        ];
        let hierarchy = Hierarchy::from_mounts(&v1, Some("/sys/fs/cgroup/unified".into())).unwrap();
        assert_eq!(hierarchy.kind(), Kind::V1);
        let expected = ["/sys/fs/cgroup/memory/stack/a", "/sys/fs/cgroup/cpu,cpuacct/stack/a"];
        assert_eq!(hierarchy.directories(Path::new("stack/a")), expected.map(PathBuf::from));
    }

    #[test]
    fn version_2_is_found_among_other_mounts() {
        let text = "22 1 0:20 / /sys rw - sysfs sysfs rw\n\
                    26 22 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hierarchy = Hierarchy::from_mounts(&[], v2_mount(text)).unwrap();
        assert_eq!((hierarchy.kind(), hierarchy.mount("memory")), (Kind::V2, Some(Path::new("/sys/fs/cgroup"))));
    }

    #[test]
    fn nothing_mounted_is_an_error_with_a_way_out() {
        let error = Hierarchy::from_mounts(&[], None).unwrap_err();
        assert!(error.hint().unwrap().contains("mount -t cgroup2"));
    }

    #[test]
    fn under_systemd_a_project_is_a_scope() {
        let hierarchy = Hierarchy { systemd: true, ..Hierarchy::v2_at(Path::new("/cg")) };
        let place = |cgroup: &str| hierarchy.directories(Path::new(cgroup)).remove(0);
        assert_eq!(place("stack/shop"), Path::new("/cg/system.slice/stack-shop.scope"));
        assert_eq!(place("stack-1f/shop/c1"), Path::new("/cg/system.slice/stack-1f-shop.scope/c1"));
    }
}
