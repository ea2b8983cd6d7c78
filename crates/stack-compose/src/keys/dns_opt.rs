//! `dns_opt`: options of the resolver.

use super::ServiceKey;
use super::forms::before_equals;
use crate::shape::Merge;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey = ServiceKey::new("dns_opt", "Options of the resolver, as in resolv.conf(5).", &TEXTS)
    .merge(Merge::Unique(before_equals));
