//! `logging`: where the output goes.

use stack_model::Bytes;

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::{OPTIONS, TEXT};
use crate::shape::{Field, Merge, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("logging", "Where the output of the program goes.", &LOGGING)
    .merge(Merge::SameKey("driver"))
    .parse(parse)
    .lower(|from, to| to.container.logging.most = from.service.log_size.map(Bytes));

/// Files that are kept when only their size is given: docker has one.
const FILES: i64 = 1;

/// `max-size` and `max-file` together bound what is kept.
fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let (mut size, mut files) = (None, FILES);
    for (name, entry) in node.get("options").and_then(Node::as_mapping).into_iter().flatten() {
        match &**name {
            "max-size" if entry.value.as_text() != Some("-1") => size = cx.bytes(&entry.value, "`max-size`"),
            "max-size" => {}
            "max-file" => {
                let number = cx.integer(&entry.value, "`max-file`", 1..=MOST_FILES);
                files = number.map_or(FILES, |number| number.value);
            }
            // Nothing is compressed, and whoever writes never waits.
            "compress" | "mode" | "max-buffer-size" => {}
            other => {
                let message = format!("the option `{other}` of `logging` has no effect");
                cx.push(Problem::warning(Code::NoEffect, entry.key, message));
            }
        }
    }
    let files = u64::try_from(files).unwrap_or(1);
    service.log_size = size.filter(|size| size.value > 0).map(|size| size.value.saturating_mul(files));
}

const MOST_FILES: i64 = 1000;

const LOGGING: Shape = Shape::Object(&Object::new(&[
    Field::new("driver", "Log driver, such as `json-file`.", &TEXT),
    Field::new("options", "Options of the driver.", &OPTIONS),
]));

#[cfg(test)]
mod tests {
    use stack_model::Bytes;

    use crate::testing::{service, warnings};

    #[test]
    fn size_and_number_of_files_bound_the_log() {
        let most = |text: &str| service(&format!("logging: {{options: {{{text}}}}}")).container.logging.most;
        assert_eq!(most("max-size: 10m, max-file: '3'"), Some(Bytes(30 << 20)));
        assert_eq!(most("max-size: 512k"), Some(Bytes(512 << 10)));
        assert_eq!(most("max-file: '3'"), None);
        assert_eq!(warnings("logging: {options: {tag: x}}"), ["4:25 the option `tag` of `logging` has no effect"]);
    }
}
