//! `memswap_limit`: memory and swap together; -1 is without limit. Without it a container with a memory limit may swap
//! as much again, as docker has it.

use crate::shape::common::BYTES;
use stack_model::{self as model, Bytes};

use super::ServiceKey;
use super::key::Lowering;
use crate::context::Cx;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::Service;
use crate::text::Spanned;
use crate::yaml::{Node, Value as Leaf};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("memswap_limit", "Memory and swap together; -1 is without limit.", &BYTES)
        .parse(parse)
        .check(check)
        .lower(lower);

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let unlimited = match node.as_scalar().map(|scalar| (scalar.value, &*scalar.text)) {
        Some((Leaf::Int(-1), _)) => true,
        Some((Leaf::Text, text)) => text == "-1",
        _ => false,
    };
    service.memswap_limit = if unlimited {
        Some(Spanned::new(None, node.span))
    } else {
        cx.bytes(node, "`memswap_limit`").map(|bytes| bytes.map(Some))
    };
}

fn check(service: &Service, _: &Project, report: &mut Report) {
    let Some((swap, limit)) = service.memswap_limit.as_ref().zip(service.memory_limit()) else { return };
    let Some(total) = swap.value.filter(|total| (1..limit.value).contains(total)) else { return };
    let message = format!("`memswap_limit` of {} is below the memory limit of {}", Bytes(total), Bytes(limit.value));
    let problem = Problem::error(Code::ConflictingKeys, swap.span, message).also(limit.span, "the memory limit");
    report.push(problem.reason("it counts memory and swap together").when_run());
}

fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    let limit = from.service.memory_limit().map(|limit| limit.value);
    let given = from.service.memswap_limit.as_ref().map(|swap| swap.value);
    to.container.limits.memory_and_swap = match given {
        Some(None) => None,
        Some(Some(total)) if total > 0 => Some(Bytes(total)),
        _ => limit.map(|limit| Bytes(limit.saturating_mul(2))),
    };
}

#[cfg(test)]
mod tests {
    use stack_model::Bytes;

    use crate::testing::{errors, service};

    fn total(text: &str) -> Option<Bytes> {
        service(text).container.limits.memory_and_swap
    }

    #[test]
    fn it_is_twice_the_memory_unless_it_is_given() {
        assert_eq!(total(""), None);
        assert_eq!(total("mem_limit: 64m"), Some(Bytes(128 << 20)));
        assert_eq!(total("mem_limit: 64m\nmemswap_limit: 64m"), Some(Bytes(64 << 20)));
        assert_eq!(total("mem_limit: 64m\nmemswap_limit: -1"), None);
        assert_eq!(total("mem_limit: 64m\nmemswap_limit: 0"), Some(Bytes(128 << 20)));
        assert_eq!(total("deploy: {resources: {limits: {memory: 64m}}}"), Some(Bytes(128 << 20)));
    }

    #[test]
    fn where_it_is_implied_the_memory_limit_is_its_place() {
        let service = service("mem_limit: 64m\ntmpfs: /run");
        assert_eq!(service.origin_of("memswap_limit").to_string(), "compose.yaml:4:16");
        assert_eq!(service.origin_of("volumes").to_string(), "compose.yaml:5:5");
    }

    #[test]
    fn it_cannot_be_below_the_memory_limit() {
        assert_eq!(
            errors("mem_limit: 64m\nmemswap_limit: 32m"),
            ["5:20 `memswap_limit` of 32m is below the memory limit of 64m"]
        );
    }
}
