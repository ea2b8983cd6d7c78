//! `stdin_open`: keep standard input open.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey = ServiceKey::new("stdin_open", "Keep standard input open.", &BOOL)
    .parse(|node, service, cx| service.stdin_open = cx.boolean(node, "`stdin_open`"))
    .lower(|from, to| to.container.stdin_open = from.service.stdin_open.unwrap_or_default());

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_off_by_default_and_takes_booleans_and_their_text() {
        assert!(!service("").container.stdin_open);
        assert!(service("stdin_open: true").container.stdin_open);
        assert!(service("stdin_open: \"true\"").container.stdin_open);
        assert!(!service("stdin_open: false").container.stdin_open);
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        assert_eq!(
            errors("stdin_open: 3"),
            [
                "4:17 `stdin_open` must be `true` or `false`, not the number `3`; write `true` or `false`, without quotes"
            ]
        );
    }
}
