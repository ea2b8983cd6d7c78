//! Resource limits as cgroup writes, for v1, hybrid and v2.
//!
//! One algorithm (make directories, render writes, write), two tables ([`render`]). Detection of v1 goes through
//! `cgroups-rs`; the rest is our own, because delegation has to be exact and every error has to be seen. Devices are held
//! back by lines on v1 and by an eBPF program on v2. On hosts that systemd runs with v2, the cgroup `stack/shop` is the
//! delegated scope `system.slice/stack-shop.scope`; callers do not see the difference. Nothing outside the directories
//! made here is written to, except the list of controllers that a parent passes on (v2).

mod detect;
mod devices;
mod error;
mod file;
mod further;
mod hierarchy;
mod join;
mod limits;
mod render;
mod systemd;
mod tree;
mod usage;

pub use detect::{Hierarchy, Kind};
pub use devices::{DeviceAccess, DeviceKind, DeviceRule, Devices};
pub use error::CgroupError;
pub use join::Join;
pub use render::{PIDS_DEFAULT, Write, render};
pub use systemd::{Scope, stop_scope};
pub use tree::{Setting, Tree};
pub use usage::Usage;
