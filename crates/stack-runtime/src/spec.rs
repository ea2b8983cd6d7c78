//! What the new process is told: rendered data, nothing to look up or to decide.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stack_cgroup::{Hierarchy, Join};
use stack_model::{Container, Layout, ProjectName, ResolvedSource};

use crate::capabilities::{self, CapabilitySet};
use crate::seccomp::{self, Filter};

/// A file of the host that the container sees in place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedFile {
    /// Where it is.
    pub source: PathBuf,
    /// Absolute path inside the container.
    pub target: String,
    /// Without write permission.
    pub read_only: bool,
}

/// The system call filter of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The profile that Docker has by default.
    #[default]
    Standard,
    /// None.
    Unconfined,
}

/// How far a container is trusted, beyond its capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Security {
    /// A privileged container has no filter whatever this says.
    pub seccomp: Seccomp,
    /// No program gains rights by a set-user-ID bit or a file capability. Off unless asked for, as Docker and Podman
    /// have it: `sudo` and `su` of images would fail, and what such a program can gain is bounded by the container's
    /// capabilities anyway.
    pub no_new_privileges: bool,
}

/// What to start and with what.
#[derive(Debug)]
pub struct StartSpec<'a> {
    /// Where things lie.
    pub layout: &'a Layout,
    /// The project.
    pub project: &'a ProjectName,
    /// What was decided.
    pub container: &'a Container,
    /// Layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// The network namespace to be in; `None` is the host's.
    pub netns: Option<BorrowedFd<'a>>,
    /// Files of the run directory.
    pub files: Vec<GeneratedFile>,
    /// Where limits are written.
    pub hierarchy: &'a Hierarchy,
    /// The container's cgroup, relative to the hierarchies.
    pub cgroup: PathBuf,
    /// How far it is trusted.
    pub security: Security,
}

/// The orders of the new process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitSpec {
    /// Files to write its own process id to.
    pub(crate) cgroup_procs: Vec<PathBuf>,
    pub(crate) cgroup_views: Vec<CgroupView>,
    pub(crate) root: RootSpec,
    pub(crate) mounts: Vec<MountSpec>,
    pub(crate) hostname: String,
    pub(crate) privileged: bool,
    pub(crate) read_only: bool,
    pub(crate) run: PathBuf,
    pub(crate) stdin_open: bool,
    pub(crate) tty: bool,
    pub(crate) init: bool,
    pub(crate) process: ProcessSpec,
}

/// The container's own cgroup in one hierarchy, as it appears below `/sys/fs/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupView {
    /// The name of the hierarchy (`memory`, `cpu,cpuacct`); empty for version 2, which is `/sys/fs/cgroup` itself.
    pub(crate) hierarchy: String,
    pub(crate) directory: PathBuf,
}

/// The overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootSpec {
    /// The highest first, as overlayfs wants them.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Where it is mounted, in the new mount namespace only.
    pub(crate) mountpoint: PathBuf,
}

/// One mount into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountSpec {
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) source: MountKind,
}

/// What a [`MountSpec`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountKind {
    Bind { path: PathBuf, create: bool },
    Volume { path: PathBuf, copy: bool },
    Tmpfs { size: Option<u64>, mode: u32 },
}

/// What is executed and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<Filter>,
}

/// Renders the orders of a container's first process, which has to join the cgroup that it is not born in.
pub(crate) fn render(spec: &StartSpec<'_>, join: &Join) -> InitSpec {
    let StartSpec { layout, project, container, layers, files, cgroup, security, .. } = spec;
    let directory = layout.container(project, &container.id);
    InitSpec {
        cgroup_procs: if join.v2_dir.is_some() { Vec::new() } else { join.procs.clone() },
        cgroup_views: render_cgroup_views(join, cgroup),
        root: RootSpec {
            lower: layers.iter().rev().cloned().collect(),
            upper: directory.join("upper"),
            work: directory.join("work"),
            mountpoint: directory.join("rootfs"),
        },
        mounts: render_mounts(layout, container, files),
        hostname: container.process.hostname.clone(),
        privileged: container.spec.privileged,
        read_only: container.spec.read_only,
        run: layout.container_run(project, &container.id),
        stdin_open: container.spec.stdin_open,
        tty: container.spec.tty,
        init: container.spec.init,
        process: render_process(container, *security),
    }
}

