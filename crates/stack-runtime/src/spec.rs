//! What the new process is told: rendered data, nothing to look up or to decide.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stack_cgroup::{Hierarchy, Join};
use stack_model::{
    Below, Container, ContainerSpec, DiffId, Layout, Namespace, ProjectName, ResolvedSource, Seccomp, Ulimit,
};

use crate::capabilities::{self, Capabilities};
use crate::seccomp::{self, Filter};
use crate::{RuntimeError, oci};

/// What says too much about the host, or does too much to it. Docker's and Podman's list.
pub(crate) const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Bytes of `/dev/shm` when nobody says, as docker has it.
const SHM_BYTES: u64 = 64 << 20;
/// What getrlimit(2) knows.
const LIMITS: [(&str, u32); 15] = [
    ("core", nix::libc::RLIMIT_CORE),
    ("cpu", nix::libc::RLIMIT_CPU),
    ("data", nix::libc::RLIMIT_DATA),
    ("fsize", nix::libc::RLIMIT_FSIZE),
    ("locks", nix::libc::RLIMIT_LOCKS),
    ("memlock", nix::libc::RLIMIT_MEMLOCK),
    ("msgqueue", nix::libc::RLIMIT_MSGQUEUE),
    ("nice", nix::libc::RLIMIT_NICE),
    ("nofile", nix::libc::RLIMIT_NOFILE),
    ("nproc", nix::libc::RLIMIT_NPROC),
    ("rss", nix::libc::RLIMIT_RSS),
    ("rtprio", nix::libc::RLIMIT_RTPRIO),
    ("rttime", nix::libc::RLIMIT_RTTIME),
    ("sigpending", nix::libc::RLIMIT_SIGPENDING),
    ("stack", nix::libc::RLIMIT_STACK),
];
/// What may be read but not written.
pub(crate) const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

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
    /// Where the layers of images lie that are mounted.
    pub mounted_layers: BTreeMap<DiffId, PathBuf>,
    /// The network namespace to be in; `None` is the host's.
    pub netns: Option<BorrowedFd<'a>>,
    /// The process 1 of a running container whose processes it is among: its pidfd.
    pub pid_of: Option<BorrowedFd<'a>>,
    /// The same of a container whose IPC it has.
    pub ipc_of: Option<BorrowedFd<'a>>,
    /// Files of the run directory.
    pub files: Vec<GeneratedFile>,
    /// Where limits are written.
    pub hierarchy: &'a Hierarchy,
    /// The container's cgroup, relative to the hierarchies.
    pub cgroup: PathBuf,
}

/// The orders of the new process. Every path in them is the host's, except targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitSpec {
    /// What [`crate::init::join_cgroups`] writes to.
    pub(crate) cgroup_tasks: Vec<PathBuf>,
    pub(crate) namespaces: NamespaceSpec,
    pub(crate) root: RootSpec,
    /// `/proc`, `/dev` and `/sys` as every container of ours has them.
    pub(crate) system: Option<SystemSpec>,
    pub(crate) mounts: Vec<MountSpec>,
    /// Nodes and links of `/dev` to make after the mounts.
    pub(crate) devices: Option<Vec<DeviceSpec>>,
    pub(crate) masked: Vec<String>,
    pub(crate) protected: Vec<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Names with dots or slashes, and values.
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) streams: StreamSpec,
    /// A process 1 of ours stays in front.
    pub(crate) init: bool,
    pub(crate) hooks: HookSpecs,
    pub(crate) process: ProcessSpec,
}

/// Namespaces that the process makes itself once it is in its cgroups, beyond those that it is born in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceSpec {
    pub(crate) cgroup: bool,
    /// Lines of `/proc/self/timens_offsets`.
    pub(crate) time: Option<Vec<String>>,
    /// The mount namespace is the container's own: there are mounts to make.
    pub(crate) mount: bool,
}

