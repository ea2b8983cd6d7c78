//! Which device nodes a container may open, on v1. On v2 that takes an eBPF program, which is not here yet; there the
//! missing CAP_MKNOD keeps containers from making nodes, and `/dev` holds only those of this list.

use std::path::PathBuf;

use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};

use crate::CgroupError;
use crate::file::write;

/// Character devices by number (Documentation/admin-guide/devices.txt): null, zero, full, random, urandom, tty,
/// console, ptmx, and every pseudo terminal.
const ALLOWED: [(i64, i64); 9] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, -1)];

/// Which device nodes a container may open.
#[derive(Debug, Clone, Copy)]
pub enum Devices<'a> {
    /// Every one.
    All,
    /// Those that every program expects, and those of these rules, in the form `c 10:229 rwm`.
    Usual {
        /// Further rules.
        and: &'a [String],
    },
}

/// Takes every device away and gives those of the list back, and those of further rules.
pub(crate) fn restrict(directory: PathBuf, further: &[String]) -> Result<(), CgroupError> {
    let allow = directory.join("devices.allow");
    let controller = DevicesController::new(directory.clone(), directory);
    let all = DevicePermissions::all();
    controller.deny_device(DeviceType::All, -1, -1, &all)?;
    for (major, minor) in ALLOWED {
        controller.allow_device(DeviceType::Char, major, minor, &all)?;
    }
    // Making a node is CAP_MKNOD's business; only opening it is decided here.
    let make = [DevicePermissions::MkNod];
    controller.allow_device(DeviceType::Char, -1, -1, &make)?;
    controller.allow_device(DeviceType::Block, -1, -1, &make)?;
    further.iter().try_for_each(|rule| write(&allow, rule))
}
