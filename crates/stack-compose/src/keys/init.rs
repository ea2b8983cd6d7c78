//! `init`: a reaping process 1 in front of the program.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey = ServiceKey::new("init", "Leave a small process 1 in front of the program.", &BOOL)
    .present()
    .parse(|node, service, cx| service.init = cx.boolean(node, "`init`"))
    .lower(|from, to| to.container.init = from.service.init.unwrap_or_default());

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_off_by_default_and_takes_booleans_and_their_text() {
        assert!(!service("").container.init);
        assert!(service("init: true").container.init);
        assert!(service("init: \"true\"").container.init);
        assert!(!service("init: false").container.init);
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        assert_eq!(
            errors("init: 3"),
            ["4:11 `init` must be `true` or `false`, not the number `3`; write `true` or `false`, without quotes"]
        );
    }
}
