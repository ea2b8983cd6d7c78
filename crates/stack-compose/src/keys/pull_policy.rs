//! `pull_policy`: when to ask the registry.

use crate::shape::{Leaf, Like, Shape};
use stack_model::{Millis, PullPolicy};

use super::ServiceKey;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::text::Spanned;
use crate::units::parse_duration;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pull_policy", "When to ask the registry for the image.", &Shape::Leaf(Leaf::Like(&POLICY)))
        .parse(parse)
        .lower(|from, to| to.container.pull_policy = lower(from.service));

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const POLICY: Like = Like {
    matches: |text| {
        let words = ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
        words.iter().any(|word| text.contains(word)) || text.find("every_").is_some_and(|at| is_period(&text[at + 6..]))
    },
    called: "a pull policy",
    pattern: "always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+",
    wanted: "`missing`, `always`, `never`, `build`, `refresh`, `daily`, `weekly` or `every_12h`",
    words: &["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"],
};

/// Begins with a number and a unit of time.
fn is_period(text: &str) -> bool {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    digits > 0 && text[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
}

/// `refresh` without a period of its own takes the one beside it.
fn lower(service: &Service) -> PullPolicy {
    match service.pull_policy.as_ref().map(|policy| policy.value) {
        Some(PullPolicy::Every(Millis(0))) => PullPolicy::Every(service.pull_refresh_after.unwrap_or(Millis(0))),
        policy => policy.unwrap_or_default(),
    }
}

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(text) = cx.text(node, "`pull_policy`") else { return };
    let policy = match text.value.as_str() {
        "missing" | "if_not_present" => PullPolicy::Missing,
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "build" => PullPolicy::Build,
        // How long an answer stays good is said by `pull_refresh_after`, and not at all without it.
        "refresh" => PullPolicy::Every(Millis(0)),
        "daily" => PullPolicy::Every(Millis(DAY_MS)),
        "weekly" => PullPolicy::Every(Millis(7 * DAY_MS)),
        other => match other.strip_prefix("every_").map(parse_duration) {
            Some(Ok(nanos)) => PullPolicy::Every(Millis(nanos / 1_000_000)),
            Some(Err(_)) => {
                let problem = Problem::error(Code::InvalidValue, text.span, format!("`{other}` has no period"));
                return cx.push(problem.help("write `every_12h`; units are `w`, `d`, `h`, `m` and `s`"));
            }
            None => {
                let near = nearest(other, POLICY.words.iter().copied());
                let message = format!("`{other}` is not a pull policy");
                let problem = Problem::error(Code::InvalidValue, text.span, message);
                return cx.push(problem.reason(format!("the policies are {}", POLICY.wanted)).nearest(text.span, near));
            }
        },
    };
    service.pull_policy = Some(Spanned::new(policy, text.span));
}

#[cfg(test)]
mod tests {
    use stack_model::{Millis, PullPolicy};

    use crate::testing::{errors, service};

    #[test]
    fn policies_are_known_by_all_their_names() {
        let policy = |text: &str| service(&format!("pull_policy: {text}")).container.pull_policy;
        assert_eq!(policy("if_not_present"), PullPolicy::Missing);
        assert_eq!(policy("missing"), PullPolicy::Missing);
        assert_eq!(policy("always"), PullPolicy::Always);
        assert_eq!(policy("never"), PullPolicy::Never);
        assert_eq!(policy("build"), PullPolicy::Build);
        let every = |hours: u64| PullPolicy::Every(Millis(hours * 60 * 60 * 1000));
        assert_eq!(policy("daily"), every(24));
        assert_eq!(policy("weekly"), every(7 * 24));
        assert_eq!(policy("every_1d12h"), every(36));
        assert_eq!(policy("refresh"), every(0));
        assert_eq!(policy("refresh\npull_refresh_after: 2h"), every(2));
        assert_eq!(policy("missing\npull_refresh_after: 2h"), PullPolicy::Missing);
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(
            errors("pull_policy: every_1h5"),
            ["4:18 `every_1h5` has no period; write `every_12h`; units are `w`, `d`, `h`, `m` and `s`"]
        );
        assert_eq!(errors("pull_policy: allways"), ["4:18 `allways` is not a pull policy; did you mean `always`?"]);
    }
}
