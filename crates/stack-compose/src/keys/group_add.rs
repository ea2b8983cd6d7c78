//! `group_add`: further groups.

use super::ServiceKey;
use crate::shape::common::TEXT_OR_NUMBER;
use crate::shape::{List, Shape};

const GROUPS: Shape = Shape::List(List { item: &TEXT_OR_NUMBER, unique: true });

pub(super) const KEY: ServiceKey =
    ServiceKey::new("group_add", "Further groups of the program, by name or number.", &GROUPS);
