//! `cpu_shares`: weight among others.

use super::ServiceKey;
use super::forms::above_zero;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_shares", "Relative weight when processors are contended; 1024 by default.", &INT)
        .parse(|node, service, cx| service.cpu_shares = cx.integer(node, "`cpu_shares`", 0..=i64::MAX))
        .lower(|from, to| to.container.limits.cpu_shares = above_zero(from.service.cpu_shares.as_ref()));
