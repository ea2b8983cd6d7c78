//! `expose`: ports that are not published.

use super::ServiceKey;
use super::forms::printed;
use crate::shape::common::TEXT_OR_NUMBER;
use crate::shape::{List, Merge, Shape};

const PORTS: Shape = Shape::List(List { item: &TEXT_OR_NUMBER, unique: true });

pub(super) const KEY: ServiceKey =
    ServiceKey::new("expose", "Ports that other services reach; metadata only.", &PORTS).merge(Merge::Unique(printed));
