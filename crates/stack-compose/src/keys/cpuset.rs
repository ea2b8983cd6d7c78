//! `cpuset`: which processors.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpuset", "Processors that the container may run on, such as `0-3` or `0,1`.", &TEXT);
