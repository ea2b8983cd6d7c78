//! `dns_search`: search domains.

use super::ServiceKey;
use super::forms::before_equals;
use crate::shape::Merge;
use crate::shape::common::TEXT_OR_TEXTS;

pub(super) const KEY: ServiceKey = ServiceKey::new("dns_search", "Search domains of the resolver.", &TEXT_OR_TEXTS)
    .merge(Merge::Unique(before_equals));
