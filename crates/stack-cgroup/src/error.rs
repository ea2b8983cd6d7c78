//! What can go wrong with a cgroup.

use std::io;
use std::path::PathBuf;

use stack_model::{Bytes, Fault};

/// A cgroup that cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy that could hold limits is mounted.
    #[error("no cgroup hierarchy is mounted below /sys/fs/cgroup")]
    NotMounted,
    /// A controller that a limit needs does not exist on this machine.
    #[error("the cgroup controller `{controller}` is missing, so `{file}` cannot be set")]
    ControllerMissing {
        /// The controller.
        controller: &'static str,
        /// What should have been written.
        file: &'static str,
    },
    /// A controller that a caller's own setting needs is not mounted.
    #[error("the cgroup controller `{controller}` is not mounted, so `{file}` cannot be set")]
    ControllerNotMounted {
        /// The controller.
        controller: String,
        /// What should have been written.
        file: String,
    },
    /// A directory cannot be made or removed.
    #[error("cgroup {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value was not accepted.
    #[error("cannot write `{value}` to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The processes use more than the new limit allows, and the kernel cannot take it from them.
    #[error("the memory limit of {limit} is below the {usage} bytes in use", usage = usage.0)]
    BelowUsage {
        /// The limit that was asked for.
        limit: Bytes,
        /// What is in use and cannot be dropped.
        usage: Bytes,
    },
    /// Processes do not end although they were killed.
    #[error("processes {processes:?} in cgroup {path} do not end")]
    NotEmpty {
        /// The cgroup.
        path: PathBuf,
        /// Who.
        processes: Vec<i32>,
    },
    /// A rule for devices that is none.
    #[error("`{text}` is no rule for devices: they are like `c 10:229 rwm`")]
    DeviceRule {
        /// What it says.
        text: String,
    },
    /// The kernel does not take the program that decides about devices (version 2).
    #[error("cannot hold devices back in {path}")]
    DeviceProgram {
        /// The cgroup.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// systemd cannot be talked to.
    #[error("cannot reach systemd at {socket}")]
    Bus {
        /// The last socket that was tried.
        socket: &'static str,
        /// Why.
        source: io::Error,
    },
    /// systemd does not make the scope.
    #[error("systemd refuses the scope {unit}: {name}: {text}")]
    Scope {
        /// The scope.
        unit: String,
        /// Name of the D-Bus error, or the result of the job.
        name: String,
        /// What systemd says.
        text: String,
    },
    /// What `cgroups-rs` says.
    #[error("cgroup controller")]
    Controller(#[from] cgroups_rs::fs::error::Error),
}

impl CgroupError {
    /// Its kind.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotMounted | Self::ControllerMissing { .. } | Self::ControllerNotMounted { .. } => Fault::Missing,
            Self::BelowUsage { .. } | Self::DeviceRule { .. } => Fault::User,
            Self::DeviceProgram { source, .. }
            | Self::Directory { source, .. }
            | Self::Write { source, .. }
            | Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Denied,
                _ => Fault::Transient,
            },
            Self::Controller(_) | Self::NotEmpty { .. } | Self::Bus { .. } | Self::Scope { .. } => Fault::Transient,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMounted => Some("mount it: mount -t cgroup2 none /sys/fs/cgroup".to_owned()),
            Self::ControllerNotMounted { controller, .. } => {
                Some(format!("mount the `{controller}` controller, or remove the setting"))
            }
            Self::ControllerMissing { controller, .. } => {
                Some(format!("boot a kernel with the `{controller}` controller enabled, or remove the limit"))
            }
            Self::BelowUsage { .. } => {
                Some("raise `mem_limit`, or restart the service so that it begins small".to_owned())
            }
            Self::Write { path, .. } if path.ends_with("cpuset.cpus") => {
                let all = path.parent().and_then(|own| own.parent());
                let all = all.and_then(|above| fs_err::read_to_string(above.join("cpuset.cpus.effective")).ok());
                let all = all.or_else(|| fs_err::read_to_string("/sys/devices/system/cpu/online").ok());
                Some(format!("correct `cpuset`: there are the processors {}", all.unwrap_or_default().trim()))
            }
            Self::DeviceProgram { source, .. } if source.raw_os_error() == Some(nix::libc::ENOSYS) => {
                Some("boot a kernel with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF".to_owned())
            }
            Self::DeviceRule { .. } => Some("correct `device_cgroup_rules`".to_owned()),
            _ if self.fault() == Fault::Denied => Some("run as root".to_owned()),
            Self::NotEmpty { .. } => Some("look at `cat /proc/PID/stack`: they hang in the kernel".to_owned()),
            Self::Bus { .. } => Some("install and start dbus: apt install dbus".to_owned()),
            Self::Scope { unit, .. } => Some(format!("look at `systemctl status {unit}`")),
            Self::DeviceProgram { .. }
            | Self::Directory { .. }
            | Self::Write { .. }
            | Self::Read { .. }
            | Self::Controller(_) => None,
        }
    }
}
