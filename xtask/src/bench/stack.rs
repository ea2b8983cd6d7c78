//! `stack`, with a store and a run directory of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::docker::Docker;
use super::{Side, memory};
use crate::run::{self, program};

/// Lower bound of the journal's bucket in which stalls of the kernel fall: moving or deleting a veth, the first
/// migration into a cgroup.
const STALL_MICROS: u64 = 1 << 14;

/// The program as it is released.
#[derive(Debug)]
pub(crate) struct Stack {
    binary: PathBuf,
    root: PathBuf,
    /// In memory, as `/run` is on an installed system, and as the other side has it.
    run: tempfile::TempDir,
}

impl Stack {
    /// Loads the images: those that docker has, else ones made from this machine's busybox.
    pub(crate) fn prepare(
        binary: &Path,
        directory: &Path,
        docker: Option<&Docker>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let run = tempfile::Builder::new().prefix("stack-bench-").tempdir_in("/dev/shm")?;
        let stack = Self { binary: binary.to_path_buf(), root: directory.join("root"), run };
        let archive = directory.join("images.tar");
        match docker {
            Some(docker) => docker.save(&archive)?,
            None => super::archive::write(&archive)?,
        }
        run::run(stack.program().arg("load").arg(&archive))?;
        Ok(stack)
    }

    fn layout(&self) -> stack_model::Layout {
        stack_model::Layout { root: self.root.clone(), run: self.run.path().to_path_buf() }
    }

    fn program(&self) -> Command {
        let mut command = program(&self.binary);
        command.env("STACK_ROOT", &self.root).env("STACK_RUN", self.run.path()).env("NO_COLOR", "1");
        command
    }

    fn supervises(&self, process: &memory::Process) -> bool {
        process.arguments.contains(&self.run.path().to_string_lossy().into_owned())
    }

    /// The cgroups of a project's containers in a hierarchy that has this file.
    fn cgroups(&self, project: &Path, file: &str) -> Vec<PathBuf> {
        let layout = self.layout();
        let name = project.file_name().unwrap_or_default().to_string_lossy();
        let cgroup = layout.cgroup(&stack_model::ProjectName::new(name));
        let scope = format!("{}.scope", cgroup.to_string_lossy().replace('/', "-"));
        let mounts = ["memory", "", "system.slice"].map(|mount| Path::new("/sys/fs/cgroup").join(mount));
        let places = mounts.iter().map(|mount| mount.join(&cgroup)).chain([mounts[2].join(scope)]);
        let leaves = places.flat_map(|place| fs_err::read_dir(place).into_iter().flatten().flatten());
        leaves.map(|entry| entry.path().join(file)).filter(|file| file.is_file()).collect()
    }
}

impl Side for Stack {
    fn name(&self) -> &'static str {
        "stack"
    }

    fn command(&self, project: &Path, words: &[&str]) -> Command {
        let mut command = self.program();
        command.current_dir(project).args(["--progress", "quiet"]).args(words);
        command
    }

    fn helper_memory(&self) -> u64 {
        let is_supervisor = |process: &memory::Process| self.supervises(process);
        let supervisors: Vec<u32> = memory::processes().filter(is_supervisor).map(|process| process.pid).collect();
        memory::of(|process| {
            // Processes of containers are children of the supervisor too, but run programs of their images.
            let is_child = supervisors.contains(&process.parent)
                && (process.executable.contains("/stack") || process.executable.contains("memfd:"));
            is_child || is_supervisor(process)
        })
    }

    fn supervisor_memory(&self) -> Option<u64> {
        Some(memory::of(|process| self.supervises(process)))
    }

    fn memory_limit(&self, project: &Path) -> Option<u64> {
        let limits = [self.cgroups(project, "memory.limit_in_bytes"), self.cgroups(project, "memory.max")].concat();
        fs_err::read_to_string(limits.first()?).ok()?.trim().parse().ok()
    }

    fn processes(&self, project: &Path) -> Vec<u32> {
        let files = self.cgroups(project, "cgroup.procs");
        let first = |file: &PathBuf| fs_err::read_to_string(file).ok()?.lines().next()?.parse().ok();
        files.iter().filter_map(first).collect()
    }

    fn stalls(&self, project: &Path) -> Option<u64> {
        let name = stack_model::ProjectName::new(project.file_name()?.to_string_lossy());
        let journal = self.layout().project(&name).join("journal.json");
        let journal: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(journal).ok()?).ok()?;
        // Kinds of steps, each with pairs of a lower bound in microseconds and a count.
        let kinds = journal["latency"].as_object()?.values().filter_map(serde_json::Value::as_object);
        let slow = kinds.flatten().filter(|(floor, _)| floor.parse().is_ok_and(|floor: u64| floor >= STALL_MICROS));
        Some(slow.filter_map(|(_, count)| count.as_u64()).sum())
    }

    fn needs_command(&self) -> bool {
        false
    }
}
