//! `models`: language models.

use super::section_of;
use crate::shape::common::{ANY_TEXTS, PLAIN_INT, TEXT};
use crate::shape::{Field, Names, Object, Shape};

pub(super) const MODELS: Shape = section_of(&MODEL, "model", Names::Free);
const MODEL: Shape = Shape::Object(
    &Object::new(&[
        Field::new("name", "Name of its own.", &TEXT),
        Field::new("model", "The model to run.", &TEXT),
        Field::new("context_size", "Most tokens of a context.", &PLAIN_INT),
        Field::new("runtime_flags", "Flags of the program that runs it.", &ANY_TEXTS),
    ])
    .required(&["model"]),
);
