//! `blkio_config`: weights and limits of block devices.

use std::path::PathBuf;

use stack_model::Blkio;

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::{BYTES, TEXT};
use crate::shape::{Field, Leaf, List, Object, Shape};
use crate::text::Span;
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("blkio_config", "Weights and limits of block devices.", &Shape::Object(&BLKIO))
        .parse(parse)
        .check(|service, _, report| {
            if let Some(span) = service.blkio_weight {
                let message = "weights of `blkio_config` count only for devices with the BFQ scheduler";
                report.push(Problem::warning(Code::NoEffect, span, message).when_run());
            }
        })
        .lower(|from, to| to.container.limits.blkio = from.service.blkio.clone());

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let weight = |node: &Node, cx: &mut Cx<'_>| {
        let weight = cx.integer(node, "`weight`", 0..=1000)?;
        u16::try_from(weight.value).ok().filter(|weight| *weight > 0)
    };
    let mut blkio = Blkio::default();
    if let Some(node) = node.get("weight") {
        blkio.weight = weight(node, cx);
        service.blkio_weight = blkio.weight.map(|_| node.span);
    }
    for (path, value, span) in table(node, "weight_device", "weight") {
        blkio.weight_device.extend(weight(value, cx).map(|weight| (path, weight)));
        service.blkio_weight = Some(span);
    }
    let rates = [
        ("device_read_bps", &mut blkio.read_bps),
        ("device_write_bps", &mut blkio.write_bps),
        ("device_read_iops", &mut blkio.read_iops),
        ("device_write_iops", &mut blkio.write_iops),
    ];
    for (key, rates) in rates {
        for (path, value, _) in table(node, key, "rate") {
            rates.extend(cx.bytes(value, "`rate`").map(|rate| (path, rate.value)));
        }
    }
    service.blkio = blkio;
}

/// Devices and what is said about them, with its place.
fn table<'n>(node: &'n Node, key: &str, what: &'static str) -> Vec<(PathBuf, &'n Node, Span)> {
    let items = match node.get(key).map(|node| &node.kind) {
        Some(Kind::Sequence(items)) => items.as_slice(),
        Some(Kind::Scalar(_) | Kind::Mapping(_)) | None => &[],
    };
    let entry = |item: &'n Node| {
        let value = item.get(what)?;
        Some((PathBuf::from(item.get("path")?.as_text()?), value, value.span))
    };
    items.iter().filter_map(entry).collect()
}

const WEIGHT: Shape = Shape::Leaf(Leaf::Late(&Leaf::PlainInt));
const BLKIO: Object = Object::new(&[
    Field::new("weight", "Weight among others, 10 to 1000.", &WEIGHT),
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
            Field::new("weight", "Its weight.", &WEIGHT).present().json("Weight"),
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

#[cfg(test)]
mod tests {
    use crate::testing::{service, warnings};

    #[test]
    fn rates_and_weights_are_lowered() {
        let blkio = service(
            "blkio_config:\n  weight: 300\n  device_read_bps: [{path: /dev/sda, rate: 12mb}]\n  \
             device_write_iops: [{path: /dev/sdb, rate: 30}]",
        );
        let blkio = blkio.container.limits.blkio;
        assert_eq!((blkio.weight, blkio.read_bps[std::path::Path::new("/dev/sda")]), (Some(300), 12 << 20));
        assert_eq!(blkio.write_iops[std::path::Path::new("/dev/sdb")], 30);
        assert!(warnings("blkio_config: {weight: 300}")[0].contains("BFQ"));
    }
}
