//! `restart`: when to start a container again after it ended.

use crate::shape::common::TEXT;
use stack_model::{Millis, RestartPolicy};

use super::ServiceKey;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "restart",
    "When to start the container again after it ended: `no`, `always`, `on-failure[:attempts]`, `unless-stopped`.",
    &TEXT,
)
.parse(parse)
.lower(|from, to| {
    let deploy = from.service.deploy.as_ref();
    let deployed = deploy.and_then(|deploy| deploy.restart);
    // Zero is what docker calls its default, and leaves it to us.
    let time = |nanos: Option<u64>| nanos.map(|nanos| Millis(nanos.div_ceil(1_000_000))).filter(|time| time.0 > 0);
    to.container.restart_delay = time(deploy.and_then(|deploy| deploy.restart_delay));
    to.container.restart_window = time(deploy.and_then(|deploy| deploy.restart_window));
    to.container.restart = deployed.unwrap_or_else(|| from.service.restart.clone().unwrap_or_default().value);
});

const WORDS: [&str; 4] = ["no", "always", "on-failure", "unless-stopped"];

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(text) = cx.text(node, "`restart`") else { return };
    let (name, attempts) = match text.value.split_once(':') {
        Some((name, attempts)) => (name, Some(attempts)),
        None => (text.value.as_str(), None),
    };
    let policy = match (name, attempts) {
        ("no" | "", None) => RestartPolicy::No,
        ("always", None) => RestartPolicy::Always,
        ("unless-stopped", None) => RestartPolicy::UnlessStopped,
        ("on-failure", None) => RestartPolicy::OnFailure(None),
        ("on-failure", Some(attempts)) => match attempts.parse::<u32>() {
            // Docker takes zero as "without end".
            Ok(attempts) => RestartPolicy::OnFailure(Some(attempts).filter(|attempts| *attempts > 0)),
            Err(_) => {
                let span = node.part(name.len() + 1..text.value.len());
                cx.push(Problem::error(Code::InvalidValue, span, format!("`{attempts}` is not a number of attempts")));
                return;
            }
        },
        _ => {
            let message = format!("`{}` is not a restart policy", text.value);
            let problem = Problem::error(Code::InvalidValue, node.span, message);
            let problem =
                problem.reason("the policies are `no`, `always`, `on-failure[:attempts]` and `unless-stopped`");
            cx.push(problem.nearest(node.span, nearest(name, WORDS)));
            return;
        }
    };
    service.restart = Some(Spanned::new(policy, node.span));
}

#[cfg(test)]
mod tests {
    use stack_model::RestartPolicy;

    use crate::testing::{errors, service};

    #[test]
    fn every_policy_is_known() {
        let policy = |text: &str| service(&format!("restart: {text}")).container.restart;
        assert_eq!(service("").container.restart, RestartPolicy::No);
        assert_eq!(policy("no"), RestartPolicy::No, "a text in YAML 1.2");
        assert_eq!(policy("always"), RestartPolicy::Always);
        assert_eq!(policy("unless-stopped"), RestartPolicy::UnlessStopped);
        assert_eq!(policy("on-failure"), RestartPolicy::OnFailure(None));
        assert_eq!(policy("on-failure:3"), RestartPolicy::OnFailure(Some(3)));
    }

    #[test]
    fn others_are_refused_with_the_nearest() {
        assert_eq!(
            errors("restart: unless_stopped"),
            ["4:14 `unless_stopped` is not a restart policy; did you mean `unless-stopped`?"]
        );
        assert_eq!(errors("restart: on-failure:x"), ["4:25 `x` is not a number of attempts"]);
        assert_eq!(
            errors("restart: false"),
            ["4:14 `restart` must be text, not the boolean `false`; never restarting is the text `no`"]
        );
    }
}
