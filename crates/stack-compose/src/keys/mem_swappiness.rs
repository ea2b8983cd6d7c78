//! `mem_swappiness`: how eagerly memory is swapped.

use super::ServiceKey;
use super::forms::above_zero;
use crate::report::{Code, Problem};
use crate::shape::common::BYTES;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("mem_swappiness", "How eagerly memory is swapped, 0 to 100.", &BYTES)
        .parse(|node, service, cx| service.mem_swappiness = cx.integer(node, "`mem_swappiness`", 0..=100))
        .check(|service, _, report| {
            if let Some(value) = service.mem_swappiness.as_ref().filter(|value| value.value > 0) {
                let message = "`mem_swappiness` has an effect with cgroup v1 only";
                report.push(Problem::warning(Code::NoEffect, value.span, message).when_run());
            }
        })
        .lower(|from, to| to.container.limits.memory_swappiness = above_zero(from.service.mem_swappiness.as_ref()));

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn a_percentage_is_lowered_and_zero_is_not_given() {
        assert_eq!(service("mem_swappiness: 10").container.limits.memory_swappiness, Some(10));
        assert_eq!(service("mem_swappiness: 0").container.limits.memory_swappiness, None);
        assert!(errors("mem_swappiness: 101")[0].contains("between 0 and 100"));
    }
}
