//! `${…}` in values.

mod template;
mod tree;

pub(crate) use template::{Failure, Unset, expand};
pub(crate) use tree::{interpolate, template_problem};
