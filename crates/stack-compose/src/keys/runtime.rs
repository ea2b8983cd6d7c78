//! `runtime`: which OCI runtime.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("runtime", "OCI runtime of the container.", &TEXT);
