//! Where the controllers are on this machine, and the directories of containers below them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::hierarchies::{Mountinfo, mountinfo_self};
use fs_err as fs;
use stack_model::{Bytes, Limits, NanoCpus};

use crate::devices;
use crate::render::{Write, render};
use crate::{CgroupError, Join};

/// The controllers of v1 that a container joins, in a fixed order, all or none: a process that is in some of them and
/// not in others would be limited in surprising ways. The freezer is there for `pause`, cpuacct for statistics.
const V1_CONTROLLERS: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "devices", "freezer"];
/// The controllers of v2 that are passed down to containers.
const V2_CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

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
}

impl Hierarchy {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    /// [`CgroupError::NotMounted`].
    pub fn detect() -> Result<Self, CgroupError> {
        Self::from_mounts(&mountinfo_self())
    }

    fn from_mounts(mounts: &[Mountinfo]) -> Result<Self, CgroupError> {
        let v1: BTreeMap<&'static str, PathBuf> = V1_CONTROLLERS
            .iter()
            .filter_map(|controller| {
                let carries = |mount: &&Mountinfo| {
                    mount.fs_type.0 == "cgroup" && mount.super_opts.iter().any(|option| option == controller)
                };
                mounts.iter().find(carries).map(|mount| (*controller, mount.mount_point.clone()))
            })
            .collect();
        if v1.contains_key("memory") || v1.contains_key("pids") {
            return Ok(Self { kind: Kind::V1, mounts: v1 });
        }
        let v2 = mounts.iter().find(|mount| mount.fs_type.0 == "cgroup2").ok_or(CgroupError::NotMounted)?;
        Ok(Self { kind: Kind::V2, mounts: BTreeMap::from([("", v2.mount_point.clone())]) })
    }

    /// A v2 hierarchy whose root is any directory: for tests, and for a subtree that was delegated.
    pub fn v2_at(root: &Path) -> Self {
        Self { kind: Kind::V2, mounts: BTreeMap::from([("", root.to_path_buf())]) }
    }

    /// Which interface limits are written through.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Makes the directory that holds the containers of a project; on v2 it passes the controllers down to it.
    ///
    /// # Errors
    /// A directory cannot be made, or a controller is not available to us.
    pub fn ensure_project(&self, project: &Path) -> Result<(), CgroupError> {
        for mount in self.directories() {
            make(&mount.join(project))?;
        }
        if self.kind == Kind::V2 {
            self.delegate(project)?;
        }
        Ok(())
    }

    /// Enables the controllers from the root down to `project`. A directory with processes of its own cannot pass
    /// controllers on (cgroups(7), "no internal processes"), so containers are leaves and the supervisor is elsewhere.
    fn delegate(&self, project: &Path) -> Result<(), CgroupError> {
        let mut directory = self.mount("")?.to_path_buf();
        let mut below = project.components();
        loop {
            let available = read(&directory.join("cgroup.controllers"))?;
            for controller in
                V2_CONTROLLERS.iter().filter(|name| available.split_whitespace().any(|have| have == **name))
            {
                write(&directory.join("cgroup.subtree_control"), &format!("+{controller}"))?;
            }
            match below.next() {
                Some(next) => directory.push(next),
                None => return Ok(()),
            }
        }
    }

    /// Makes a container's cgroup with its limits and returns the way in. `cgroup` is relative to the hierarchies.
    /// An unprivileged container gets the usual character devices only (v1).
    ///
    /// # Errors
    /// A directory cannot be made or a limit cannot be set.
    pub fn create(&self, cgroup: &Path, limits: &Limits, privileged: bool) -> Result<Join, CgroupError> {
        for mount in self.directories() {
            make(&mount.join(cgroup))?;
        }
        self.write_limits(cgroup, limits)?;
        match self.kind {
            Kind::V1 => {
                if let Some(mount) = self.mounts.get("devices")
                    && !privileged
                {
                    devices::restrict(mount.join(cgroup))?;
                }
                Ok(Join { procs: self.procs(cgroup), v2_dir: None })
            }
            Kind::V2 => {
                let path = self.mount("")?.join(cgroup);
                let open =
                    fs::File::open(&path).map_err(|source| CgroupError::Directory { path: path.clone(), source })?;
                Ok(Join { procs: self.procs(cgroup), v2_dir: Some(open.into_parts().0.into()) })
            }
        }
    }

