//! `attach`: whether `up` shows the log.

use super::ServiceKey;
use crate::shape::common::BOOL;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("attach", "Whether `up` in the foreground shows the log of the service.", &BOOL)
        .present()
        .parse(|node, service, cx| service.attach = cx.boolean(node, "`attach`"))
        .lower(|from, to| to.attach = from.service.attach.unwrap_or(true));

#[cfg(test)]
mod tests {
    use crate::testing::service;

    #[test]
    fn logs_are_shown_unless_the_file_says_otherwise() {
        assert_eq!(["", "attach: true", "attach: false"].map(|text| service(text).attach), [true, true, false]);
    }
}
