//! `uts`: the UTS namespace.

use super::ServiceKey;
use super::forms::host_namespace;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("uts", "UTS namespace: `host`.", &TEXT)
    .parse(|node, service, cx| service.uts_of_host = host_namespace(node, "uts", &[], cx))
    .lower(|from, to| to.container.namespaces.uts = from.service.uts_of_host);
