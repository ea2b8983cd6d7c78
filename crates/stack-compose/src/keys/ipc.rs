//! `ipc`: the IPC namespace.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "ipc",
    "IPC namespace: `shareable`, `private`, `host`, `none`, `service:NAME` or `container:NAME`.",
    &TEXT,
);
