//! Controllers that only some containers need. A container joins them when one of its limits asks, so that all others
//! do not pay for them.

use std::path::{Path, PathBuf};

use fs_err as fs;
use stack_model::{Blkio, Limits};

use crate::CgroupError;
use crate::detect::{Hierarchy, Kind};
use crate::file::{make, read, write};
use crate::hierarchy::{enable, processes};
use crate::tree::inherit_cpuset;

/// Looks at the processes of a cgroup that may still be forking, until none is new.
const ROUNDS: u32 = 10;

/// The names of these controllers on version 1; on version 2 `blkio` is `io`.
pub(crate) const V1: [&str; 2] = ["cpuset", "blkio"];

/// What the limits need.
pub(crate) fn needed(limits: &Limits, kind: Kind) -> Vec<&'static str> {
    let block = if kind == Kind::V1 { "blkio" } else { "io" };
    let needs = [(limits.cpuset.is_some(), "cpuset"), (limits.blkio != Blkio::default(), block)];
    needs.into_iter().filter(|(needs, _)| *needs).map(|(_, name)| name).collect()
}

impl Hierarchy {
    /// The directories of a cgroup in these controllers' hierarchies, whether or not they exist. None on version 2,
    /// where everything is one directory.
    pub(crate) fn further_directories(&self, cgroup: &Path) -> Vec<PathBuf> {
        let own = self.directories(cgroup);
        let all = V1.iter().filter(|_| self.kind() == Kind::V1).filter_map(|name| self.directory(name, cgroup));
        all.filter(|directory| !own.contains(directory)).collect()
    }

