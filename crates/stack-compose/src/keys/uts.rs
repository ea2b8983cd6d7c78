//! `uts`: the UTS namespace.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("uts", "UTS namespace: `host`.", &TEXT);