    /// The files that a process id is written to in order to join a cgroup.
    pub fn procs(&self, cgroup: &Path) -> Vec<PathBuf> {
        self.directories().map(|mount| mount.join(cgroup).join("cgroup.procs")).collect()
    }

    /// Makes a cgroup hold exactly `limits`, under the processes that are in it.
    ///
    /// # Errors
    /// A controller that a limit needs is missing, or the kernel refuses the value.
    pub fn write_limits(&self, cgroup: &Path, limits: &Limits) -> Result<(), CgroupError> {
        let writes = render(limits, self.kind);
        let result = self.write_all(cgroup, &writes);
        let result = match result {
            // On v1, memory may not exceed memory and swap at any moment: when both grow, the second has to go first,
            // when both shrink, the first. Whichever order is wrong, the other one is right.
            Err(CgroupError::Write { .. }) if self.kind == Kind::V1 && limits.memory_and_swap.is_some() => {
                let mut swapped = writes;
                swapped.swap(0, 1);
                self.write_all(cgroup, &swapped)
            }
            result => result,
        };
        result.map_err(|error| match (&error, limits.memory) {
            (CgroupError::Write { source, .. }, Some(limit)) if source.raw_os_error() == Some(nix::libc::EBUSY) => {
                CgroupError::BelowUsage { limit }
            }
            _ => error,
        })
    }

    fn write_all(&self, cgroup: &Path, writes: &[Write]) -> Result<(), CgroupError> {
        for Write { controller, file, value, optional } in writes {
            let place = match self.kind {
                Kind::V1 => self.mounts.get(controller),
                Kind::V2 => self.mounts.get(""),
            };
            let missing = CgroupError::ControllerMissing { controller, file };
            let Some(place) = place else {
                if *optional {
                    continue;
                }
                return Err(missing);
            };
            match write(&place.join(cgroup).join(file), value) {
                Err(CgroupError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    if !optional {
                        return Err(missing);
                    }
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// What the kernel holds; a value that stands for "no limit" is `None`.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn limits(&self, cgroup: &Path) -> Result<Limits, CgroupError> {
        let number = |controller: &str, file: &str| -> Result<Option<u64>, CgroupError> {
            let place = self.mounts.get(if self.kind == Kind::V1 { controller } else { "" });
            let Some(place) = place else { return Ok(None) };
            let text = read(&place.join(cgroup).join(file))?;
            // v1 shows no limit as the largest multiple of the page size.
            Ok(text.split_whitespace().next().and_then(|word| word.parse().ok()).filter(|value| *value < 1 << 60))
        };
        let (memory, quota) = match self.kind {
            Kind::V1 => (number("memory", "memory.limit_in_bytes")?, number("cpu", "cpu.cfs_quota_us")?),
            Kind::V2 => (number("memory", "memory.max")?, number("cpu", "cpu.max")?),
        };
        let pids = number("pids", "pids.max")?.and_then(|pids| i64::try_from(pids).ok());
        Ok(Limits {
            memory: memory.map(Bytes),
            cpus: quota.map(|quota| NanoCpus(quota * 10_000)),
            pids,
            memory_and_swap: None,
            memory_reservation: None,
        })
    }

    /// How many processes of the cgroup the kernel has killed for memory.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn out_of_memory_kills(&self, cgroup: &Path) -> Result<u64, CgroupError> {
        let (mount, file) = match self.kind {
            Kind::V1 => (self.mount("memory")?, "memory.oom_control"),
            Kind::V2 => (self.mount("")?, "memory.events"),
        };
        let text = read(&mount.join(cgroup).join(file))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// The most memory that the cgroup has used.
    ///
    /// # Errors
    /// The cgroup is gone, or the kernel is older than 5.19 (v2).
    pub fn memory_peak(&self, cgroup: &Path) -> Result<Bytes, CgroupError> {
        let (mount, file) = match self.kind {
            Kind::V1 => (self.mount("memory")?, "memory.max_usage_in_bytes"),
            Kind::V2 => (self.mount("")?, "memory.peak"),
        };
        let text = read(&mount.join(cgroup).join(file))?;
        Ok(Bytes(text.trim().parse().unwrap_or(0)))
    }

    /// Removes a container's cgroup; `false` when it did not exist. Its processes must have ended.
    ///
    /// # Errors
    /// A process is still in it.
    pub fn remove(&self, cgroup: &Path) -> Result<bool, CgroupError> {
        let mut removed = false;
        for mount in self.directories() {
            removed |= remove_tree(&mount.join(cgroup))?;
        }
        Ok(removed)
    }

    /// Removes a project's cgroup and the one above it when that was the last project.
    ///
    /// # Errors
    /// A container is still in it.
    pub fn remove_project(&self, project: &Path) -> Result<(), CgroupError> {
        self.remove(project)?;
        let Some(top) = project.parent().filter(|top| !top.as_os_str().is_empty()) else { return Ok(()) };
        for mount in self.directories() {
            // Other projects keep it.
            drop(fs::remove_dir(mount.join(top)));
        }
        Ok(())
    }

    /// Mount points, each once: v1 controllers may share a hierarchy (`cpu,cpuacct`).
    fn directories(&self) -> impl Iterator<Item = &Path> {
        let ordered: Vec<&PathBuf> = match self.kind {
            Kind::V1 => V1_CONTROLLERS.iter().filter_map(|controller| self.mounts.get(controller)).collect(),
            Kind::V2 => self.mounts.values().collect(),
        };
        let mut seen: Vec<&Path> = Vec::with_capacity(ordered.len());
        for path in ordered {
            if !seen.contains(&path.as_path()) {
                seen.push(path);
            }
        }
        seen.into_iter()
    }

    fn mount(&self, controller: &'static str) -> Result<&Path, CgroupError> {
        self.mounts.get(controller).map(PathBuf::as_path).ok_or(CgroupError::NotMounted)
    }
}

fn make(path: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(path).map_err(|source| CgroupError::Directory { path: path.to_path_buf(), source })
}

/// Removes a cgroup and those below it; its files need no removing (cgroups(7)).
fn remove_tree(path: &Path) -> Result<bool, CgroupError> {
    let failed = |source| CgroupError::Directory { path: path.to_path_buf(), source };
    match fs::remove_dir(path) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        // A program may have made cgroups of its own below.
        Err(error) if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty) => {}
        Err(error) => return Err(failed(error)),
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path).map(|()| true).map_err(failed)
}

fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Read { path: path.to_path_buf(), source })
}

