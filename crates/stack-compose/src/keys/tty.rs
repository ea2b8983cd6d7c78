//! `tty`: a terminal for the program.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey = ServiceKey::new("tty", "Give the program a terminal.", &BOOL)
    .parse(|node, service, cx| service.tty = cx.boolean(node, "`tty`"))
    .lower(|from, to| to.container.tty = from.service.tty.unwrap_or_default());

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_off_by_default_and_takes_booleans_and_their_text() {
        assert!(!service("").container.tty);
        assert!(service("tty: true").container.tty);
        assert!(service("tty: \"true\"").container.tty);
        assert!(!service("tty: false").container.tty);
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        assert_eq!(
            errors("tty: 3"),
            ["4:10 `tty` must be `true` or `false`, not the number `3`; write `true` or `false`, without quotes"]
        );
    }
}
