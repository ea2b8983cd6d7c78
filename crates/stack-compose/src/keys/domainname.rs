//! `domainname`: the NIS domain.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("domainname", "Domain name of the container.", &TEXT)
    .parse(|node, service, cx| {
        service.domainname = cx.text(node, "`domainname`").map(|text| text.value).filter(|name| !name.is_empty());
    })
    .lower(|from, to| to.container.domainname.clone_from(&from.service.domainname));

#[cfg(test)]
mod tests {
    use crate::testing::service;

    #[test]
    fn it_is_lowered_and_empty_is_none() {
        assert_eq!(service("domainname: example.org").container.domainname.as_deref(), Some("example.org"));
        assert_eq!(service("domainname: ''").container.domainname, None);
    }
}
