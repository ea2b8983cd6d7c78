//! `ulimits`: resource limits of processes, a number or soft and hard.

use std::collections::BTreeMap;

use stack_model::Ulimit;

use super::ServiceKey;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::{INT, PLAIN_INT};
use crate::shape::{Field, Leaf, MapOf, Merge, Names, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("ulimits", "Resource limits of processes, as in getrlimit(2); -1 is without limit.", &ULIMITS)
        .parse(parse)
        .lower(|from, to| to.container.ulimits.clone_from(&from.service.ulimits));

/// Every limit of getrlimit(2), as docker and prlimit(1) name it.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    service.ulimits = limits(node, cx);
}

/// Also of `build`.
pub(super) fn limits(node: &Node, cx: &mut Cx<'_>) -> BTreeMap<String, Ulimit> {
    let mut limits = BTreeMap::new();
    for (name, entry) in node.as_mapping().into_iter().flatten() {
        if !NAMES.contains(&&**name) {
            let problem = Problem::error(Code::InvalidValue, entry.key, format!("there is no limit `{name}`"));
            let problem = problem.reason("getrlimit(2) lists them").when_run();
            cx.push(problem.nearest(entry.key, nearest(name, NAMES)));
            continue;
        }
        let what = format!("`{name}`");
        let mut number = |node: &Node| cx.integer(node, &what, -1..=i64::MAX).map(|number| number.value);
        let limit = match entry.value.as_mapping() {
            None => number(&entry.value).map(|both| (both, both)),
            Some(fields) => {
                let mut part = |key: &str| fields.get(key).and_then(|entry| number(&entry.value));
                part("soft").zip(part("hard"))
            }
        };
        let Some((soft, hard)) = limit else { continue };
        let above = |limit: i64| if limit < 0 { i64::MAX } else { limit };
        if above(soft) > above(hard) {
            let message = format!("the soft limit of `{name}` is above the hard limit");
            let problem = Problem::error(Code::InvalidValue, entry.value.span, message);
            cx.push(problem.help("raise `hard`, or lower `soft`").when_run());
            continue;
        }
        limits.insert(name.to_string(), Ulimit { soft, hard });
    }
    limits
}

pub(super) const ULIMITS: Shape = by_resource(&Shape::Either(&Shape::Leaf(Leaf::Limit), &LIMIT));
/// Those of a build, which no variable can give.
pub(super) const PLAIN_ULIMITS: Shape = by_resource(&Shape::Either(&Shape::Leaf(Leaf::PlainLimit), &PLAIN_LIMIT));

const fn by_resource(value: &'static Shape) -> Shape {
    Shape::Map(MapOf { value, keys: Names::Lower, entry: "", merge: Merge::Whole, listed: false })
}

const PLAIN_LIMIT: Shape = Shape::Object(
    &Object::new(&[
        Field::new("soft", "The limit that counts.", &PLAIN_INT).present_in_yaml(),
        Field::new("hard", "What the soft limit may be raised to.", &PLAIN_INT).present_in_yaml(),
    ])
    .required(&["soft", "hard"]),
);
const LIMIT: Shape = Shape::Object(
    &Object::new(&[
        Field::new("soft", "The limit that counts.", &INT).present_in_yaml(),
        Field::new("hard", "What the soft limit may be raised to.", &INT).present_in_yaml(),
    ])
    .required(&["soft", "hard"]),
);

#[cfg(test)]
mod tests {
    use stack_model::Ulimit;

    use crate::testing::{errors, service};

    #[test]
    fn one_number_is_both_limits() {
        let limits = service("ulimits: {nproc: 65535, nofile: {soft: 20000, hard: -1}}").container.ulimits;
        assert_eq!(limits["nproc"], Ulimit { soft: 65_535, hard: 65_535 });
        assert_eq!(limits["nofile"], Ulimit { soft: 20_000, hard: -1 });
    }

    #[test]
    fn nonsense_is_shown_at_its_place() {
        assert_eq!(errors("ulimits: {nofiles: 1}"), ["4:15 there is no limit `nofiles`; did you mean `nofile`?"]);
        assert_eq!(
            errors("ulimits: {nofile: {soft: 2, hard: 1}}"),
            ["4:23 the soft limit of `nofile` is above the hard limit; raise `hard`, or lower `soft`"]
        );
    }
}
