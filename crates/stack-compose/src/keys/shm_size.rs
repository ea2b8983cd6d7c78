//! `shm_size`: the size of /dev/shm.

use super::ServiceKey;
use crate::shape::common::BYTES;

pub(super) const KEY: ServiceKey = ServiceKey::new("shm_size", "Size of /dev/shm; 64m by default.", &BYTES);