/// From `/sys/fs/cgroup/memory/stack/shop/c9d1/cgroup.procs` to `memory`.
fn render_cgroup_views(join: &Join, cgroup: &Path) -> Vec<CgroupView> {
    let below = cgroup.components().count();
    let views = join.procs.iter().filter_map(|procs| {
        let directory = procs.parent()?;
        let hierarchy = if join.v2_dir.is_some() {
            String::new()
        } else {
            directory.ancestors().nth(below)?.file_name()?.to_str()?.to_owned()
        };
        Some(CgroupView { hierarchy, directory: directory.to_path_buf() })
    });
    views.collect()
}

/// What a container runs when it starts.
pub(crate) fn render_process(container: &Container, security: Security) -> ProcessSpec {
    let capabilities = capabilities::render(&container.spec);
    let confined = !container.spec.privileged && security.seccomp == Seccomp::Standard;
    let mut env = container.process.env.clone();
    if container.spec.tty && !env.iter().any(|(name, _)| name == "TERM") {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    if !env.iter().any(|(name, _)| name == "HOSTNAME") {
        env.push(("HOSTNAME".to_owned(), container.process.hostname.clone()));
    }
    ProcessSpec {
        argv: container.process.argv.clone(),
        env,
        cwd: container.process.cwd.clone(),
        user: container.process.user.clone(),
        capabilities,
        no_new_privileges: security.no_new_privileges,
        seccomp: if confined { seccomp::default_filter(capabilities) } else { None },
    }
}

/// Outer targets before inner ones, generated files in front of equals: a volume over `/etc` hides them, one on
/// `/etc/hosts` replaces ours.
fn render_mounts(layout: &Layout, container: &Container, files: &[GeneratedFile]) -> Vec<MountSpec> {
    let generated = files.iter().map(|file| MountSpec {
        target: file.target.clone(),
        read_only: file.read_only,
        source: MountKind::Bind { path: file.source.clone(), create: false },
    });
    let asked = container.mounts.iter().map(|mount| MountSpec {
        target: mount.target.clone(),
        read_only: mount.read_only,
        source: match &mount.source {
            ResolvedSource::Volume { name, copy } => MountKind::Volume { path: layout.volume_data(name), copy: *copy },
            ResolvedSource::Bind { path, create } => MountKind::Bind { path: path.clone(), create: *create },
            ResolvedSource::Tmpfs { size, mode } => MountKind::Tmpfs { size: size.map(|size| size.0), mode: *mode },
        },
    });
    let clean = |mount: MountSpec| MountSpec { target: clean_target(&mount.target), ..mount };
    let mut mounts: Vec<MountSpec> = generated.chain(asked).map(clean).collect();
    let depth = |mount: &MountSpec| Path::new(&mount.target).components().count();
    mounts.sort_by_key(depth);
    mounts
}

/// An absolute path without `.`, `..` and doubled slashes, so that what is made is what is mounted on.
fn clean_target(target: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_clean() {
        assert_eq!(clean_target("/data"), "/data");
        assert_eq!(clean_target("a//b/./../c/"), "/a/c");
        assert_eq!(clean_target("/../../etc"), "/etc");
        assert_eq!(clean_target("/"), "/");
    }

    #[test]
    fn hierarchies_are_named_by_their_mount_points() {
        let join = |paths: &[&str]| Join { procs: paths.iter().map(PathBuf::from).collect(), v2_dir: None };
        let v1 = join(&["/sys/fs/cgroup/cpu,cpuacct/stack/shop/c9/cgroup.procs"]);
        let views = render_cgroup_views(&v1, Path::new("stack/shop/c9"));
        assert_eq!(views[0].hierarchy, "cpu,cpuacct");
        assert_eq!(views[0].directory, Path::new("/sys/fs/cgroup/cpu,cpuacct/stack/shop/c9"));
    }
}
