//! docker compose, in a root of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Side, memory};
use crate::run::{self, program};

/// The processes of docker.
const HELPERS: [&str; 4] = ["dockerd", "containerd", "containerd-shim", "docker-proxy"];

/// docker behind a script that runs its arguments where it is installed.
#[derive(Debug)]
pub(crate) struct Docker {
    script: PathBuf,
}

impl Docker {
    /// Starts dockerd and gives it both images.
    pub(crate) fn start(script: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        run::run(program(script).arg("--dockerd"))?;
        run::run(program(script).arg("--busybox"))?;
        let docker = Self { script: script.to_path_buf() };
        let container = docker.run(&["docker", "create", super::compose::IMAGE])?;
        let change = format!("ENV {}", super::compose::OTHER_MARK);
        docker.run(&["docker", "commit", "-c", &change, container.trim(), super::compose::OTHER_IMAGE])?;
        docker.run(&["docker", "rm", container.trim()])?;
        Ok(docker)
    }

    /// The script that runs its arguments where docker is.
    pub(super) fn script(&self) -> &Path {
        &self.script
    }

    /// Writes both images into one archive.
    pub(crate) fn save(&self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let file = file.to_string_lossy();
        self.run(&["docker", "save", "-o", &file, super::compose::IMAGE, super::compose::OTHER_IMAGE])?;
        Ok(())
    }

    pub(super) fn run(&self, words: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
        run::output(program(&self.script).args(words))
    }

    /// A value of `docker inspect` for each container of a project.
    fn inspect(&self, project: &Path, format: &str) -> Vec<String> {
        let label = format!("label=com.docker.compose.project.working_dir={}", project.display());
        let Ok(list) = self.run(&["docker", "ps", "-q", "--filter", &label]) else { return Vec::new() };
        let ids: Vec<&str> = list.lines().collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let words = [&["docker", "inspect", "-f", format], ids.as_slice()].concat();
        self.run(&words).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Side for Docker {
    fn name(&self) -> &'static str {
        "docker compose"
    }

    fn command(&self, project: &Path, words: &[&str]) -> Command {
        let mut command = program(&self.script);
        command.args(["docker", "compose", "--progress", "quiet", "--project-directory"]).arg(project);
        command.arg("-f").arg(project.join("compose.yaml")).args(words);
        command
    }

    fn helper_memory(&self) -> u64 {
        memory::of(|process| HELPERS.iter().any(|name| process.name.starts_with(name)))
    }

    fn supervisor_memory(&self) -> Option<u64> {
        None
    }

    fn memory_limit(&self, project: &Path) -> Option<u64> {
        self.inspect(project, "{{.HostConfig.Memory}}").first()?.parse().ok()
    }

    fn processes(&self, project: &Path) -> Vec<u32> {
        self.inspect(project, "{{.State.Pid}}").iter().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn stalls(&self, _project: &Path) -> Option<u64> {
        None
    }

    fn needs_command(&self) -> bool {
        true
    }
}
