//! `cpu_percent`: share of the processors on Windows.

use super::ServiceKey;
use crate::shape::{Leaf, Shape};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_percent", "Percentage of usable processor time; only on Windows.", &PERCENT);

const PERCENT: Shape = Shape::Leaf(Leaf::Int(0, 100));
