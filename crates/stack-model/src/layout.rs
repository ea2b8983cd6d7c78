//! Where things lie on disk. The one place that knows; nothing else joins paths below the two roots.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ContainerId, ProjectName, VolumeName, short_hex};

/// The store and the run directory of one installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// `--root`: images, layers, volumes, projects. Survives a reboot.
    pub root: PathBuf,
    /// `--run-dir`: sockets, locks, FIFOs. Gone after a reboot.
    pub run: PathBuf,
}

impl Layout {
    /// The run directory that needs no word of its own in the names of kernel objects.
    pub const DEFAULT_RUN: &str = "/run/stack";

    /// Distinguishes kernel objects of projects with equal names under different run directories.
    pub fn instance(&self) -> String {
        match self.run.to_str() {
            Some(Self::DEFAULT_RUN) => String::new(),
            _ => short_hex(&[&self.run.to_string_lossy()], 6),
        }
    }

    /// An OCI image layout.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Unpacked layers, one directory per diff id.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// What lies below every image: places to mount on.
    pub fn mount_points(&self) -> PathBuf {
        self.root.join("mount-points")
    }

    /// What builds keep: steps made before, caches of RUN, and their work.
    pub fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The directory of a volume; its content is below [`Layout::volume_data`].
    pub fn volume(&self, name: &VolumeName) -> PathBuf {
        self.root.join("volumes").join(name.as_str())
    }

    /// What a container sees of a volume.
    pub fn volume_data(&self, name: &VolumeName) -> PathBuf {
        self.volume(name).join("_data")
    }

    /// One directory a project.
    pub fn projects(&self) -> PathBuf {
        self.root.join("projects")
    }

    /// What somebody agreed that projects may do with this machine, one file a project.
    pub fn trust(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// What outlives a reboot of one project.
    pub fn project(&self, project: &ProjectName) -> PathBuf {
        self.projects().join(project.as_str())
    }

    /// The record, writable layer and log of one container.
    pub fn container(&self, project: &ProjectName, id: &ContainerId) -> PathBuf {
        self.project(project).join("containers").join(id.as_str())
    }

    /// What a reboot may forget of one project.
    pub fn project_run(&self, project: &ProjectName) -> PathBuf {
        self.run.join("projects").join(project.as_str())
    }

    /// State, FIFOs and generated files of one container.
    pub fn container_run(&self, project: &ProjectName, id: &ContainerId) -> PathBuf {
        self.project_run(project).join("containers").join(id.as_str())
    }

    /// The supervisor's control socket.
    pub fn control_socket(&self, project: &ProjectName) -> PathBuf {
        self.project_run(project).join("control.sock")
    }

    /// What the last `up` of a project has read: files, directory, variables.
    pub fn source(&self, project: &ProjectName) -> PathBuf {
        self.project(project).join("source.json")
    }

    /// The lock that makes one process the supervisor of a project.
    pub fn lock(&self, project: &ProjectName) -> PathBuf {
        self.project_run(project).join("lock")
    }

    /// The cgroup of a project below the hierarchy's mount (v1) or the delegated subtree (v2).
    pub fn cgroup(&self, project: &ProjectName) -> PathBuf {
        let instance = self.instance();
        let top = if instance.is_empty() { "stack".to_owned() } else { format!("stack-{instance}") };
        Path::new(&top).join(project.as_str())
    }
}
