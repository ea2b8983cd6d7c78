//! `pids_limit`: how many processes and threads; -1 is without limit.

use super::ServiceKey;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pids_limit", "Most processes and threads; -1 is without limit.", &INT)
        .parse(|node, service, cx| service.pids_limit = cx.integer(node, "`pids_limit`", -1..=i64::MAX))
        .lower(|from, to| to.container.limits.pids = from.service.process_limit().map(|pids| pids.value));

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn numbers_are_lowered() {
        assert_eq!(service("pids_limit: 200").container.limits.pids, Some(200));
        assert_eq!(service("pids_limit: '-1'").container.limits.pids, Some(-1));
        assert_eq!(service("pids_limit: 0").container.limits.pids, None);
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(errors("pids_limit: -2"), ["4:17 `pids_limit` must be at least -1; write a number in this range"]);
        assert_eq!(
            errors("pids_limit: 1.5"),
            ["4:17 `pids_limit` must be a whole number, not the number `1.5`; write digits only, such as `3`"]
        );
    }
}
