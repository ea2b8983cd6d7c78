//! `cap_drop`: capabilities to take from the default set.

use super::ServiceKey;
use super::forms::{capabilities, itself, plain_capability};
use crate::shape::Merge;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cap_drop", "Capabilities to drop, such as `NET_RAW`, or `ALL`.", &TEXTS)
        .merge(Merge::Unique(itself))
        .parse(|node, service, cx| service.cap_drop = capabilities(node, "`cap_drop`", cx))
        .lower(|from, to| {
            to.container.cap_drop = from.service.cap_drop.iter().map(|name| plain_capability(&name.value)).collect();
        });

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn the_prefix_and_the_case_do_not_count() {
        let names: Vec<String> =
            service("cap_drop: [net_admin, CAP_SYS_TIME, ALL]").container.cap_drop.into_iter().collect();
        assert_eq!(names, ["ALL", "NET_ADMIN", "SYS_TIME"]);
    }

    #[test]
    fn a_slip_is_named_with_what_was_meant() {
        assert_eq!(
            errors("cap_drop: [NET_ADMN]"),
            ["4:16 there is no capability `NET_ADMN`; did you mean `NET_ADMIN`?"]
        );
    }
}
