//! `cpu_shares`: weight among others.

use super::ServiceKey;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_shares", "Relative weight when processors are contended; 1024 by default.", &INT);