    /// Makes a cgroup part of these controllers, with the processes that it has.
    pub(crate) fn extend(&self, cgroup: &Path, controllers: &[&'static str]) -> Result<(), CgroupError> {
        for controller in controllers {
            let Some(mount) = self.mount(controller).map(Path::to_path_buf) else {
                let file = if *controller == "cpuset" { "cpuset.cpus" } else { "a rate of a device" };
                return Err(CgroupError::ControllerMissing { controller, file });
            };
            match self.kind() {
                Kind::V1 => {
                    let is_new = make_all(&mount, cgroup, *controller == "cpuset")?;
                    if is_new {
                        self.move_in(cgroup, &mount.join(cgroup).join("cgroup.procs"))?;
                    }
                }
                Kind::V2 => self.pass_down(cgroup, controller)?,
            }
        }
        Ok(())
    }

    fn move_in(&self, cgroup: &Path, procs: &Path) -> Result<(), CgroupError> {
        let Some(directory) = self.directory("pids", cgroup) else { return Ok(()) };
        for _ in 0..ROUNDS {
            let inside = processes(procs.parent().unwrap_or(procs));
            let outside: Vec<i32> = processes(&directory).into_iter().filter(|pid| !inside.contains(pid)).collect();
            if outside.is_empty() {
                return Ok(());
            }
            for pid in outside {
                match write(procs, &pid.to_string()) {
                    // It has ended meanwhile.
                    Err(CgroupError::Write { source, .. }) if source.raw_os_error() == Some(nix::libc::ESRCH) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    /// On version 2 a controller has to be passed on by every directory above.
    fn pass_down(&self, cgroup: &Path, controller: &'static str) -> Result<(), CgroupError> {
        let Some(leaf) = self.directory("", cgroup) else { return Err(CgroupError::NotMounted) };
        let Some(root) = self.mount("") else { return Err(CgroupError::NotMounted) };
        let above: Vec<&Path> = leaf.ancestors().skip(1).take_while(|directory| directory.starts_with(root)).collect();
        above.into_iter().rev().try_for_each(|directory| enable(directory, &[controller]))
    }

    /// Weights and rates of block devices, and an end to those that stand in the kernel and nowhere else.
    pub(crate) fn write_blkio(&self, cgroup: &Path, blkio: &Blkio) -> Result<(), CgroupError> {
        let controller = if self.kind() == Kind::V1 { "blkio" } else { "io" };
        let Some(directory) = self.directory(controller, cgroup).filter(|directory| directory.exists()) else {
            return Ok(());
        };
        for (file, lines) in rates(blkio, self.kind())? {
            reset(&directory.join(file), &lines, self.kind())?;
            lines.iter().try_for_each(|line| write(&directory.join(file), &line.text()))?;
        }
        let (weights, default) = match self.kind() {
            Kind::V1 => (["blkio.bfq.weight", "blkio.weight"].as_slice(), 500),
            Kind::V2 => (["io.bfq.weight"].as_slice(), 100),
        };
        for file in weights.iter().map(|file| directory.join(file)).filter(|file| file.exists()) {
            write(&file, &blkio.weight.unwrap_or(default).to_string())?;
            let own = if self.kind() == Kind::V1 { file.with_extension("weight_device") } else { file };
            for line in
                numbered(&blkio.weight_device.iter().map(|(path, weight)| (path, u64::from(*weight))).collect())?
            {
                write(&own, &line.text())?;
            }
        }
        Ok(())
    }
}

/// Makes a cgroup; `true` when it was not there.
fn make_all(mount: &Path, cgroup: &Path, is_cpuset: bool) -> Result<bool, CgroupError> {
    let (mut directory, mut is_new) = (mount.to_path_buf(), false);
    for part in cgroup.components() {
        let parent = directory.clone();
        directory.push(part);
        is_new = make(&directory)?;
        if is_new && is_cpuset {
            inherit_cpuset(&parent, &directory);
        }
    }
    Ok(is_new)
}

/// `8:0 1048576`, or on version 2 `8:0 rbps=1048576`.
struct Line {
    device: String,
    key: &'static str,
    value: u64,
}

impl Line {
    fn text(&self) -> String {
        let equals = if self.key.is_empty() { "" } else { "=" };
        format!("{} {}{equals}{}", self.device, self.key, self.value)
    }
}

fn rates(blkio: &Blkio, kind: Kind) -> Result<Vec<(&'static str, Vec<Line>)>, CgroupError> {
    let Blkio { weight: _, weight_device: _, read_bps, write_bps, read_iops, write_iops } = blkio;
    let tables = [
        ("blkio.throttle.read_bps_device", "rbps", read_bps),
        ("blkio.throttle.write_bps_device", "wbps", write_bps),
        ("blkio.throttle.read_iops_device", "riops", read_iops),
        ("blkio.throttle.write_iops_device", "wiops", write_iops),
    ];
    let mut files = Vec::new();
    for (file, key, table) in tables {
        let lines = numbered(&table.iter().map(|(path, rate)| (path, *rate)).collect())?;
        match kind {
            Kind::V1 => files.push((file, lines)),
            Kind::V2 => {
                if files.is_empty() {
                    files.push(("io.max", Vec::new()));
                }
                files[0].1.extend(lines.into_iter().map(|line| Line { key, ..line }));
            }
        }
    }
    Ok(files)
}

/// The kernel knows devices by number.
fn numbered(table: &Vec<(&PathBuf, u64)>) -> Result<Vec<Line>, CgroupError> {
    let line = |(path, value): &(&PathBuf, u64)| {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let failed = |source| CgroupError::Read { path: path.to_path_buf(), source };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.file_type().is_block_device() {
            return Err(failed(std::io::Error::other("it is no block device")));
        }
        let number = metadata.rdev();
        let device = format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
        Ok(Line { device, key: "", value: *value })
    };
    table.iter().map(line).collect()
}

/// Ends the rates of devices that the file no longer names.
fn reset(file: &Path, lines: &[Line], kind: Kind) -> Result<(), CgroupError> {
    let held = match read(file) {
        Ok(held) => held,
        Err(CgroupError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for device in held.lines().filter_map(|line| line.split_whitespace().next()) {
        match kind {
            Kind::V2 => write(file, &format!("{device} rbps=max wbps=max riops=max wiops=max"))?,
            Kind::V1 if lines.iter().any(|line| line.device == device) => {}
            Kind::V1 => write(file, &format!("{device} 0"))?,
        }
    }
    Ok(())
}

/// Removes what is left of a project above its containers.
pub(crate) fn remove_above(hierarchy: &Hierarchy, top: &Path) {
    // Other projects keep it.
    hierarchy.further_directories(top).iter().for_each(|directory| drop(fs::remove_dir(directory)));
}
