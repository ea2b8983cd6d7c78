//! `device_cgroup_rules`: rules for devices.

use super::ServiceKey;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("device_cgroup_rules", "Rules for devices, such as `c 1:3 mr`.", &TEXTS);
