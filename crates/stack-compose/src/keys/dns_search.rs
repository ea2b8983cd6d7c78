//! `dns_search`: search domains.

use super::ServiceKey;
use super::forms::{before_equals, texts};
use crate::shape::Merge;
use crate::shape::common::TEXT_OR_TEXTS;

pub(super) const KEY: ServiceKey = ServiceKey::new("dns_search", "Search domains of the resolver.", &TEXT_OR_TEXTS)
    .merge(Merge::Unique(before_equals))
    .parse(|node, service, cx| service.dns_search = texts(node, "`dns_search`", cx))
    .lower(|from, to| to.container.dns.search.clone_from(&from.service.dns_search));
