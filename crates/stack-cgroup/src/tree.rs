//! Cgroups for callers that say themselves where they are and what is written into them: the OCI runtime's.
//!
//! Unlike [`Hierarchy`](crate::Hierarchy), which knows the few controllers that a project needs, this is every
//! hierarchy that the machine has mounted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::devices::restrict;
use crate::file::{read, write};
use crate::hierarchy::{processes, remove_patiently, wait_for_change};
use crate::{CgroupError, DeviceRule, Join, Kind};

/// One value for one file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller; on version 2 it is only looked at to pass it down.
    pub controller: String,
    /// File name.
    pub file: String,
    /// What to write.
    pub value: String,
}

/// All hierarchies of the machine.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Version 1: controller to mount point. Empty on version 2.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Tree {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    /// [`CgroupError::NotMounted`].
    pub fn detect() -> Result<Self, CgroupError> {
        let found = Self::from_mountinfo(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        if found.v1.is_empty() && found.v2.is_none() { Err(CgroupError::NotMounted) } else { Ok(found) }
    }

    /// A version 2 hierarchy whose root is any directory: for tests, and for a subtree that someone delegated.
    pub fn v2_at(root: &Path) -> Self {
        Self { v1: BTreeMap::new(), v2: Some(root.to_path_buf()) }
    }

    fn from_mountinfo(text: &str) -> Self {
        let mut found = Self { v1: BTreeMap::new(), v2: None };
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(place) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) if found.v2.is_none() => found.v2 = Some(place),
                (Some("cgroup"), Some(options)) => {
                    let names = options.split(',').filter(|option| !NO_CONTROLLERS.contains(option));
                    found.v1.extend(names.map(|name| (name.to_owned(), place.clone())));
                }
                _ => {}
            }
        }
        found
    }

    /// Whether limits are written through version 2.
    pub fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }

    /// Each hierarchy once, by the name that it has below `/sys/fs/cgroup`; version 2 alone has none.
    pub fn hierarchies(&self) -> Vec<(String, PathBuf)> {
        if let (true, Some(v2)) = (self.is_v2(), &self.v2) {
            return vec![(String::new(), v2.clone())];
        }
        let name = |mount: &PathBuf| mount.file_name().map(|name| name.to_string_lossy().into_owned());
        let all = self.v1_mounts().into_iter().chain(&self.v2);
        all.map(|mount| (name(mount).unwrap_or_default(), mount.clone())).collect()
    }

    /// Each hierarchy of version 1 once: controllers may share one.
    fn v1_mounts(&self) -> Vec<&PathBuf> {
        let mut all: Vec<&PathBuf> = Vec::new();
        for mount in self.v1.values() {
            if !all.contains(&mount) {
                all.push(mount);
            }
        }
        all
    }

    /// The directories of a cgroup, each once.
    pub fn directories(&self, cgroup: &Path) -> Vec<PathBuf> {
        self.hierarchies().into_iter().map(|(_, mount)| mount.join(relative(cgroup))).collect()
    }

    /// The directory of a cgroup in a controller's hierarchy.
    pub fn directory(&self, controller: &str, cgroup: &Path) -> Option<PathBuf> {
        let mount = if self.is_v2() { self.v2.as_ref() } else { self.v1.get(controller) };
        mount.map(|mount| mount.join(relative(cgroup)))
    }

    /// Makes a cgroup in every hierarchy, ready to be joined; `false` when one has it already.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn create(&self, cgroup: &Path) -> Result<bool, CgroupError> {
        let mut is_new = true;
        for (name, mount) in self.hierarchies() {
            let mut directory = mount;
            for part in relative(cgroup).components() {
                let parent = directory.clone();
                directory.push(part);
                let made = crate::file::make(&directory)?;
                is_new &= made || directory.file_name() != cgroup.file_name();
                if name.split(',').any(|controller| controller == "cpuset") {
                    inherit_cpuset(&parent, &directory);
                }
            }
        }
        Ok(is_new)
    }

    /// Writes values, in order.
    ///
    /// # Errors
    /// A controller is missing, or the kernel refuses a value.
    pub fn set(&self, cgroup: &Path, settings: &[Setting]) -> Result<(), CgroupError> {
        if self.is_v2() {
            self.pass_down(cgroup, settings);
        }
        for Setting { controller, file, value } in settings {
            let Some(directory) = self.directory(controller, cgroup) else {
                return Err(CgroupError::ControllerNotMounted { controller: controller.clone(), file: file.clone() });
            };
            let mut place = directory.join(file);
            // Weights are those of a scheduler, and the file is named after it where it is not the old one (version 1).
            if let Some(rest) = file.strip_prefix("blkio.weight")
                && !place.exists()
            {
                let renamed = directory.join(format!("blkio.bfq.weight{rest}"));
                place = Some(renamed).filter(|renamed| renamed.exists()).unwrap_or(place);
            }
            write(&place, value)?;
        }
        Ok(())
    }

    /// Says which devices the processes of a cgroup may use; the last rule that speaks of an access decides.
    ///
    /// # Errors
    /// The controller is missing (version 1), or the kernel refuses a rule or the program (version 2).
    pub fn restrict_devices(&self, cgroup: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
        let missing =
            || CgroupError::ControllerNotMounted { controller: "devices".to_owned(), file: "devices.allow".to_owned() };
        let directory = self.directory("devices", cgroup).ok_or_else(missing)?;
        restrict(if self.is_v2() { Kind::V2 } else { Kind::V1 }, &directory, rules)
    }

    /// Enables what the settings need from the root down (version 2); what cannot be enabled fails when it is written.
    fn pass_down(&self, cgroup: &Path, settings: &[Setting]) {
        let Some(mut directory) = self.v2.clone() else { return };
        let mut wanted: Vec<&str> = settings.iter().map(|setting| setting.controller.as_str()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let parts: Vec<_> = relative(cgroup).components().map(|part| part.as_os_str().to_owned()).collect();
        for part in parts {
            for controller in wanted.iter().filter(|controller| !controller.is_empty()) {
                drop(write(&directory.join("cgroup.subtree_control"), &format!("+{controller}")));
            }
            directory.push(part);
        }
    }

    /// The way into a cgroup that exists, in every hierarchy.
    ///
    /// # Errors
    /// It does not exist.
    pub fn join(&self, cgroup: &Path) -> Result<Join, CgroupError> {
        self.join_below(cgroup, &[])
    }

    /// The same with other cgroups in the hierarchies of some controllers, or in all.
    ///
    /// # Errors
    /// One does not exist, or there is no such controller.
    pub fn join_below(&self, cgroup: &Path, below: &[(Option<String>, PathBuf)]) -> Result<Join, CgroupError> {
        let mut mounts: Vec<(&PathBuf, &Path)> = self.v1_mounts().into_iter().map(|mount| (mount, cgroup)).collect();
        let mut v2 = self.v2.as_ref().map(|mount| (mount, cgroup));
        for (controller, place) in below {
            let Some(name) = controller else {
                mounts.iter_mut().chain(&mut v2).for_each(|(_, chosen)| *chosen = place);
                continue;
            };
            let unknown = || CgroupError::ControllerNotMounted { controller: name.clone(), file: "tasks".to_owned() };
            let mount = self.v1.get(name).ok_or_else(unknown)?;
            mounts.iter_mut().filter(|(known, _)| *known == mount).for_each(|(_, chosen)| *chosen = place);
        }
        let of = |(mount, place): (&PathBuf, &Path)| mount.join(relative(place));
        Join::new(mounts.into_iter().map(of).collect(), v2.map(of))
    }

    /// The processes of a cgroup and of those below it.
    pub fn processes(&self, cgroup: &Path) -> Vec<i32> {
        let pids = self.directory("pids", cgroup);
        let first = pids.or_else(|| self.directories(cgroup).into_iter().next());
        first.map(|directory| processes(&directory)).unwrap_or_default()
    }

    /// Stops every process of a cgroup where it is, or lets them go on.
    ///
    /// # Errors
    /// There is no freezer, or it does not finish.
    pub fn freeze(&self, cgroup: &Path, frozen: bool) -> Result<(), CgroupError> {
        let directory = self.directory("freezer", cgroup).ok_or(CgroupError::NotMounted)?;
        crate::hierarchy::freeze(self.is_v2(), &directory, frozen)
    }

    /// Lets a process go on wherever version 1 has frozen it: before that it cannot even be killed.
    pub fn thaw_process(&self, pid: u32) {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let place = text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|one| one == "freezer").then_some(path)
        });
        if let Some(directory) = place.and_then(|place| self.directory("freezer", Path::new(place)))
            && !self.is_v2()
        {
            // A process that has just ended is in no cgroup, and one that is not frozen goes on as it is.
            drop(write(&directory.join("freezer.state"), "THAWED"));
        }
    }

    /// Whether every process of a cgroup is stopped.
    pub fn is_frozen(&self, cgroup: &Path) -> bool {
        self.directory("freezer", cgroup).is_some_and(|directory| crate::hierarchy::is_frozen(self.is_v2(), &directory))
    }

    /// A file's text; `None` where the machine has no such controller or file.
    pub fn text(&self, controller: &str, cgroup: &Path, file: &str) -> Option<String> {
        read(&self.directory(controller, cgroup)?.join(file)).ok()
    }

    /// Waits until no process is left, half a second at most.
    pub fn wait_empty(&self, cgroup: &Path) {
        let start = Instant::now();
        while !self.processes(cgroup).is_empty() && start.elapsed() < Duration::from_millis(500) {
            if let Some(directory) = self.directory("pids", cgroup) {
                wait_for_change(&directory);
            }
        }
    }

    /// Removes a cgroup from every hierarchy.
    ///
    /// # Errors
    /// A process is still in it.
    pub fn remove(&self, cgroup: &Path) -> Result<(), CgroupError> {
        let start = Instant::now();
        self.directories(cgroup).iter().try_for_each(|directory| remove_patiently(directory, start).map(drop))
    }
}

/// Options of a version 1 mount that are no controllers.
const NO_CONTROLLERS: [&str; 6] = ["rw", "ro", "xattr", "clone_children", "noprefix", "none"];

fn relative(cgroup: &Path) -> &Path {
    cgroup.strip_prefix("/").unwrap_or(cgroup)
}

/// A new cpuset is empty, whoever has made it, and nothing can join an empty one (cpuset(7)).
pub(crate) fn inherit_cpuset(parent: &Path, child: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let is_empty = read(&child.join(file)).is_ok_and(|value| value.trim().is_empty());
        if let (true, Ok(value)) = (is_empty, read(&parent.join(file))) {
            drop(write(&child.join(file), value.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_counts_once() {
        let text = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                    32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let tree = Tree::from_mountinfo(text);
        assert!(!tree.is_v2());
        let names: Vec<String> = tree.hierarchies().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "systemd", "unified"]);
        assert_eq!(tree.directory("cpuacct", Path::new("/a/b")), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a/b")));
        assert_eq!(tree.directory("hugetlb", Path::new("/a")), None);
    }
}
