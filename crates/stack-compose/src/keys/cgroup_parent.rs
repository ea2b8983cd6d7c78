//! `cgroup_parent`: the cgroup above that of the container.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cgroup_parent", "The cgroup that the container's own is made below.", &TEXT);
