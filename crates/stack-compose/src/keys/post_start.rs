//! `post_start`: what to run in a container after it started.

use super::ServiceKey;
use super::hook::{HOOKS, parse_hooks};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("post_start", "What to run in a container after it started.", &HOOKS)
        .parse(|node, service, cx| service.post_start = parse_hooks(node, cx))
        .lower(|from, to| to.container.post_start.clone_from(&from.service.post_start));
