//! `cap_add`: capabilities to add to the default set.

use super::ServiceKey;
use super::forms::{capabilities, itself, plain_capability};
use crate::shape::Merge;
use crate::shape::common::TEXTS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cap_add", "Capabilities to add, such as `NET_ADMIN`, or `ALL`.", &TEXTS)
        .merge(Merge::Unique(itself))
        .parse(|node, service, cx| service.cap_add = capabilities(node, "`cap_add`", cx))
        .lower(|from, to| {
            to.container.cap_add = from.service.cap_add.iter().map(|name| plain_capability(&name.value)).collect();
        });

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn the_prefix_and_the_case_do_not_count() {
        let names: Vec<String> =
            service("cap_add: [net_admin, CAP_SYS_TIME, ALL]").container.cap_add.into_iter().collect();
        assert_eq!(names, ["ALL", "NET_ADMIN", "SYS_TIME"]);
    }

    #[test]
    fn a_slip_is_named_with_what_was_meant() {
        assert_eq!(
            errors("cap_add: [NET_ADMN]"),
            ["4:15 there is no capability `NET_ADMN`; did you mean `NET_ADMIN`?"]
        );
    }
}
