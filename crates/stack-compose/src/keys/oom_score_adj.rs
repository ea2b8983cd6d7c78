//! `oom_score_adj`: whom to kill when memory is short.

use super::ServiceKey;
use crate::shape::{Leaf, Shape};

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "oom_score_adj",
    "How likely the program is killed when memory is short, -1000 to 1000.",
    &Shape::Leaf(Leaf::Int(-1000, 1000)),
)
.parse(|node, service, cx| service.oom_score_adj = cx.integer(node, "`oom_score_adj`", -1000..=1000))
.lower(|from, to| {
    let score = from.service.oom_score_adj.as_ref().and_then(|score| i32::try_from(score.value).ok());
    to.container.oom_score_adj = score.unwrap_or(0);
});

#[cfg(test)]
mod tests {
    use crate::testing::service;

    #[test]
    fn it_is_lowered() {
        assert_eq!(service("oom_score_adj: -500").container.oom_score_adj, -500);
        assert_eq!(service("").container.oom_score_adj, 0);
    }
}
