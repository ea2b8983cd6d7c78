//! `cgroup`: which cgroup namespace.

use super::ServiceKey;
use super::forms::host_namespace;
use crate::shape::{Leaf, Shape};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "cgroup",
    "Which cgroup namespace the container is in: `host` or `private`.",
    &Shape::Leaf(Leaf::Choice(&["host", "private"])),
)
.parse(|node, service, cx| service.cgroup_of_host = host_namespace(node, "cgroup", &["private"], cx))
.lower(|from, to| to.container.namespaces.cgroup = from.service.cgroup_of_host);
