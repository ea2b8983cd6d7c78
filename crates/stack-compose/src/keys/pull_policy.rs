//! `pull_policy`: when to ask the registry.

use crate::shape::{Leaf, Like, Shape};
use stack_model::PullPolicy;

use super::ServiceKey;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("pull_policy", "When to ask the registry for the image.", &Shape::Leaf(Leaf::Like(&POLICY)))
        .parse(parse)
        .lower(|from, to| to.container.pull_policy = from.service.pull_policy.clone().unwrap_or_default().value);

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

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(text) = cx.text(node, "`pull_policy`") else { return };
    let policy = match text.value.as_str() {
        "missing" | "if_not_present" => PullPolicy::Missing,
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "build" | "refresh" | "daily" | "weekly" => return cx.push(not_yet(text.span, "this `pull_policy`")),
        every if every.starts_with("every_") => return cx.push(not_yet(text.span, "this `pull_policy`")),
        other => {
            let near = nearest(other, ["missing", "if_not_present", "always", "never"]);
            let message = format!("`{other}` is not a pull policy");
            let problem = Problem::error(Code::InvalidValue, text.span, message);
            return cx
                .push(problem.reason("the policies are `missing`, `always` and `never`").nearest(text.span, near));
        }
    };
    service.pull_policy = Some(Spanned::new(policy, text.span));
}

#[cfg(test)]
mod tests {
    use stack_model::PullPolicy;

    use crate::testing::{errors, service};

    #[test]
    fn policies_are_known_by_all_their_names() {
        let policy = |text: &str| service(&format!("pull_policy: {text}")).container.pull_policy;
        assert_eq!(policy("if_not_present"), PullPolicy::Missing);
        assert_eq!(policy("missing"), PullPolicy::Missing);
        assert_eq!(policy("always"), PullPolicy::Always);
        assert_eq!(policy("never"), PullPolicy::Never);
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(errors("pull_policy: daily"), ["4:18 this `pull_policy` is not supported yet"]);
        assert_eq!(errors("pull_policy: allways"), ["4:18 `allways` is not a pull policy; did you mean `always`?"]);
    }
}
