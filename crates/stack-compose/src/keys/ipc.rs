//! `ipc`: the IPC namespace.

use super::ServiceKey;
use super::forms::host_namespace;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "ipc",
    "IPC namespace: `shareable`, `private`, `host`, `none`, `service:NAME` or `container:NAME`.",
    &TEXT,
)
.parse(|node, service, cx| {
    service.host_namespaces.ipc = host_namespace(node, "ipc", &["private", "shareable"], cx);
})
.lower(|from, to| to.container.host_namespaces.ipc = from.service.host_namespaces.ipc);
