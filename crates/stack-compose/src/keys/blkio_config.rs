//! `blkio_config`: weights and limits of block devices.

use super::ServiceKey;
use crate::shape::common::{BYTES, INT, TEXT};
use crate::shape::{Field, List, Object, Shape};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("blkio_config", "Weights and limits of block devices.", &Shape::Object(&BLKIO));

const BLKIO: Object = Object::new(&[
    Field::new("weight", "Weight among others, 10 to 1000.", &INT),
    Field::new("weight_device", "Weights on single devices.", &WEIGHTS),
    Field::new("device_read_bps", "Most bytes a second to read.", &RATES),
    Field::new("device_read_iops", "Most reads a second.", &RATES),
    Field::new("device_write_bps", "Most bytes a second to write.", &RATES),
    Field::new("device_write_iops", "Most writes a second.", &RATES),
])
.closed();

// Docker compose has no names for these in JSON and writes those of its own source.
const WEIGHTS: Shape = Shape::List(List {
    item: &Shape::Object(
        &Object::new(&[
            Field::new("path", "The device.", &TEXT).present().json("Path"),
            Field::new("weight", "Its weight.", &INT).present().json("Weight"),
        ])
        .closed(),
    ),
    unique: false,
});
const RATES: Shape = Shape::List(List {
    item: &Shape::Object(
        &Object::new(&[
            Field::new("path", "The device.", &TEXT).present().json("Path"),
            Field::new("rate", "The rate.", &BYTES).present().json("Rate"),
        ])
        .closed(),
    ),
    unique: false,
});
