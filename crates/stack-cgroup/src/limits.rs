//! Writing limits under running processes, and reading back what the kernel holds.

use std::io;
use std::path::Path;

use stack_model::{Bytes, Limits, NanoCpus};

use crate::CgroupError;
use crate::detect::{Hierarchy, Kind};
use crate::file::{read, write};
use crate::further::{self, needed};
use crate::render::{ANY_CPU, Write, render, with_swap};

/// v1 shows "no limit" as the largest multiple of the page size; nobody has an exbibyte.
const UNLIMITED: u64 = 1 << 60;

impl Hierarchy {
    /// Makes a cgroup hold exactly `limits`, under the processes that are in it. A memory limit below what they use
    /// is refused before anything is changed: the kernel would kill one of them (v2) or hold the old limit (v1).
    ///
    /// # Errors
    /// A controller that a limit needs is missing, or the kernel refuses the value.
    pub fn write_limits(&self, cgroup: &Path, limits: &Limits) -> Result<(), CgroupError> {
        if let (Kind::V2, Some(limit)) = (self.kind(), limits.memory) {
            let usage = self.pinned(cgroup);
            if usage > limit && !has_swap() {
                return Err(CgroupError::BelowUsage { limit, usage });
            }
        }
        self.extend(cgroup, &needed(limits, self.kind()))?;
        let mut writes = render(limits, self.kind());
        let mut result = self.write_all(cgroup, &writes);
        if self.kind() == Kind::V1 && refused(&result, nix::libc::EINVAL) {
            // Memory may not exceed memory and swap at any moment: when both grow, the second has to go first, when
            // both shrink, the first. Whichever order is wrong, the other one is right.
            writes.swap(0, 1);
            result = self.write_all(cgroup, &writes);
        }
        match limits.memory {
            Some(limit) if refused(&result, nix::libc::EBUSY) => {
                let usage = self.number(cgroup, "memory", "memory.usage_in_bytes")?.unwrap_or(0);
                return Err(CgroupError::BelowUsage { limit, usage: Bytes(usage) });
            }
            _ => result?,
        }
        self.write_blkio(cgroup, &limits.blkio)
    }

