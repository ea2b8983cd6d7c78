//! `develop`: what `watch` does when files change.

use super::ServiceKey;
use super::hook::HOOK;
use crate::shape::common::{ONE_OR_TEXTS, PLAIN_BOOL, TEXT};
use crate::shape::{Field, Leaf, List, Object, Shape};

pub(super) const KEY: ServiceKey = ServiceKey::new("develop", "What to do when files change.", &DEVELOP);

const DEVELOP: Shape =
    Shape::Nullable(&Shape::Object(&Object::new(&[Field::new("watch", "What to watch.", &WATCHES)])));
const WATCHES: Shape = Shape::List(List { item: &WATCH, unique: false });
const WATCH: Shape = Shape::Object(
    &Object::new(&[
        Field::new("path", "File or directory to watch.", &TEXT),
        Field::new("action", "What to do.", &ACTION),
        Field::new("target", "Where in the container to put changed files.", &TEXT),
        Field::new("exec", "What to run after the files are there.", &HOOK).always(),
        Field::new("include", "Patterns to watch.", &ONE_OR_TEXTS),
        Field::new("ignore", "Patterns to leave out.", &ONE_OR_TEXTS),
        Field::new("initial_sync", "Bring all files in once at the start.", &PLAIN_BOOL),
    ])
    .required(&["path", "action"]),
);
const ACTION: Shape = Shape::Leaf(Leaf::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]));
