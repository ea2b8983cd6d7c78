//! `cpu_count`: processors on Windows.

use super::ServiceKey;
use crate::shape::common::COUNT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_count", "Number of usable processors; only on Windows.", &COUNT);
