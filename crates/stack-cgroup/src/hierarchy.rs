//! Making, entering, emptying and removing cgroups.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack_model::Limits;

use crate::detect::{Hierarchy, Kind};
use crate::file::{make, read, write};
use crate::further::{needed, remove_above};
use crate::render::render;
use crate::{CgroupError, Devices, Join, devices, systemd};

/// The controllers of v2 that are passed down to containers.
const V2_CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// The leaf of a delegated scope that the supervisor sits in.
const SUPERVISOR: &str = "supervisor";
/// A killed process leaves its cgroup within milliseconds; one that is stuck in the kernel does not at all.
const EMPTY_MAX: Duration = Duration::from_millis(500);
/// How long freezing may take.
const FREEZE_MAX: Duration = Duration::from_secs(5);
/// Between two looks where the kernel tells nothing (v1).
const LOOK_MILLIS: u16 = 2;

impl Hierarchy {
    /// Makes the directory that holds the containers of a project; on v2 it passes the controllers down to it. Under
    /// systemd it is a scope that the calling process and its children move into, so that neither the end of a login
    /// session nor a restart of systemd touches the project (systemd.io/CGROUP_DELEGATION).
    ///
    /// # Errors
    /// A directory cannot be made, a controller is not available to us, or systemd refuses the scope.
    pub fn ensure_project(&self, project: &Path) -> Result<(), CgroupError> {
        if self.is_delegated() {
            return self.ensure_scope(project);
        }
        for directory in self.directories(project) {
            fs::create_dir_all(&directory)
                .map_err(|source| CgroupError::Directory { path: directory.clone(), source })?;
        }
        match (self.kind(), self.mount("")) {
            (Kind::V2, Some(root)) => delegate(root, project),
            _ => Ok(()),
        }
    }

    fn ensure_scope(&self, project: &Path) -> Result<(), CgroupError> {
        let Some(scope) = self.directories(project).pop() else { return Err(CgroupError::NotMounted) };
        systemd::ensure_scope(project, &scope)?;
        match settle_in(&scope) {
            // systemd was about to remove the empty scope of a project that has just ended.
            Err(error) if !scope.exists() => {
                systemd::ensure_scope(project, &scope)?;
                settle_in(&scope).map_err(|_| error)
            }
            result => result,
        }
    }

