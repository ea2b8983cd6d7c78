//! `oom_kill_disable`: no killing when memory is short.

use super::ServiceKey;
use crate::report::{Code, Problem};
use crate::shape::common::BOOL;
use crate::text::Spanned;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("oom_kill_disable", "Do not kill the program when its memory is used up.", &BOOL)
        .parse(|node, service, cx| {
            let value = cx.boolean(node, "`oom_kill_disable`");
            service.oom_kill_disable = value.filter(|value| *value).map(|value| Spanned::new(value, node.span));
        })
        .check(|service, _, report| {
            if let Some(value) = &service.oom_kill_disable {
                let message = "`oom_kill_disable` has an effect with cgroup v1 only";
                report.push(Problem::warning(Code::NoEffect, value.span, message).when_run());
            }
        })
        .lower(|from, to| to.container.limits.oom_kill_disable = from.service.oom_kill_disable.is_some());

#[cfg(test)]
mod tests {
    use crate::testing::{service, warnings};

    #[test]
    fn it_is_lowered_and_said_to_need_version_1() {
        assert!(service("oom_kill_disable: true").container.limits.oom_kill_disable);
        assert_eq!(warnings("oom_kill_disable: true"), ["4:23 `oom_kill_disable` has an effect with cgroup v1 only"]);
        assert!(warnings("oom_kill_disable: false").is_empty());
    }
}
