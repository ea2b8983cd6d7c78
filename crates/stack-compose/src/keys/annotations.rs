//! `annotations`: annotations of the container.

use super::ServiceKey;
use crate::shape::common::LABELS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("annotations", "Annotations of the container, for the OCI runtime.", &LABELS);
