//! `dns_opt`: options of the resolver.

use super::ServiceKey;
use super::forms::{before_equals, texts};
use crate::shape::Merge;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey = ServiceKey::new("dns_opt", "Options of the resolver, as in resolv.conf(5).", &TEXTS)
    .merge(Merge::Unique(before_equals))
    .parse(|node, service, cx| service.dns_opt = texts(node, "`dns_opt`", cx))
    .lower(|from, to| to.container.dns.options.clone_from(&from.service.dns_opt));
