//! `pull_refresh_after`: how long an image is fresh.

use stack_model::Millis;

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pull_refresh_after", "How long an image is fresh under `pull_policy: refresh`.", &TEXT)
        .hidden()
        .parse(|node, service, cx| {
            let period = cx.duration(node, "`pull_refresh_after`");
            service.pull_refresh_after = period.map(|nanos| Millis(nanos.value / 1_000_000));
        });
