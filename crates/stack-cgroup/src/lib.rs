//! Resource limits as cgroup writes, for v1, hybrid and v2.
//!
//! One algorithm (make directories, render writes, write), two tables ([`render`]). Detection and the v1 controllers
//! go through `cgroups-rs`; v2 is our own, because delegation has to be exact and every error has to be seen.

mod devices;
mod error;
mod hierarchy;
mod join;
mod render;

pub use error::CgroupError;
pub use hierarchy::{Hierarchy, Kind};
pub use join::Join;
pub use render::{PIDS_DEFAULT, Write, render};
