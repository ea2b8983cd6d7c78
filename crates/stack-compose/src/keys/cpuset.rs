//! `cpuset`: which processors.

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::TEXT;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("cpuset", "Processors that the container may run on, such as `0-3` or `0,1`.", &TEXT)
        .parse(parse)
        .lower(|from, to| to.container.limits.cpuset.clone_from(&from.service.cpuset));

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(text) = cx.text(node, "`cpuset`").filter(|text| !text.value.is_empty()) else { return };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_range = |part: &str| part.split_once('-').map_or(is_number(part), |(a, b)| is_number(a) && is_number(b));
    if !text.value.split(',').all(|part| is_range(part.trim())) {
        let message = format!("`{}` is not a list of processors", text.value);
        let problem = Problem::error(Code::InvalidValue, text.span, message);
        return cx.push(problem.help("write numbers and ranges, such as `0-3` or `0,1`").when_run());
    }
    service.cpuset = Some(text.value);
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn numbers_and_ranges_are_taken() {
        assert_eq!(service("cpuset: 0-1,3").container.limits.cpuset.as_deref(), Some("0-1,3"));
        assert_eq!(service("cpuset: ''").container.limits.cpuset, None);
        assert_eq!(
            errors("cpuset: first"),
            ["4:13 `first` is not a list of processors; write numbers and ranges, such as `0-3` or `0,1`"]
        );
    }
}
