//! `build`: how the image is made. A text is the context.

use super::ServiceKey;
use super::extra_hosts::HOSTS;
use super::forms::{before_equals, key_values};
use super::ulimits::ULIMITS;
use crate::context::Cx;
use crate::shape::common::{
    ANY_TEXTS, BOOL, BYTES, KEY_VALUES, LABELS, SCALAR, TEXT, TEXT_OR_BOOL, TEXT_OR_TEXTS, TEXTS, free,
};
use crate::shape::{At, Field, Forms, Merge, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("build", "How the image is made; a text is the context.", &BUILD);

const BUILD: Shape = Shape::Forms(Forms { long: &LONG, short: &[&TEXT], expand });
const LONG: Shape = Shape::Object(&Object::new(&[
    Field::new("context", "Directory or Git repository with what the build needs.", &TEXT),
    Field::new("dockerfile", "Path of the Dockerfile, from the context on.", &TEXT),
    Field::new("dockerfile_inline", "The Dockerfile itself.", &TEXT),
    Field::new("entitlements", "Further rights of the build.", &ANY_TEXTS),
    Field::new("args", "Variables of the build.", &KEY_VALUES),
    Field::new("ssh", "SSH agents or keys for the build: `default` or `id=path`.", &SSH),
    Field::new("labels", "Labels of the image.", &LABELS),
    Field::new("cache_from", "Where cached layers come from.", &ANY_TEXTS),
    Field::new("cache_to", "Where cached layers go to.", &ANY_TEXTS),
    Field::new("no_cache", "Build every step again.", &BOOL),
    Field::new("no_cache_filter", "Stages to build again.", &TEXT_OR_TEXTS),
    Field::new("additional_contexts", "Further contexts by name.", &LABELS),
    Field::new("network", "Network of the build: `none`, `host` or a name.", &TEXT),
    Field::new("provenance", "Attestation of how the image was made.", &TEXT_OR_BOOL),
    Field::new("sbom", "Attestation of what is in the image.", &TEXT_OR_BOOL),
    Field::new("pull", "Ask the registry for newer base images.", &BOOL),
    Field::new("target", "Stage of the Dockerfile to build.", &TEXT),
    Field::new("shm_size", "Size of /dev/shm in the build.", &BYTES),
    Field::new("extra_hosts", "Further names of hosts in the build.", &HOSTS)
        .merge(Merge::Unique(super::forms::itself)),
    Field::new("isolation", "Isolation technology; only on Windows.", &TEXT),
    Field::new("privileged", "Build with all rights.", &BOOL),
    Field::new("secrets", "Secrets that the build sees.", &super::configs::FILES),
    Field::new("tags", "Further names of the image.", &TEXTS).merge(Merge::Unique(before_equals)),
    Field::new("ulimits", "Resource limits of the build's processes.", &ULIMITS),
    Field::new("platforms", "Platforms to build for.", &ANY_TEXTS),
]));

const SSH: Shape = Shape::Forms(Forms { long: &KEYS, short: &[&TEXT, &TEXTS], expand: expand_ssh });
const KEYS: Shape = free(&SCALAR);

#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    Some(if node.as_text().is_some() { Node::mapping([("context", node)], span) } else { node })
}

fn expand_ssh(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    let node = if node.as_text().is_some() { Node::sequence(vec![node], span) } else { node };
    key_values(node, at, cx)
}