    /// Makes a container's cgroup with its limits and returns the way in. `cgroup` is relative to the hierarchies.
    ///
    /// # Errors
    /// A directory cannot be made or a limit cannot be set.
    pub fn create(&self, cgroup: &Path, limits: &Limits, allowed: Devices<'_>) -> Result<Join, CgroupError> {
        let is_new = match self.make_all(cgroup) {
            // The project's cgroup went away under us.
            Err(CgroupError::Directory { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.ensure_project(cgroup.parent().unwrap_or(cgroup))?;
                self.make_all(cgroup)?
            }
            result => result?,
        };
        self.extend(cgroup, &needed(limits, self.kind()))?;
        let mut writes = render(limits, self.kind());
        // What a new cgroup has anyway need not be written: it is a third of the cost of a container's cgroup.
        writes.retain(|write| !(is_new && write.neutral));
        self.write_all(cgroup, &writes)?;
        self.write_blkio(cgroup, &limits.blkio)?;
        if let (Some(directory), Devices::Usual { and }) = (self.directory("devices", cgroup), allowed) {
            devices::restrict(self.kind(), &directory, &devices::usual(and)?)?;
        }
        self.join(cgroup)
    }

    /// Makes a cgroup in every hierarchy; `true` when none of them had it.
    fn make_all(&self, cgroup: &Path) -> Result<bool, CgroupError> {
        let mut is_new = true;
        for directory in self.directories(cgroup) {
            is_new &= make(&directory)?;
        }
        Ok(is_new)
    }

    /// The way into a cgroup that exists.
    ///
    /// # Errors
    /// It does not exist.
    pub fn join(&self, cgroup: &Path) -> Result<Join, CgroupError> {
        let further = self.further_directories(cgroup).into_iter().filter(|directory| directory.exists());
        let all = self.directories(cgroup).into_iter().chain(further).collect();
        match self.kind() {
            Kind::V1 => Join::new(all, None),
            Kind::V2 => Join::new(Vec::new(), self.directory("", cgroup)),
        }
    }

    /// Kills every process of a cgroup and of those below it, and waits until they are gone. A cgroup that does not
    /// exist is empty.
    ///
    /// # Errors
    /// A process does not end: it hangs in the kernel.
    pub fn kill(&self, cgroup: &Path) -> Result<(), CgroupError> {
        let Some(directory) = self.directory("pids", cgroup).or_else(|| self.directory("memory", cgroup)) else {
            return Err(CgroupError::NotMounted);
        };
        if !directory.exists() {
            return Ok(());
        }
        // One write kills all at once, those that are just being born too (since Linux 5.14).
        let at_once = self.kind() == Kind::V2 && write(&directory.join("cgroup.kill"), "1").is_ok();
        let start = Instant::now();
        loop {
            let inside = processes(&directory);
            if inside.is_empty() {
                return Ok(());
            }
            if start.elapsed() > EMPTY_MAX {
                return Err(CgroupError::NotEmpty { path: directory, processes: inside });
            }
            if !at_once {
                // Between the reading and the signal a process may end; its number is not given away that soon.
                inside.iter().for_each(|pid| {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                });
            }
            wait_for_change(&directory);
        }
    }

    /// The processes of a cgroup and of those below it.
    pub fn processes(&self, cgroup: &Path) -> Vec<i32> {
        let directory = self.directory("pids", cgroup).or_else(|| self.directory("memory", cgroup));
        directory.map(|directory| processes(&directory)).unwrap_or_default()
    }

    /// Stops every process of a cgroup where it is, or lets them go on, and waits until it is so. A cgroup that does not
    /// exist has nothing to stop.
    ///
    /// # Errors
    /// There is no freezer, or a process hangs in the kernel.
    pub fn freeze(&self, cgroup: &Path, frozen: bool) -> Result<(), CgroupError> {
        let directory = self.directory("freezer", cgroup).ok_or(CgroupError::NotMounted)?;
        if !directory.exists() {
            return Ok(());
        }
        freeze(self.kind() == Kind::V2, &directory, frozen)
    }

    /// Whether the processes of a cgroup are stopped.
    pub fn is_frozen(&self, cgroup: &Path) -> bool {
        self.directory("freezer", cgroup).is_some_and(|directory| is_frozen(self.kind() == Kind::V2, &directory))
    }

    /// Removes a container's cgroup; `false` when it did not exist. Its processes must have been told to end: it waits
    /// half a second for them.
    ///
    /// # Errors
    /// A process is still in it.
    pub fn remove(&self, cgroup: &Path) -> Result<bool, CgroupError> {
        let start = Instant::now();
        let mut removed = false;
        for directory in self.directories(cgroup).into_iter().chain(self.further_directories(cgroup)) {
            removed |= remove_patiently(&directory, start)?;
        }
        Ok(removed)
    }

    /// Removes a project's cgroup, and the one above it when that was the last project. A scope of systemd is removed
    /// by systemd, when the supervisor has ended.
    ///
    /// # Errors
    /// A container is still in it.
    pub fn remove_project(&self, project: &Path) -> Result<(), CgroupError> {
        if self.is_delegated() {
            return Ok(());
        }
        self.remove(project)?;
        if let Some(top) = project.parent().filter(|top| !top.as_os_str().is_empty()) {
            // Other projects keep it.
            self.directories(top).iter().for_each(|directory| drop(fs::remove_dir(directory)));
            remove_above(self, top);
        }
        Ok(())
    }
}

/// Moves the caller, its children and whatever is in a scope itself into a leaf of it: a cgroup with processes of its
/// own cannot pass controllers on (cgroups(7), "no internal processes").
fn settle_in(scope: &Path) -> Result<(), CgroupError> {
    let leaf = scope.join(SUPERVISOR);
    make(&leaf)?;
    let leaf = leaf.join("cgroup.procs");
    let settled = read(&leaf)?;
    let inside = read(&scope.join("cgroup.procs"))?;
    let family: Vec<String> = systemd::family().iter().map(u32::to_string).collect();
    let movers = inside.lines().chain(family.iter().map(String::as_str));
    for pid in movers.filter(|pid| !settled.lines().any(|line| line == *pid)) {
        match write(&leaf, pid) {
            // It has ended meanwhile.
            Err(CgroupError::Write { source, .. }) if source.raw_os_error() == Some(nix::libc::ESRCH) => {}
            result => result?,
        }
    }
    enable(scope, &V2_CONTROLLERS)
}

/// Enables the controllers from the root down to `project`. The root may have processes; what is below must not, so
/// containers are leaves and the supervisor stays where it was started.
fn delegate(root: &Path, project: &Path) -> Result<(), CgroupError> {
    let mut directory = root.to_path_buf();
    enable(&directory, &V2_CONTROLLERS)?;
    for part in project.components() {
        directory.push(part);
        enable(&directory, &V2_CONTROLLERS)?;
    }
    Ok(())
}

/// Passes on those controllers that this cgroup has and does not pass on yet. One that is missing is no error before
/// a limit needs it.
pub(crate) fn enable(directory: &Path, controllers: &[&str]) -> Result<(), CgroupError> {
    let available = read(&directory.join("cgroup.controllers"))?;
    let file = directory.join("cgroup.subtree_control");
    let enabled = read(&file)?;
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing: Vec<String> = controllers
        .iter()
        .filter(|name| has(&available, name) && !has(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { write(&file, &missing.join(" ")) }
}

/// The processes of a cgroup and of those below it.
pub(crate) fn processes(directory: &Path) -> Vec<i32> {
    let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut all: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(processes(&entry.path()));
        }
    }
    all
}

/// Freezes the cgroup of a directory, or lets it go on (cgroups(7); freezer-subsystem of the kernel's documentation).
pub(crate) fn freeze(is_v2: bool, directory: &Path, frozen: bool) -> Result<(), CgroupError> {
    let (file, value) = match (is_v2, frozen) {
        (true, true) => ("cgroup.freeze", "1"),
        (true, false) => ("cgroup.freeze", "0"),
        (false, true) => ("freezer.state", "FROZEN"),
        (false, false) => ("freezer.state", "THAWED"),
    };
    write(&directory.join(file), value)?;
    let start = Instant::now();
    while is_frozen(is_v2, directory) != frozen {
        if start.elapsed() > FREEZE_MAX {
            return Err(CgroupError::NotEmpty { path: directory.to_path_buf(), processes: processes(directory) });
        }
        let _ = poll(&mut [], PollTimeout::from(LOOK_MILLIS));
    }
    Ok(())
}

pub(crate) fn is_frozen(is_v2: bool, directory: &Path) -> bool {
    if is_v2 {
        return read(&directory.join("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "frozen 1"));
    }
    read(&directory.join("freezer.state")).is_ok_and(|text| text.trim() == "FROZEN")
}

/// Waits until the population of a cgroup changes, or a moment where v1 does not tell.
pub(crate) fn wait_for_change(directory: &Path) {
    match fs::File::open(directory.join("cgroup.events")) {
        Ok(events) => {
            let mut watched = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            // A change before the poll is not seen: hence the short time.
            let _ = poll(&mut watched, PollTimeout::from(LOOK_MILLIS * 5));
        }
        Err(_) => {
            let _ = poll(&mut [], PollTimeout::from(LOOK_MILLIS));
        }
    }
}

pub(crate) fn remove_patiently(directory: &Path, start: Instant) -> Result<bool, CgroupError> {
    loop {
        match remove_tree(directory) {
            Err(CgroupError::Directory { source, .. })
                if source.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < EMPTY_MAX =>
            {
                wait_for_change(directory);
            }
            result => return result,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_passes_on_what_it_has_once() {
        let root = tempfile::tempdir().unwrap();
        for (directory, enabled) in [("", "cpu memory"), ("stack", ""), ("stack/shop", "cpu memory pids")] {
            let directory = root.path().join(directory);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.controllers"), "cpuset cpu io memory pids").unwrap();
            fs::write(directory.join("cgroup.subtree_control"), enabled).unwrap();
        }
        Hierarchy::v2_at(root.path()).ensure_project(Path::new("stack/shop")).unwrap();
        let written = |name: &str| fs::read_to_string(root.path().join(name).join("cgroup.subtree_control")).unwrap();
        // The kernel adds to the set; in this tree a write overwrites the first bytes.
        assert_eq!(written(""), "+pidsemory");
        assert_eq!(written("stack"), "+memory +cpu +pids");
        assert_eq!(written("stack/shop"), "cpu memory pids");
    }

    #[test]
    fn v2_without_a_controller_is_an_error_only_when_a_limit_needs_it() {
        let root = tempfile::tempdir().unwrap();
        let leaf = root.path().join("stack/shop/c1");
        fs::create_dir_all(&leaf).unwrap();
        fs::write(leaf.join("pids.max"), "").unwrap();
        let hierarchy = Hierarchy::v2_at(root.path());
        let cgroup = Path::new("stack/shop/c1");
        hierarchy.create(cgroup, &Limits::default(), Devices::All).unwrap();
        let limits = Limits { memory: Some(stack_model::Bytes(1 << 20)), ..Limits::default() };
        let error = hierarchy.create(cgroup, &limits, Devices::All).unwrap_err();
        assert!(matches!(error, CgroupError::ControllerMissing { controller: "memory", .. }), "{error}");
    }
}
