//! `cpus`: how much processor time a container may use.

use crate::shape::common::NUMBER;
use stack_model::NanoCpus;

use super::ServiceKey;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpus", "Processors that the container may use, such as `0.5`.", &NUMBER)
        .parse(|node, service, cx| service.cpus = cx.cpus(node, "`cpus`"))
        .lower(|from, to| to.container.limits.cpus = from.service.cpu_limit().map(|cpus| NanoCpus(cpus.value)));

#[cfg(test)]
mod tests {
    use stack_model::NanoCpus;

    use crate::testing::{errors, service};

    #[test]
    fn numbers_and_texts_mean_the_same_and_zero_is_no_limit() {
        assert_eq!(service("cpus: 0.5").container.limits.cpus, Some(NanoCpus(500_000_000)));
        assert_eq!(service("cpus: '1.5'").container.limits.cpus, Some(NanoCpus(1_500_000_000)));
        assert_eq!(service("cpus: 0").container.limits.cpus, None);
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(
            errors("cpus: half"),
            ["4:11 `cpus` must be a number, not the text `half`; write a decimal number, such as `0.5`"]
        );
    }
}
