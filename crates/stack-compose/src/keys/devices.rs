//! `devices`: devices of the host, `HOST[:CONTAINER[:rwm]]`.

use stack_model as model;

use super::ServiceKey;
use super::tmpfs::clean_target;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::{TEXT, TEXTS};
use crate::shape::{At, Field, Forms, List, Merge, Object, Shape};
use crate::yaml::{Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("devices", "Devices of the host: `HOST[:CONTAINER[:rwm]]`.", &DEVICES)
        .merge(Merge::Unique(|node| node.get("target").and_then(Node::as_text).map(str::to_owned)))
        .parse(parse)
        .lower(|from, to| to.container.devices.clone_from(&from.service.devices));

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`devices`").unwrap_or_default() {
        let text = |key: &str| item.get(key).and_then(Node::as_text).filter(|text| !text.is_empty());
        let Some(source) = text("source") else { continue };
        let span = item.get("source").map_or(item.span, |node| node.span);
        if !source.starts_with('/') {
            let problem = if source.contains('=') {
                not_yet(span, &format!("the device `{source}` of the Container Device Interface"))
            } else {
                let message = format!("`{source}` is not an absolute path");
                Problem::error(Code::InvalidValue, span, message).help("write a path such as `/dev/fuse`")
            };
            cx.push(problem);
            continue;
        }
        let permissions = text("permissions").unwrap_or("rwm");
        if !permissions.chars().all(|letter| "rwm".contains(letter)) {
            let span = item.get("permissions").map_or(item.span, |node| node.span);
            let message = format!("`{permissions}` are no permissions of a device");
            let problem = Problem::error(Code::InvalidValue, span, message);
            cx.push(problem.help("write some of the letters `r`, `w` and `m`"));
            continue;
        }
        service.devices.push(model::Device {
            source: source.into(),
            target: clean_target(text("target").unwrap_or(source)),
            permissions: permissions.to_owned(),
        });
    }
}

const DEVICES: Shape = Shape::Forms(Forms::new(&LIST, &[&TEXTS], expand));
const LIST: Shape = Shape::List(List { item: &DEVICE, unique: false });
const DEVICE: Shape = Shape::Object(
    &Object::new(&[
        Field::new("source", "Path on the host.", &TEXT),
        Field::new("target", "Path in the container.", &TEXT),
        Field::new("permissions", "Some of `r`, `w` and `m`; all by default.", &TEXT),
    ])
    .required(&["source", "target"]),
);

fn expand(mut node: Node, _: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    if let Kind::Sequence(items) = &mut node.kind {
        for item in items.iter_mut().filter(|item| item.as_text().is_some()) {
            *item = device(item, cx)?;
        }
    }
    Some(node)
}

fn device(item: &Node, cx: &mut Cx<'_>) -> Option<Node> {
    let text = item.as_text().unwrap_or_default();
    let mut parts = Vec::new();
    let mut at = 0;
    for part in text.split(':') {
        parts.push(item.slice(at..at + part.len()));
        at += part.len() + 1;
    }
    let all = || Node::text("rwm", item.span);
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (source.clone(), source.clone(), all()),
        [source, target] => (source.clone(), target.clone(), all()),
        [source, target, permissions] => (source.clone(), target.clone(), permissions.clone()),
        _ => {
            let message = format!("`{text}` has too many colons for a device");
            let problem = Problem::error(Code::InvalidValue, item.span, message);
            cx.push(problem.help("write `host:container:rwm`, or the long form"));
            return None;
        }
    };
    Some(Node::mapping([("source", source), ("target", target), ("permissions", permissions)], item.span))
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn both_forms_are_lowered() {
        let devices = service("devices: ['/dev/fuse', '/dev/a:/dev/b:r']").container.devices;
        assert_eq!((devices[0].target.as_str(), devices[0].permissions.as_str()), ("/dev/fuse", "rwm"));
        assert_eq!((devices[1].target.as_str(), devices[1].permissions.as_str()), ("/dev/b", "r"));
        let devices = service("devices: [{source: /dev/a, target: /dev/a}]").container.devices;
        assert_eq!((devices[0].target.as_str(), devices[0].permissions.as_str()), ("/dev/a", "rwm"));
    }

    #[test]
    fn nonsense_is_shown_on_its_part() {
        assert_eq!(
            errors("devices: ['/dev/a:/dev/b:x']"),
            ["4:30 `x` are no permissions of a device; write some of the letters `r`, `w` and `m`"]
        );
        assert_eq!(
            errors("devices: [fuse]"),
            ["4:15 `fuse` is not an absolute path; write a path such as `/dev/fuse`"]
        );
        assert!(errors("devices: ['vendor.test/gpu=all']")[0].contains("Container Device Interface"));
    }
}
