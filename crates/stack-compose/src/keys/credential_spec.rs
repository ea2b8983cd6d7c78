//! `credential_spec`: accounts of Windows.

use super::ServiceKey;
use crate::shape::common::TEXT;
use crate::shape::{Field, Object, Shape};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("credential_spec", "A managed service account; only on Windows.", &SPEC);

const SPEC: Shape = Shape::Object(&Object::new(&[
    Field::new("config", "Name of a config that holds it.", &TEXT),
    Field::new("file", "File that holds it.", &TEXT),
    Field::new("registry", "Entry of the Windows registry that holds it.", &TEXT),
]));
