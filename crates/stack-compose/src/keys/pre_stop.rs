//! `pre_stop`: what to run in a container before it is stopped.

use super::ServiceKey;
use super::hook::{HOOKS, parse_hooks};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pre_stop", "What to run in a container before it is stopped.", &HOOKS)
        .parse(|node, service, cx| service.pre_stop = parse_hooks(node, cx))
        .lower(|from, to| to.container.pre_stop.clone_from(&from.service.pre_stop));
