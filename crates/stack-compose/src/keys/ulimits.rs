//! `ulimits`: resource limits of processes, a number or soft and hard.

use super::ServiceKey;
use crate::shape::common::INT;
use crate::shape::{Field, MapOf, Merge, Names, Object, Shape};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("ulimits", "Resource limits of processes, as in getrlimit(2); -1 is without limit.", &ULIMITS);

pub(super) const ULIMITS: Shape =
    Shape::Map(MapOf { value: &Shape::Either(&INT, &LIMIT), keys: Names::Lower, entry: "", merge: Merge::Whole });
const LIMIT: Shape = Shape::Object(
    &Object::new(&[
        Field::new("soft", "The limit that counts.", &INT),
        Field::new("hard", "What the soft limit may be raised to.", &INT),
    ])
    .required(&["soft", "hard"]),
);