/// Where standard input, output and error lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StreamSpec {
    /// The pipes in a run directory.
    Pipes { run: PathBuf, stdin_open: bool },
    /// A terminal that our process 1 holds; its pipes are not used.
    Front { run: PathBuf },
    /// Those that the process has, and this many descriptors after them.
    Inherited { preserved: i32 },
    /// A terminal whose master is handed on; columns and rows.
    Console { size: Option<(u16, u16)>, preserved: i32 },
}

impl StreamSpec {
    /// The descriptors that the program keeps.
    pub(crate) fn kept(&self) -> i32 {
        3 + match self {
            Self::Pipes { .. } | Self::Front { .. } => 0,
            Self::Inherited { preserved } | Self::Console { preserved, .. } => *preserved,
        }
    }
}

/// The system's own mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SystemSpec {
    pub(crate) cgroup_views: Vec<CgroupView>,
    /// `/sys` can be written.
    pub(crate) writable: bool,
    pub(crate) shm: ShmSpec,
}

/// What `/dev/shm` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ShmSpec {
    /// Memory of the container's own, so many bytes.
    Own(u64),
    /// The host's.
    Host,
    /// That of the container whose IPC it has.
    Shared,
    /// A directory like any other.
    Nothing,
}

/// Programs of the host's that run at certain steps, with the state as JSON on their standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HookSpecs {
    /// Before the root is entered.
    pub(crate) create_container: Vec<HookSpec>,
    /// Right before the program.
    pub(crate) start_container: Vec<HookSpec>,
    /// The state, without `pid` and `status`.
    pub(crate) state: serde_json::Map<String, serde_json::Value>,
}

/// One such program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HookSpec {
    pub(crate) path: PathBuf,
    /// With its name in front; empty means the path alone.
    pub(crate) argv: Vec<String>,
    /// Without one it is the runtime's.
    pub(crate) env: Option<Vec<String>>,
    pub(crate) timeout_seconds: Option<u64>,
}

/// A node of `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceSpec {
    pub(crate) path: String,
    /// `c`, `b` or `p`.
    pub(crate) kind: char,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Which of the copies that were made outside it is: in a user namespace nobody makes nodes.
    pub(crate) prepared: Option<usize>,
}

/// The container's own cgroup in one hierarchy, as it appears below `/sys/fs/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupView {
    /// The name of the hierarchy (`memory`, `cpu,cpuacct`); empty for version 2, which is `/sys/fs/cgroup` itself.
    pub(crate) hierarchy: String,
    pub(crate) directory: PathBuf,
}

/// The root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootSpec {
    pub(crate) source: RootSource,
    /// Where it is mounted, in the new mount namespace only.
    pub(crate) mountpoint: PathBuf,
    pub(crate) read_only: bool,
    /// How the host's mounts and ours know of each other: `MS_PRIVATE` and its like.
    pub(crate) propagation: u64,
    /// The same for the container's root, once it is entered.
    pub(crate) own_propagation: Option<u64>,
    /// The kernel refuses pivot_root(2) on the initial ramdisk.
    pub(crate) no_pivot: bool,
}

/// What the root filesystem is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RootSource {
    /// Layers, the highest first, as overlayfs wants them.
    Overlay { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
    /// The directory at the mount point.
    Directory,
}

/// One mount into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountSpec {
    pub(crate) target: String,
    pub(crate) source: MountKind,
    pub(crate) change: ChangeSpec,
}

/// How a mount differs from what it would be: bits of `MOUNT_ATTR_*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeSpec {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    /// The same for the mounts below too.
    pub(crate) all_set: u64,
    pub(crate) all_clear: u64,
    /// `MS_SHARED` and its like, and whether for the mounts below too.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// Which of the copies that were made outside is mounted: to map owners takes the host's capabilities.
    pub(crate) prepared: Option<usize>,
}

impl ChangeSpec {
    /// Everything below a mount, without write permission if asked.
    pub(crate) fn read_only(read_only: bool) -> Self {
        let all_set = if read_only { nix::libc::MOUNT_ATTR_RDONLY } else { 0 };
        Self { all_set, ..Self::default() }
    }
}

