//! `cgroup`: which cgroup namespace.

use super::ServiceKey;
use crate::shape::{Leaf, Shape};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "cgroup",
    "Which cgroup namespace the container is in: `host` or `private`.",
    &Shape::Leaf(Leaf::Choice(&["host", "private"])),
);
