//! `cpu_period`: the period of the processor quota.

use super::ServiceKey;
use super::forms::above_zero;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_period", "Period of the processor quota in microseconds.", &INT)
        .parse(|node, service, cx| service.cpu_period = cx.integer(node, "`cpu_period`", 0..=1_000_000))
        .lower(|from, to| to.container.limits.cpu_period = above_zero(from.service.cpu_period.as_ref()));
