//! `volumes_from`: volumes of another container.

use super::ServiceKey;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "volumes_from",
    "Mount the volumes of a service or container: `SERVICE[:ro]`, `container:NAME[:ro]`.",
    &TEXTS,
);