/// What a [`MountSpec`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountKind {
    Bind {
        path: PathBuf,
        create: bool,
        recursive: bool,
    },
    Volume {
        path: PathBuf,
        copy: bool,
    },
    /// A path inside a volume, which is resolved inside of it.
    Subpath {
        volume: PathBuf,
        path: String,
    },
    Filesystem {
        kind: String,
        options: Vec<(String, String)>,
        fill: Fill,
    },
    Cgroups {
        views: Vec<CgroupView>,
    },
    /// The layers of an image, the highest first, or a path in what they are together.
    Layers {
        layers: Vec<PathBuf>,
        path: Option<String>,
    },
    /// The mount that is there already, with further options of its filesystem.
    Remount {
        options: Vec<(String, String)>,
    },
}

/// What a fresh filesystem takes over from the directory it covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fill {
    #[default]
    Nothing,
    /// Its mode.
    Mode,
    /// Its mode and everything in it.
    Content,
}

/// What is executed and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: UserSpec,
    pub(crate) capabilities: Capabilities,
    pub(crate) limits: Vec<LimitSpec>,
    pub(crate) schedule: ScheduleSpec,
    pub(crate) no_new_privileges: bool,
    pub(crate) labels: LabelSpec,
    /// The first size of its terminal, in columns and rows, where that is not ours.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) seccomp: Option<Filter>,
}

/// Whose process it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UserSpec {
    /// `user[:group]` and further groups, for the container's own files to say.
    Named { user: String, groups: Vec<String> },
    Numbers {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
        /// The groups of whoever made the container stay, instead of these: a user namespace may have no names for them.
        keep_groups: bool,
        umask: Option<u32>,
    },
}

/// A limit of getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitSpec {
    /// `RLIMIT_*`.
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What a security module confines the program by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabelSpec {
    /// AppArmor's profile.
    pub(crate) apparmor: Option<String>,
    /// SELinux' context.
    pub(crate) selinux: Option<String>,
}

/// How the kernel treats the process among others; nothing is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleSpec {
    /// `/proc/self/oom_score_adj`.
    pub(crate) oom_score: Option<i32>,
    /// Class and level of ioprio_set(2).
    pub(crate) io_priority: Option<(u8, u16)>,
    /// Policy, nice value, priority, flags; runtime, deadline and period in nanoseconds.
    pub(crate) scheduler: Option<(u32, i32, u32, u64, [u64; 3])>,
    /// personality(2).
    pub(crate) personality: Option<u32>,
    /// Mode with flags, and the nodes' bits, of set_mempolicy(2).
    pub(crate) memory: Option<(u32, Vec<u64>)>,
    /// Processors of a program beside the first one, until it has joined the container and from then on. Empty leaves
    /// them.
    pub(crate) processors: [Vec<usize>; 2],
}

/// Renders the orders of a container's first process, which has to join the cgroup that it is not born in.
///
/// # Errors
/// Its profile of system calls is not one.
pub(crate) fn render(spec: &StartSpec<'_>, join: &Join, devices: Vec<DeviceSpec>) -> Result<InitSpec, RuntimeError> {
    let StartSpec { layout, project, container, layers, netns, cgroup, .. } = spec;
    let directory = layout.container(project, &container.id);
    let run = layout.container_run(project, &container.id);
    let privileged = container.spec.privileged;
    let shared = &container.spec.namespaces;
    let own_name = netns.is_some() && !shared.uts;
    let propagation = host_propagation(container);
    let open = privileged || container.spec.security.unmask;
    let hidden = |paths: &[&str]| paths.iter().filter(|_| !open).map(|path| (*path).to_owned()).collect();
    Ok(InitSpec {
        cgroup_tasks: join.tasks.clone(),
        namespaces: NamespaceSpec { cgroup: !shared.cgroup, time: None, mount: true },
        root: RootSpec {
            source: RootSource::Overlay {
                lower: layers.iter().rev().cloned().collect(),
                upper: directory.join("upper"),
                work: directory.join("work"),
            },
            // In the container's own view only, and nobody in there asks for what it covers.
            mountpoint: directory,
            read_only: container.spec.read_only,
            propagation,
            own_propagation: None,
            no_pivot: false,
        },
        system: Some(SystemSpec {
            cgroup_views: render_cgroup_views(join, cgroup),
            writable: privileged,
            shm: match shared.ipc {
                Namespace::Own if shared.without_shm => ShmSpec::Nothing,
                Namespace::Own => ShmSpec::Own(container.spec.shm_size.map_or(SHM_BYTES, |size| size.0)),
                Namespace::Host => ShmSpec::Host,
                Namespace::Service(_) => ShmSpec::Shared,
            },
        }),
        mounts: render_mounts(spec),
        devices: Some(devices).filter(|devices| !devices.is_empty()),
        masked: hidden(&MASKED),
        protected: hidden(&READ_ONLY),
        hostname: own_name.then(|| container.process.hostname.clone()),
        domainname: container.process.domainname.clone().filter(|_| own_name),
        sysctls: container.spec.sysctls.clone().into_iter().collect(),
        streams: if container.spec.tty {
            StreamSpec::Front { run }
        } else {
            StreamSpec::Pipes { run, stdin_open: container.spec.stdin_open }
        },
        init: container.spec.init,
        hooks: HookSpecs::default(),
        process: render_process(container)?,
    })
}

