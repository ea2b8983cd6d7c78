//! `cpu_period`: the period of the processor quota.

use super::ServiceKey;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_period", "Period of the processor quota in microseconds.", &INT);
