//! `cpu_quota`: processor time in each period.

use super::ServiceKey;
use super::forms::above_zero;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::Service;
use crate::shape::common::INT;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpu_quota", "Processor time in each `cpu_period`, in microseconds.", &INT)
        .parse(|node, service, cx| service.cpu_quota = cx.integer(node, "`cpu_quota`", -1..=i64::MAX))
        .check(check)
        .lower(|from, to| to.container.limits.cpu_quota = above_zero(from.service.cpu_quota.as_ref()));

/// `cpus` is a quota in other words.
fn check(service: &Service, _: &Project, report: &mut Report) {
    let Some(cpus) = service.cpu_limit() else { return };
    for (key, value) in [("cpu_quota", &service.cpu_quota), ("cpu_period", &service.cpu_period)] {
        if let Some(value) = value.as_ref().filter(|value| value.value > 0) {
            let message = format!("`cpus` and `{key}` say the same thing in two ways");
            let problem = Problem::error(Code::ConflictingKeys, value.span, message).also(cpus.span, "and here");
            report.push(problem.help("remove one of them").when_run());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn shares_period_and_quota_are_lowered_and_zero_is_none() {
        let limits = service("cpu_shares: 512\ncpu_period: 50000\ncpu_quota: '25000'").container.limits;
        assert_eq!((limits.cpu_shares, limits.cpu_period, limits.cpu_quota), (Some(512), Some(50_000), Some(25_000)));
        let limits = service("cpu_shares: 0\ncpu_quota: -1").container.limits;
        assert_eq!((limits.cpu_shares, limits.cpu_quota), (None, None));
    }

    #[test]
    fn a_quota_excludes_cpus() {
        assert_eq!(
            errors("cpus: 0.5\ncpu_quota: 50000"),
            ["5:16 `cpus` and `cpu_quota` say the same thing in two ways; remove one of them"]
        );
    }
}
