//! `oom_kill_disable`: no killing when memory is short.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("oom_kill_disable", "Do not kill the program when its memory is used up.", &BOOL);