/// How the host's mounts and those of a new container know of each other: as far as one of its own asks.
fn host_propagation(container: &Container) -> u64 {
    let asked = |words: [&str; 2]| {
        container.mounts.iter().any(|mount| match &mount.source {
            ResolvedSource::Mounted { options, .. } => options.iter().any(|option| words.contains(&option.as_str())),
            ResolvedSource::Volume { .. }
            | ResolvedSource::Subpath { .. }
            | ResolvedSource::Bind { .. }
            | ResolvedSource::Tmpfs { .. }
            | ResolvedSource::Image { .. } => false,
        })
    };
    match (asked(["shared", "rshared"]), asked(["slave", "rslave"])) {
        (true, _) => nix::libc::MS_SHARED,
        (false, true) => nix::libc::MS_SLAVE,
        (false, false) => nix::libc::MS_PRIVATE,
    }
}

/// From `/sys/fs/cgroup/memory/stack/shop/c9d1` to `memory`.
fn render_cgroup_views(join: &Join, cgroup: &Path) -> Vec<CgroupView> {
    let below = cgroup.components().count();
    let views = join.directories.iter().filter_map(|directory| {
        let hierarchy = if join.v2_dir.is_some() {
            String::new()
        } else {
            directory.ancestors().nth(below)?.file_name()?.to_str()?.to_owned()
        };
        Some(CgroupView { hierarchy, directory: directory.clone() })
    });
    views.collect()
}

