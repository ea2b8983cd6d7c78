//! `logging`: where the output goes.

use super::ServiceKey;
use crate::shape::common::{OPTIONS, TEXT};
use crate::shape::{Field, Merge, Object, Shape};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("logging", "Where the output of the program goes.", &LOGGING).merge(Merge::SameKey("driver"));

const LOGGING: Shape = Shape::Object(&Object::new(&[
    Field::new("driver", "Log driver, such as `json-file`.", &TEXT),
    Field::new("options", "Options of the driver.", &OPTIONS),
]));
