//! `mem_swappiness`: how eagerly memory is swapped.

use super::ServiceKey;
use crate::shape::common::BYTES;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("mem_swappiness", "How eagerly memory is swapped, 0 to 100.", &BYTES);
