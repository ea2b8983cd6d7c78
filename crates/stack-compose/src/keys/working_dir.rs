//! `working_dir`: where the program starts.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("working_dir", "Working directory of the program.", &TEXT)
    .parse(|node, service, cx| service.working_dir = cx.text(node, "`working_dir`").map(|text| text.value))
    .lower(|from, to| to.container.working_dir.clone_from(&from.service.working_dir));

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_the_images_unless_it_is_given() {
        assert_eq!(service("").container.working_dir, None);
        assert_eq!(service("working_dir: \"/srv\"").container.working_dir.as_deref(), Some("/srv"));
    }

    #[test]
    fn a_number_needs_quotes() {
        let message = "4:18 `working_dir` must be text, not the number `1000`; put it in quotes";
        assert_eq!(errors("working_dir: 1000"), [message]);
    }
}
