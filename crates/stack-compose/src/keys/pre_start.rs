//! `pre_start`: containers that run to their end before the service starts.

use super::ServiceKey;
use super::hook::{STEPS, parse_steps};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pre_start", "Containers that run to their end before the service starts.", &STEPS)
        .parse(|node, service, cx| service.pre_start = parse_steps(node, cx));
