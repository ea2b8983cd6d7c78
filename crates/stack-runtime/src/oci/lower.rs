//! A bundle's configuration as the orders of the new process: the same that `stack up` renders.

use std::path::{Path, PathBuf};

use nix::libc;
use oci_spec::runtime::{Hook, LinuxDevice, LinuxDeviceType, Mount, Process, Spec};

use super::OciError;
use super::lower_process::{clamp, lower_process};
use super::mount_options::{self, MountOptions};
use crate::spec::{
    CgroupView, ChangeSpec, DeviceSpec, Fill, HookSpec, HookSpecs, InitSpec, MountKind, MountSpec, NamespaceSpec,
    ProcessSpec, RootSource, RootSpec, StreamSpec,
};

/// Devices that every container has: name and minor number of major 1, then the terminal.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What is decided outside of the configuration.
pub(super) struct Surroundings<'a> {
    pub(super) bundle: &'a Path,
    pub(super) cgroup_views: Vec<CgroupView>,
    pub(super) preserved: i32,
    pub(super) no_pivot: bool,
    pub(super) state: serde_json::Map<String, serde_json::Value>,
    /// Sources of mounts are opened outside of the container's user namespace.
    pub(super) outside: bool,
    /// SELinux' context of the mounts that are made for it.
    pub(super) mount_label: Option<String>,
    /// A cgroup namespace of its own, a time namespace with these lines, a mount namespace.
    pub(super) namespaces: NamespaceSpec,
}

/// Renders everything.
pub(super) fn lower(spec: &Spec, around: Surroundings<'_>) -> Result<InitSpec, OciError> {
    let missing = |what: &str| OciError::Spec(format!("the configuration has no `{what}`"));
    let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
    let process = spec.process().as_ref();
    let linux = spec.linux().as_ref();
    let mut prepared = 0;
    let mounts = spec.mounts().iter().flatten().map(|mount| self::mount(mount, &around, &mut prepared));
    let mounts: Vec<MountSpec> = mounts.collect::<Result<_, _>>()?;
    let own_propagation = match linux.and_then(|linux| linux.rootfs_propagation().as_deref()).filter(|w| !w.is_empty())
    {
        Some(word) => {
            let unknown = || OciError::Spec(format!("`{word}` is no propagation of the root filesystem"));
            let (flag, recursive) = mount_options::propagation(word).ok_or_else(unknown)?;
            Some(flag | if recursive { libc::MS_REC } else { 0 })
        }
        None => None,
    };
    let host_propagation = match own_propagation {
        Some(flags) if flags & libc::MS_SHARED != 0 => libc::MS_SHARED,
        Some(flags) if flags & libc::MS_PRIVATE != 0 => libc::MS_PRIVATE,
        _ => libc::MS_SLAVE,
    };
    let console = process.is_some_and(|process| process.terminal().unwrap_or(false));
    let preserved = around.preserved;
    let size = process.and_then(Process::console_size);
    let size = size.map(|size| (clamp(size.width()), clamp(size.height())));
    let paths = |list: Option<&Option<Vec<String>>>| list.cloned().flatten().unwrap_or_default();
    let hooks = spec.hooks().as_ref();
    let of = |list: Option<&Option<Vec<Hook>>>| list.into_iter().flatten().flatten().map(hook).collect::<Vec<_>>();
    Ok(InitSpec {
        cgroup_tasks: Vec::new(),
        namespaces: around.namespaces,
        root: RootSpec {
            source: RootSource::Directory,
            mountpoint: around.bundle.join(root.path()),
            read_only: root.readonly().unwrap_or(false),
            propagation: host_propagation,
            own_propagation,
            no_pivot: around.no_pivot,
        },
        system: None,
        devices: devices(linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default(), &mounts),
        mounts,
        masked: paths(linux.map(oci_spec::runtime::Linux::masked_paths)),
        protected: paths(linux.map(oci_spec::runtime::Linux::readonly_paths)),
        hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
        sysctls: linux.and_then(|linux| linux.sysctl().clone()).unwrap_or_default().into_iter().collect(),
        streams: if console { StreamSpec::Console { size, preserved } } else { StreamSpec::Inherited { preserved } },
        init: false,
        hooks: HookSpecs {
            create_container: of(hooks.map(oci_spec::runtime::Hooks::create_container)),
            start_container: of(hooks.map(oci_spec::runtime::Hooks::start_container)),
            state: around.state,
        },
        process: match process {
            Some(process) => lower_process(process, spec)?,
            // A container without one can be created, and fails to start.
            None => {
                lower_process(&Process::default(), spec).map(|process| ProcessSpec { argv: Vec::new(), ..process })?
            }
        },
    })
}

pub(super) fn hook(hook: &Hook) -> HookSpec {
    HookSpec {
        path: hook.path().clone(),
        argv: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone(),
        timeout_seconds: hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()),
    }
}

/// What is not implemented must not be passed over: the container would be other than asked for.
pub(super) fn refuse_unsupported(spec: &Spec) -> Result<(), OciError> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    match linux.intel_rdt() {
        Some(_) => Err(OciError::Spec("`linux.intelRdt` is not supported yet; remove it".to_owned())),
        None => Ok(()),
    }
}