/// Writes without creating: a misspelt name must not become a file of the fake tree in tests.
fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let result = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    result.map_err(|source| {
        // fs-err hides the number that callers look for.
        let source = source.raw_os_error().map_or(source, io::Error::from_raw_os_error);
        CgroupError::Write { path: path.to_path_buf(), value: value.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, kind: &str, options: &[&str]) -> Mountinfo {
        Mountinfo {
            mount_root: "/".into(),
            mount_point: point.into(),
            fs_type: (kind.to_owned(), None),
            super_opts: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    #[test]
    fn hybrid_is_v1_and_shared_mounts_count_once() {
        let mounts = [
            mount("/sys/fs/cgroup/unified", "cgroup2", &["rw"]),
            mount("/sys/fs/cgroup/cpu,cpuacct", "cgroup", &["rw", "cpu", "cpuacct"]),
            mount("/sys/fs/cgroup/memory", "cgroup", &["rw", "memory"]),
        ];
        let hierarchy = Hierarchy::from_mounts(&mounts).unwrap();
        assert_eq!(hierarchy.kind(), Kind::V1);
        let directories: Vec<_> = hierarchy.directories().collect();
        assert_eq!(directories, [Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup/cpu,cpuacct")]);
    }

    #[test]
    fn nothing_mounted_is_an_error_with_a_way_out() {
        let error = Hierarchy::from_mounts(&[]).unwrap_err();
        assert!(error.hint().unwrap().contains("mount -t cgroup2"));
    }

    #[test]
    fn v2_passes_its_controllers_down() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["", "stack", "stack/shop"] {
            let directory = root.path().join(directory);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.controllers"), "cpuset cpu io memory pids").unwrap();
            fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
        }
        let hierarchy = Hierarchy::v2_at(root.path());
        hierarchy.ensure_project(Path::new("stack/shop")).unwrap();
        for directory in ["", "stack", "stack/shop"] {
            let enabled = fs::read_to_string(root.path().join(directory).join("cgroup.subtree_control")).unwrap();
            assert!(enabled.contains("pids"), "{directory}: {enabled}");
        }
    }
}
