//! `external_links`: links to containers of others.

use super::ServiceKey;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("external_links", "Links to containers outside the project: `CONTAINER[:ALIAS]`.", &TEXTS);
