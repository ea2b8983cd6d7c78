//! `cpus`: how much processor time a container may use.

use serde_json::Value;
use stack_model::NanoCpus;

use super::ServiceKey;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "cpus",
    |node, service, cx| service.cpus = cx.cpus(node, "`cpus`"),
    |service| service.cpus.as_ref().map(|cpus| number(cpus.value)),
)
.lower(|from, to| to.container.limits.cpus = from.service.cpu_limit().map(|cpus| NanoCpus(cpus.value)));

/// As a JSON number: `0.5`, `2`.
#[expect(clippy::cast_precision_loss, reason = "a processor count has few digits")]
pub(super) fn number(nano: u64) -> Value {
    if nano.is_multiple_of(1_000_000_000) { Value::from(nano / 1_000_000_000) } else { Value::from(nano as f64 / 1e9) }
}

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
            ["4:11 `half` is not a number of processors; write a decimal number, such as `0.5` for half a processor"]
        );
    }
}
