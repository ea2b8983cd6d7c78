//! `security_opt`: labels, filters and profiles.

use super::ServiceKey;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "security_opt",
    "Security options: `label=…`, `seccomp=…`, `apparmor=…`, `no-new-privileges:true`.",
    &TEXTS,
);
