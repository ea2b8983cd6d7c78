//! `read_only`: mount the root filesystem read-only.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("read_only", "Mount the root filesystem without write permission.", &BOOL)
        .parse(|node, service, cx| service.read_only = cx.boolean(node, "`read_only`"))
        .lower(|from, to| to.container.read_only = from.service.read_only.unwrap_or_default());

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_off_by_default_and_takes_booleans_and_their_text() {
        assert!(!service("").container.read_only);
        assert!(service("read_only: true").container.read_only);
        assert!(service("read_only: \"true\"").container.read_only);
        assert!(!service("read_only: false").container.read_only);
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        assert_eq!(
            errors("read_only: 3"),
            ["4:16 `read_only` must be `true` or `false`, not the number `3`; write `true` or `false`, without quotes"]
        );
    }
}
