//! `attach`: whether `up` shows the log.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("attach", "Whether `up` in the foreground shows the log of the service.", &BOOL).present();
