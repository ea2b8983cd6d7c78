//! `scale`: how many containers.

use super::ServiceKey;
use crate::context::Cx;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::Service;
use crate::shape::common::COUNT;
use crate::text::Spanned;
use crate::yaml::Node;

/// More is surely a slip of the finger, and more than a subnet or a person can hold.
const MAX_REPLICAS: i64 = 1000;

pub(super) const KEY: ServiceKey = ServiceKey::new("scale", "How many containers; 1 by default.", &COUNT)
    .present()
    .check(check)
    .parse(|node, service, cx| service.scale = replicas(node, "`scale`", cx))
    .lower(|from, to| to.replicas = from.service.replicas().value);

/// A number of containers.
pub(super) fn replicas(node: &Node, what: &str, cx: &mut Cx<'_>) -> Option<Spanned<u32>> {
    cx.integer(node, what, 0..=MAX_REPLICAS).map(|number| number.map(|number| u32::try_from(number).unwrap_or(0)))
}

fn check(service: &Service, _: &Project, report: &mut Report) {
    let deploy = service.deploy.as_ref().and_then(|deploy| deploy.replicas.as_ref());
    let Some((scale, deploy)) = service.scale.as_ref().zip(deploy).filter(|(a, b)| a.value != b.value) else { return };
    let message = "`scale` and `deploy.replicas` say different numbers";
    let problem = Problem::error(Code::ConflictingKeys, scale.span, message).also(deploy.span, "and here");
    report.push(problem.help("remove one of them"));
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn one_is_the_default_and_deploy_may_say_it_too() {
        assert_eq!(service("").replicas, 1);
        assert_eq!(service("scale: 3").replicas, 3);
        assert_eq!(service("scale: '0'").replicas, 0);
        assert_eq!(service("deploy: {replicas: 2}").replicas, 2);
        assert_eq!(service("deploy: {replicas: 2}\nscale: 2").replicas, 2);
    }

    #[test]
    fn two_numbers_are_refused() {
        assert_eq!(
            errors("scale: 2\ndeploy: {replicas: 3}"),
            ["4:12 `scale` and `deploy.replicas` say different numbers; remove one of them"]
        );
        assert_eq!(errors("scale: -1"), ["4:12 `scale` must be at least 0; write a number in this range"]);
    }
}
