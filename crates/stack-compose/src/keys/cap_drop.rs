//! `cap_drop`: capabilities to take from the default set.

use serde_json::Value;

use super::forms::{capabilities, itself, plain_capability};
use super::{Merge, ServiceKey};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "cap_drop",
    |node, service, cx| service.cap_drop = capabilities(node, "`cap_drop`", cx),
    |service| {
        let names = service.cap_drop.iter().map(|name| Value::from(name.value.as_str()));
        (!service.cap_drop.is_empty()).then(|| names.collect())
    },
)
.merge(Merge::Unique(itself))
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
