//! `links`: other names of services.

use super::ServiceKey;
use super::forms::before_equals;
use crate::shape::Merge;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("links", "Other names of services: `SERVICE[:ALIAS]`.", &TEXTS).merge(Merge::Unique(before_equals));
