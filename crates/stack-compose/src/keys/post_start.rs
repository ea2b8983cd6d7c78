//! `post_start`: what to run in a container after it started.

use super::ServiceKey;
use super::hook::HOOKS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("post_start", "What to run in a container after it started.", &HOOKS);
