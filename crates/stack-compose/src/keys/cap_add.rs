//! `cap_add`: capabilities to add to the default set.

use serde_json::Value;

use super::forms::{capabilities, itself, plain_capability};
use super::{Merge, ServiceKey};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "cap_add",
    |node, service, cx| service.cap_add = capabilities(node, "`cap_add`", cx),
    |service| {
        let names = service.cap_add.iter().map(|name| Value::from(name.value.as_str()));
        (!service.cap_add.is_empty()).then(|| names.collect())
    },
)
.merge(Merge::Unique(itself))
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
