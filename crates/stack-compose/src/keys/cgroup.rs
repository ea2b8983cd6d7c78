//! `cgroup`: which cgroup namespace.

use super::ServiceKey;
use super::forms::host_namespace;
use crate::shape::{Leaf, Shape};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "cgroup",
    "Which cgroup namespace the container is in: `host` or `private`.",
    &Shape::Leaf(Leaf::Choice(&["host", "private"])),
)
.parse(|node, service, cx| service.host_namespaces.cgroup = host_namespace(node, "cgroup", &["private"], cx))
.lower(|from, to| to.container.host_namespaces.cgroup = from.service.host_namespaces.cgroup);
