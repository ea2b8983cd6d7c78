//! `sysctls`: kernel parameters.

use super::ServiceKey;
use crate::shape::common::LABELS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("sysctls", "Kernel parameters of the container's namespaces.", &LABELS);