/// What a container runs when it starts.
///
/// # Errors
/// Its profile of system calls is not one.
pub(crate) fn render_process(container: &Container) -> Result<ProcessSpec, RuntimeError> {
    let ContainerSpec { privileged, tty, security, group_add, oom_score_adj, .. } = &container.spec;
    let capabilities = capabilities::render(&container.spec);
    let seccomp = match &security.seccomp {
        Seccomp::Standard if !privileged => seccomp::default_filter(capabilities),
        Seccomp::Profile(text) if !privileged => Some(oci::docker_profile(text, capabilities)?),
        Seccomp::Standard | Seccomp::Profile(_) | Seccomp::Unconfined => None,
    };
    let mut env = container.process.env.clone();
    if *tty && !env.iter().any(|(name, _)| name == "TERM") {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    if !env.iter().any(|(name, _)| name == "HOSTNAME") {
        env.push(("HOSTNAME".to_owned(), container.process.hostname.clone()));
    }
    Ok(ProcessSpec {
        console_size: None,
        argv: container.process.argv.clone(),
        env,
        cwd: container.process.cwd.clone(),
        user: UserSpec::Named { user: container.process.user.clone(), groups: group_add.iter().cloned().collect() },
        capabilities: Capabilities::OfRoot(capabilities),
        limits: render_limits(&container.spec.ulimits),
        schedule: ScheduleSpec {
            oom_score: Some(*oom_score_adj).filter(|score| *score != 0),
            ..ScheduleSpec::default()
        },
        no_new_privileges: security.no_new_privileges,
        labels: LabelSpec::default(),
        seccomp,
    })
}

/// Names of prlimit(1) to numbers of the kernel. A name that is none never gets here: the front end knows the same.
fn render_limits(ulimits: &BTreeMap<String, Ulimit>) -> Vec<LimitSpec> {
    let bits = |value: i64| u64::try_from(value).unwrap_or(nix::libc::RLIM_INFINITY);
    let limits = ulimits.iter().filter_map(|(name, ulimit)| {
        let resource = LIMITS.iter().find(|(known, _)| known == name)?.1;
        Some(LimitSpec { resource, soft: bits(ulimit.soft), hard: bits(ulimit.hard) })
    });
    limits.collect()
}

/// Outer targets before inner ones, generated files in front of equals: a volume over `/etc` hides them, one on
/// `/etc/hosts` replaces ours.
fn render_mounts(spec: &StartSpec<'_>) -> Vec<MountSpec> {
    let StartSpec { layout, container, mounted_layers, files, .. } = spec;
    let generated = files.iter().map(|file| MountSpec {
        target: file.target.clone(),
        change: ChangeSpec::read_only(file.read_only),
        source: MountKind::Bind { path: file.source.clone(), create: false, recursive: true },
    });
    let asked = container.mounts.iter().map(|mount| {
        let mut change = ChangeSpec::read_only(mount.read_only);
        let source = match &mount.source {
            ResolvedSource::Subpath { name, path } => {
                MountKind::Subpath { volume: layout.volume_data(name), path: path.clone() }
            }
            ResolvedSource::Mounted { filesystem, source, options } => {
                let (kind, more) = oci::mounted(filesystem, source, options);
                change = ChangeSpec { all_set: change.all_set | more.all_set, ..more };
                kind
            }
            ResolvedSource::Volume { name, copy } => MountKind::Volume { path: layout.volume_data(name), copy: *copy },
            ResolvedSource::Bind { path, create, below } => {
                if *below == Below::Writable {
                    change = ChangeSpec { set: change.all_set, ..ChangeSpec::default() };
                }
                MountKind::Bind { path: path.clone(), create: *create, recursive: *below != Below::Hidden }
            }
            ResolvedSource::Image { layers, path, .. } => {
                change = ChangeSpec::read_only(true);
                // The highest first, as overlayfs wants them.
                let layers = layers.iter().rev().filter_map(|layer| mounted_layers.get(layer).cloned()).collect();
                MountKind::Layers { layers, path: path.clone() }
            }
            ResolvedSource::Tmpfs { size, mode } => {
                change.set |= nix::libc::MOUNT_ATTR_NOSUID | nix::libc::MOUNT_ATTR_NODEV | nix::libc::MOUNT_ATTR_NOEXEC;
                let mut options = vec![("mode".to_owned(), format!("{mode:o}"))];
                options.extend(size.map(|size| ("size".to_owned(), size.0.to_string())));
                MountKind::Filesystem { kind: "tmpfs".to_owned(), options, fill: Fill::Nothing }
            }
        };
        MountSpec { target: mount.target.clone(), source, change }
    });
    let clean = |mount: MountSpec| MountSpec { target: clean_target(&mount.target), ..mount };
    let mut mounts: Vec<MountSpec> = generated.chain(asked).map(clean).collect();
    let depth = |mount: &MountSpec| Path::new(&mount.target).components().count();
    mounts.sort_by_key(depth);
    mounts
}

/// An absolute path without `.`, `..` and doubled slashes, so that what is made is what is mounted on.
pub(crate) fn clean_target(target: &str) -> String {
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
        let directories = vec![PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/stack/shop/c9")];
        let v1 = Join { directories, ..Join::default() };
        let views = render_cgroup_views(&v1, Path::new("stack/shop/c9"));
        assert_eq!(views[0].hierarchy, "cpu,cpuacct");
        assert_eq!(views[0].directory, Path::new("/sys/fs/cgroup/cpu,cpuacct/stack/shop/c9"));
    }
}
