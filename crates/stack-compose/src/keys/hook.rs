//! What `pre_start`, `post_start`, `pre_stop` and `develop.watch.exec` run.

use crate::shape::common::{BOOL, COMMAND, TEXT, VARIABLES};
use crate::shape::{Field, List, Object, Shape};

/// A command inside the container.
pub(super) const HOOK: Shape = Shape::Object(
    &Object::new(&[
        Field::new("command", "The program and its arguments.", &COMMAND).always(),
        Field::new("user", "Its user.", &TEXT),
        Field::new("privileged", "With all rights.", &BOOL),
        Field::new("working_dir", "Its working directory.", &TEXT),
        Field::new("environment", "Its variables, over those of the service.", &VARIABLES),
    ])
    .required(&["command"]),
);

/// Several of them, in order.
pub(super) const HOOKS: Shape = Shape::List(List { item: &HOOK, unique: false });

/// A container that runs before those of the service.
pub(super) const STEPS: Shape = Shape::List(List {
    item: &Shape::Object(&Object::new(&[
        Field::new("command", "The program and its arguments.", &COMMAND).always(),
        Field::new("image", "Its image; that of the service by default.", &TEXT),
        Field::new("user", "Its user.", &TEXT),
        Field::new("privileged", "With all rights.", &BOOL),
        Field::new("working_dir", "Its working directory.", &TEXT),
        Field::new("environment", "Its variables, over those of the service.", &VARIABLES),
        Field::new("per_replica", "Once for each container instead of once for the service.", &BOOL),
    ])),
    unique: false,
});