fn mount(mount: &Mount, around: &Surroundings<'_>, prepared: &mut usize) -> Result<MountSpec, OciError> {
    let target = crate::spec::clean_target(&mount.destination().to_string_lossy());
    let options = mount.options().iter().flatten().map(String::as_str);
    let options = mount_options::parse(options);
    let mut change = options.change.clone();
    if options.remount {
        return Ok(MountSpec { target, source: MountKind::Remount { options: options.data }, change });
    }
    if is_prepared(mount, &options, around.outside) {
        change.prepared = Some(*prepared);
        *prepared += 1;
    }
    let MountOptions { bind, copy_up, mut data, .. } = options;
    let kind = mount.typ().as_deref().filter(|kind| !kind.is_empty());
    let bind = bind.or_else(|| matches!(kind, Some("bind") | None).then_some(true));
    let source = match (bind, kind) {
        (Some(recursive), _) => {
            let missing = || OciError::Spec(format!("mount {target}: it has no source"));
            let path = mount.source().as_ref().ok_or_else(missing)?;
            MountKind::Bind { path: around.bundle.join(path), create: false, recursive }
        }
        (None, Some("cgroup" | "cgroup2")) => MountKind::Cgroups { views: around.cgroup_views.clone() },
        (None, kind) => {
            let kind = kind.unwrap_or_default();
            // The kernel labels these two itself.
            let context = around.mount_label.as_ref().filter(|_| !matches!(kind, "proc" | "sysfs"));
            data.extend(context.map(|label| ("context".to_owned(), label.clone())));
            filesystem(kind, mount, copy_up, data)
        }
    };
    Ok(MountSpec { target, source, change })
}

/// Whether a copy of the mount's source is made before the process exists: to map owners, or because the container's root
/// is nobody outside and may not get to it.
pub(super) fn is_prepared(mount: &Mount, options: &MountOptions, outside: bool) -> bool {
    let kind = mount.typ().as_deref().filter(|kind| !kind.is_empty());
    let is_bind = options.bind.is_some() || matches!(kind, Some("bind") | None);
    mount.uid_mappings().is_some() || options.idmap.is_some() || is_bind && outside
}

/// A mount in the words of mount(8), without the names of a bundle.
pub(crate) fn mounted(kind: &str, source: &str, options: &[String]) -> (MountKind, ChangeSpec) {
    let MountOptions { change, bind, mut data, .. } = mount_options::parse(options.iter().map(String::as_str));
    if kind == "bind" || bind.is_some() {
        let (path, recursive) = (source.into(), bind.unwrap_or(true));
        return (MountKind::Bind { path, create: false, recursive }, change);
    }
    data.insert(0, ("source".to_owned(), source.to_owned()));
    (MountKind::Filesystem { kind: kind.to_owned(), options: data, fill: Fill::Nothing }, change)
}

fn filesystem(kind: &str, mount: &Mount, copy_up: bool, mut options: Vec<(String, String)>) -> MountKind {
    let fill = match (kind, copy_up) {
        ("tmpfs", true) => Fill::Content,
        ("tmpfs", false) => Fill::Mode,
        _ => Fill::Nothing,
    };
    if kind == "mqueue" {
        // It has none; runtimes before us have passed them over.
        options.clear();
    }
    let source = mount.source().as_ref().map(|source| source.to_string_lossy().into_owned());
    let source = source.filter(|source| !source.is_empty()).unwrap_or_else(|| kind.to_owned());
    options.insert(0, ("source".to_owned(), source));
    MountKind::Filesystem { kind: kind.to_owned(), options, fill }
}

/// `None` where `/dev` is the host's or the bundle's: nothing is made there.
fn devices(asked: &[LinuxDevice], mounts: &[MountSpec]) -> Option<Vec<DeviceSpec>> {
    let bound = |mount: &MountSpec| mount.target == "/dev" && matches!(mount.source, MountKind::Bind { .. });
    if mounts.iter().any(bound) {
        return None;
    }
    let standard = DEVICES.iter().map(|(name, major, minor)| DeviceSpec {
        path: format!("/dev/{name}"),
        kind: 'c',
        major: *major,
        minor: *minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
        prepared: None,
    });
    let asked: Vec<DeviceSpec> = asked.iter().map(device).collect();
    let named = |one: &DeviceSpec| asked.iter().any(|asked| asked.path == one.path);
    Some(standard.filter(|one| !named(one)).chain(asked.iter().cloned()).collect())
}

fn device(device: &LinuxDevice) -> DeviceSpec {
    let number = |number: i64| u32::try_from(number).unwrap_or(0);
    DeviceSpec {
        path: crate::spec::clean_target(&device.path().to_string_lossy()),
        kind: match device.typ() {
            LinuxDeviceType::B => 'b',
            LinuxDeviceType::P => 'p',
            LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => 'c',
        },
        major: number(device.major()),
        minor: number(device.minor()),
        mode: device.file_mode().unwrap_or(0o666),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        prepared: None,
    }
}

/// Lines of `/proc/self/timens_offsets`.
pub(super) fn time_offsets(spec: &Spec) -> Vec<String> {
    let offsets = spec.linux().as_ref().and_then(|linux| linux.time_offsets().clone()).unwrap_or_default();
    let line = |(clock, offset): (String, oci_spec::runtime::LinuxTimeOffset)| {
        format!("{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
    };
    offsets.into_iter().map(line).collect()
}

/// Where a container's cgroup is, below the hierarchies.
pub(super) fn cgroup_path(spec: &Spec, id: &str) -> PathBuf {
    let asked = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    match asked.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => {
            let text = path.to_string_lossy();
            match text.split(':').collect::<Vec<_>>().as_slice() {
                // As systemd would name it.
                [slice, prefix, name] => {
                    let slice = if slice.is_empty() { "system.slice" } else { slice };
                    let unit = if name.contains('.') { (*name).to_owned() } else { format!("{prefix}-{name}.scope") };
                    PathBuf::from(slice).join(unit)
                }
                _ => PathBuf::from(crate::spec::clean_target(&text)),
            }
        }
        // One level: each costs a directory in every hierarchy.
        None => Path::new("/").join(id),
    }
}
