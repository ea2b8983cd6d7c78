//! `labels`: names and values that travel with the container.

use super::ServiceKey;
use super::forms::labels_of;
use crate::shape::common::LABELS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("labels", "Names and values that travel with the container.", &LABELS)
        .parse(|node, service, cx| service.labels = labels_of(node, "`labels`", cx))
        .lower(|from, to| to.container.labels = from.service.labels.clone().into_iter().collect());

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn lists_and_mappings_mean_the_same() {
        let expected = [("a", "1"), ("b", "x=y"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let list = service("labels: [a=1, 'b=x=y', c]").container.labels;
        let mapping = service("labels: {a: 1, b: x=y, c: }").container.labels;
        assert_eq!(list, expected.clone().into());
        assert_eq!(mapping, expected.into());
    }

    #[test]
    fn a_single_text_is_refused() {
        assert_eq!(
            errors("labels: a"),
            [
                "4:13 `labels` must be a mapping or a list of `KEY=VALUE`, not the text `a`; write it as an item of a list"
            ]
        );
    }
}
