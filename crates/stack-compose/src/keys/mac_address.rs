//! `mac_address`: the address on the link.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("mac_address", "MAC address on the main network.", &TEXT);
