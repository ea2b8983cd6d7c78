//! `pid`: the PID namespace.

use super::ServiceKey;
use crate::shape::Shape;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pid", "PID namespace: `host`, `service:NAME` or `container:NAME`.", &Shape::Nullable(&TEXT));
