//! `cpu_rt_period`: the period of real-time scheduling.

use super::ServiceKey;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_rt_period", "Period of real-time scheduling in microseconds.", &INT);
