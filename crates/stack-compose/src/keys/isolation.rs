//! `isolation`: isolation on Windows.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("isolation", "Isolation technology; only on Windows.", &TEXT);
