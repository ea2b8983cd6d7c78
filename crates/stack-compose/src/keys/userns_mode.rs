//! `userns_mode`: the user namespace.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("userns_mode", "User namespace: `host`, or what the platform has.", &TEXT);
