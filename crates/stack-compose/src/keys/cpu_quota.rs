//! `cpu_quota`: processor time in each period.

use super::ServiceKey;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_quota", "Processor time in each `cpu_period`, in microseconds.", &INT);
