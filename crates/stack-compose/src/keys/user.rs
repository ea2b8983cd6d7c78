//! `user`: who runs the program: `uid[:gid]` or names of the image's own files.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("user", "User of the program: `uid[:gid]` or names.", &TEXT)
    .parse(|node, service, cx| service.user = cx.text(node, "`user`").map(|text| text.value))
    .lower(|from, to| to.container.user.clone_from(&from.service.user));

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn it_is_the_images_unless_it_is_given() {
        assert_eq!(service("").container.user, None);
        assert_eq!(service("user: \"1000:1000\"").container.user.as_deref(), Some("1000:1000"));
    }

    #[test]
    fn a_number_needs_quotes() {
        let message = "4:11 `user` must be text, not the number `1000`; put it in quotes";
        assert_eq!(errors("user: 1000"), [message]);
    }
}
