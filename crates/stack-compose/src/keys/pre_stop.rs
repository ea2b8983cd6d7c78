//! `pre_stop`: what to run in a container before it is stopped.

use super::ServiceKey;
use super::hook::HOOKS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pre_stop", "What to run in a container before it is stopped.", &HOOKS);
