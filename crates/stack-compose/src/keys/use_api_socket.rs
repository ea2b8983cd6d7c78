//! `use_api_socket`: the socket of the engine.

use super::ServiceKey;
use crate::shape::common::PLAIN_BOOL;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("use_api_socket", "Give the container the socket of the engine.", &PLAIN_BOOL);
