//! `models`: language models that the program uses.

use super::ServiceKey;
use super::forms::names_to_keys;
use crate::shape::common::{TEXT, TEXTS};
use crate::shape::{Field, Forms, MapOf, Merge, Names, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("models", "Language models that the program uses.", &MODELS);

const MODELS: Shape = Shape::Forms(Forms::new(&MAP, &[&TEXTS], |node, at, cx| names_to_keys(node, at, cx, Node::null)));
const MAP: Shape = Shape::Map(MapOf {
    value: &Shape::Nullable(&MODEL),
    keys: Names::Free,
    entry: "",
    merge: Merge::Deep,
    listed: false,
});
const MODEL: Shape = Shape::Object(&Object::new(&[
    Field::new("endpoint_var", "Variable that gets the address.", &TEXT),
    Field::new("model_var", "Variable that gets the name.", &TEXT),
]));
