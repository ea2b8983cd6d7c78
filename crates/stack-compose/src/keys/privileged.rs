//! `privileged`: all capabilities and devices, no filter.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("privileged", "All capabilities and devices, nothing masked.", &BOOL)
        .parse(|node, service, cx| service.privileged = cx.boolean(node, "`privileged`"))
        .lower(|from, to| to.container.privileged = from.service.privileged.unwrap_or_default());

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_off_by_default_and_takes_booleans_and_their_text() {
        assert!(!service("").container.privileged);
        assert!(service("privileged: true").container.privileged);
        assert!(service("privileged: \"true\"").container.privileged);
        assert!(!service("privileged: false").container.privileged);
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        assert_eq!(
            errors("privileged: 3"),
            [
                "4:17 `privileged` must be `true` or `false`, not the number `3`; write `true` or `false`, without quotes"
            ]
        );
    }
}
