//! `${…}` in values.

mod template;
mod tree;

pub(crate) use template::{Failure, Unset, expand, expressions};
pub(crate) use tree::{interpolate, template_problem};
