//! `group_add`: further groups.

use super::ServiceKey;
use crate::shape::common::TEXT_OR_NUMBER;
use crate::shape::{List, Shape};

const GROUPS: Shape = Shape::List(List { item: &TEXT_OR_NUMBER, unique: true });

pub(super) const KEY: ServiceKey =
    ServiceKey::new("group_add", "Further groups of the program, by name or number.", &GROUPS)
        .parse(|node, service, cx| {
            for item in cx.list(node, "`group_add`").unwrap_or_default() {
                service.group_add.extend(cx.any_text(item, "an item of `group_add`").flatten());
            }
        })
        .lower(|from, to| to.container.group_add = from.service.group_add.iter().cloned().collect());

#[cfg(test)]
mod tests {
    use crate::testing::service;

    #[test]
    fn names_and_numbers_are_lowered() {
        let groups = service("group_add: [video, 107]").container.group_add;
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), ["107", "video"]);
    }
}
