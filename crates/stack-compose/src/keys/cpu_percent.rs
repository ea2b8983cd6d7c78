//! `cpu_percent`: share of the processors on Windows.

use super::ServiceKey;
use crate::shape::common::NUMBER;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_percent", "Percentage of usable processor time; only on Windows.", &NUMBER);
