//! `domainname`: the NIS domain.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("domainname", "Domain name of the container.", &TEXT);
