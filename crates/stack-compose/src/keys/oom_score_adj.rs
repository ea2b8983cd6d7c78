//! `oom_score_adj`: whom to kill when memory is short.

use super::ServiceKey;
use crate::shape::{Leaf, Shape};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "oom_score_adj",
    "How likely the program is killed when memory is short, -1000 to 1000.",
    &Shape::Leaf(Leaf::Int(-1000, 1000)),
);
