//! `cpu_rt_runtime`: real-time scheduling in each period.

use super::ServiceKey;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_rt_runtime", "Real-time processor time in each period, in microseconds.", &INT);
