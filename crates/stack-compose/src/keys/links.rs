//! `links`: other names of services.

use stack_model::ServiceName;

use super::ServiceKey;
use super::forms::before_equals;
use crate::service::Link;
use crate::shape::Merge;
use crate::shape::common::TEXTS;
use crate::text::Spanned;

pub(super) const KEY: ServiceKey = ServiceKey::new("links", "Other names of services: `SERVICE[:ALIAS]`.", &TEXTS)
    .merge(Merge::Unique(before_equals))
    .parse(|node, service, cx| {
        for link in cx.texts(node, "`links`").unwrap_or_default() {
            let (name, alias) = link.value.split_once(':').unwrap_or((&link.value, &link.value));
            let parts = Link { service: name.to_owned(), alias: alias.to_owned() };
            service.links.push(Spanned::new(parts, link.span));
        }
    })
    // The name of a service is known without a link.
    .lower(|from, to| {
        let links = from.service.links.iter().map(|link| &link.value).filter(|link| link.alias != link.service);
        let known = links.filter(|link| from.project.services.contains_key(&link.service));
        to.container.links = known.map(|link| (link.alias.clone(), ServiceName::new(&link.service))).collect();
    });

#[cfg(test)]
mod tests {
    use crate::testing::Files;

    #[test]
    fn an_alias_is_a_name_for_this_container() {
        let text = "services:\n  a: {image: i, links: [b, 'c:database', 'c:c']}\n  b: {image: i}\n  c: {image: i}\n";
        let links = Files::new(text).service("a").container.links;
        assert_eq!(links.into_iter().map(|(a, s)| format!("{a}={s}")).collect::<Vec<_>>(), ["database=c"]);
    }
}
