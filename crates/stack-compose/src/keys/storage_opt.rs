//! `storage_opt`: options of the storage.

use super::ServiceKey;
use crate::shape::common::OPTIONS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("storage_opt", "Options of the storage driver, such as `size`.", &OPTIONS);