    pub(crate) fn write_all(&self, cgroup: &Path, writes: &[Write]) -> Result<(), CgroupError> {
        for Write { controller, file, value, optional, .. } in writes {
            let missing = CgroupError::ControllerMissing { controller, file };
            let result = match self.directory(controller, cgroup) {
                // It has never asked for this controller.
                Some(directory) if *optional && further::V1.contains(controller) && !directory.exists() => Ok(()),
                Some(directory) => self.write_one(&directory, file, value),
                None => Err(missing),
            };
            match result {
                Err(CgroupError::ControllerMissing { .. }) if *optional => {}
                Err(CgroupError::Write { source, path, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    if path.parent().is_some_and(|directory| !directory.exists()) {
                        return Err(CgroupError::Directory { path, source });
                    }
                    if !optional {
                        return Err(CgroupError::ControllerMissing { controller, file });
                    }
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Writes one value. A cpuset of v1, and one of v2 that had processors of its own and has processes, has to have some
    /// (`validate_change`, kernel/cgroup/cpuset.c): without a limit those of the cgroup above.
    fn write_one(&self, directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
        let place = directory.join(file);
        match directory.parent().filter(|_| value == ANY_CPU) {
            Some(above) if self.kind() == Kind::V1 => write(&place, read(&above.join(file))?.trim()),
            Some(above) => match write(&place, value) {
                Err(CgroupError::Write { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                    write(&place, read(&above.join(format!("{file}.effective")))?.trim())
                }
                result => result,
            },
            None => write(&place, value),
        }
    }

    /// What the kernel holds of memory, processor time and processes; a value that stands for "no limit" is `None`, and
    /// so is the swap that comes with memory.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn limits(&self, cgroup: &Path) -> Result<Limits, CgroupError> {
        let number = |controller, file| self.number(cgroup, controller, file);
        let (memory, both, reservation, quota) = match self.kind() {
            Kind::V1 => (
                number("memory", "memory.limit_in_bytes")?,
                number("memory", "memory.memsw.limit_in_bytes")?,
                number("memory", "memory.soft_limit_in_bytes")?,
                number("cpu", "cpu.cfs_quota_us")?,
            ),
            Kind::V2 => {
                let memory = number("memory", "memory.max")?;
                let both = number("memory", "memory.swap.max")?.map(|swap| swap + memory.unwrap_or(0));
                let reservation = number("memory", "memory.low")?.filter(|low| *low > 0);
                (memory, both, reservation, number("cpu", "cpu.max")?)
            }
        };
        let memory = memory.map(Bytes);
        Ok(Limits {
            memory,
            memory_and_swap: both.map(Bytes).filter(|both| memory.map(with_swap) != Some(*both)),
            memory_reservation: reservation.map(Bytes),
            cpus: quota.map(|micros| NanoCpus(micros * 10_000)),
            pids: number("pids", "pids.max")?.and_then(|pids| i64::try_from(pids).ok()),
            ..Limits::default()
        })
    }

    /// How many processes of the cgroup the kernel has killed for memory.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn out_of_memory_kills(&self, cgroup: &Path) -> Result<u64, CgroupError> {
        let file = match self.kind() {
            Kind::V1 => "memory.oom_control",
            Kind::V2 => "memory.events",
        };
        let text = self.text(cgroup, "memory", file)?.unwrap_or_default();
        Ok(field(&text, "oom_kill").unwrap_or(0))
    }

    /// The most memory that the cgroup has used.
    ///
    /// # Errors
    /// The cgroup is gone, or the kernel is older than 5.19 (v2).
    pub fn memory_peak(&self, cgroup: &Path) -> Result<Bytes, CgroupError> {
        let file = match self.kind() {
            Kind::V1 => "memory.max_usage_in_bytes",
            Kind::V2 => "memory.peak",
        };
        Ok(Bytes(self.number(cgroup, "memory", file)?.unwrap_or(0)))
    }

    /// Memory that the kernel cannot drop without swap: anonymous pages, and those of the kernel itself.
    fn pinned(&self, cgroup: &Path) -> Bytes {
        let text = self.text(cgroup, "memory", "memory.stat").ok().flatten().unwrap_or_default();
        let parts = ["anon", "shmem", "kernel_stack", "pagetables", "slab_unreclaimable"];
        Bytes(parts.iter().filter_map(|name| field(&text, name)).sum())
    }

    /// The first number of a file; `None` for "no limit", and where the machine has no such file.
    fn number(&self, cgroup: &Path, controller: &'static str, file: &str) -> Result<Option<u64>, CgroupError> {
        let text = self.text(cgroup, controller, file)?.unwrap_or_default();
        let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
        Ok(first.filter(|value| *value < UNLIMITED))
    }

    /// A file; `None` where the machine has no such controller or accounting.
    pub(crate) fn text(&self, cgroup: &Path, controller: &str, file: &str) -> Result<Option<String>, CgroupError> {
        let Some(directory) = self.directory(controller, cgroup) else { return Ok(None) };
        match read(&directory.join(file)) {
            Err(CgroupError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound && directory.exists() => {
                Ok(None)
            }
            result => result.map(Some),
        }
    }
}

fn refused(result: &Result<(), CgroupError>, number: i32) -> bool {
    matches!(result, Err(CgroupError::Write { source, .. }) if source.raw_os_error() == Some(number))
}

/// The number behind a name in a flat keyed file.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.and_then(|value| value.trim().parse().ok())
}

/// The machine can put anonymous pages elsewhere (proc(5): a heading, then one line each).
fn has_swap() -> bool {
    fs_err::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, Hierarchy) {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir(root.path().join("c1")).unwrap();
        for (name, text) in files {
            fs_err::write(root.path().join("c1").join(name), text).unwrap();
        }
        let hierarchy = Hierarchy::v2_at(root.path());
        (root, hierarchy)
    }

    #[test]
    fn v2_values_are_read_back_as_limits() {
        let (_root, hierarchy) = fake(&[
            ("memory.max", "67108864\n"),
            ("memory.swap.max", "67108864\n"),
            ("memory.low", "0\n"),
            ("cpu.max", "50000 100000\n"),
            ("pids.max", "max\n"),
            ("memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 1\n"),
        ]);
        let limits = hierarchy.limits(Path::new("c1")).unwrap();
        let expected = Limits { memory: Some(Bytes(64 << 20)), cpus: Some(NanoCpus(500_000_000)), ..Limits::default() };
        assert_eq!(limits, expected);
        assert_eq!(hierarchy.out_of_memory_kills(Path::new("c1")).unwrap(), 3);
    }

    #[test]
    fn v2_refuses_memory_below_what_cannot_be_dropped_and_changes_nothing() {
        let (root, hierarchy) =
            fake(&[("memory.stat", "anon 5000000\nfile 9000000\nshmem 10\n"), ("memory.max", "max\n")]);
        let limits = Limits { memory: Some(Bytes(4 << 20)), ..Limits::default() };
        let error = hierarchy.write_limits(Path::new("c1"), &limits).unwrap_err();
        assert_eq!(error.to_string(), "the memory limit of 4m is below the 5000010 bytes in use");
        assert_eq!(fs_err::read_to_string(root.path().join("c1/memory.max")).unwrap(), "max\n");
    }

    #[test]
    fn a_cgroup_that_is_gone_is_not_a_missing_controller() {
        let (_root, hierarchy) = fake(&[]);
        let error = hierarchy.write_limits(Path::new("c2"), &Limits::default()).unwrap_err();
        assert!(matches!(error, CgroupError::Directory { .. }), "{error}");
    }
}
