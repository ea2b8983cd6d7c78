//! `pull_refresh_after`: how long an image is fresh.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pull_refresh_after", "How long an image is fresh under `pull_policy: refresh`.", &TEXT).hidden();
