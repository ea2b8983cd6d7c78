//! `mem_limit`: the most memory a container may use.

use crate::shape::common::BYTES;
use stack_model::Bytes;

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::text::Spanned;
use crate::yaml::{Node, Value as Leaf};

pub(super) const KEY: ServiceKey = ServiceKey::new("mem_limit", "The most memory that the container may use.", &BYTES)
    .parse(|node, service, cx| {
        service.mem_limit = cx.bytes(node, "`mem_limit`");
        warn_of_missing_unit(node, service.mem_limit.as_ref(), cx);
    })
    .lower(|from, to| to.container.limits.memory = from.service.memory_limit().map(|limit| Bytes(limit.value)));

/// Below this a bare number surely lacks its unit: no program starts in 64 kB.
const LEAST: u64 = 64 << 10;

/// `mem_limit: 512` is 512 bytes.
pub(super) fn warn_of_missing_unit(node: &Node, bytes: Option<&Spanned<u64>>, cx: &mut Cx<'_>) {
    let bare = node.as_scalar().filter(|scalar| matches!(scalar.value, Leaf::Int(_)));
    let Some((scalar, bytes)) = bare.zip(bytes).filter(|(_, bytes)| (1..LEAST).contains(&bytes.value)) else { return };
    let message = format!("`{}` is {} bytes", scalar.text, bytes.value);
    let problem = Problem::warning(Code::UnitHint, node.span, message).reason("a size without a unit is in bytes");
    let mended = format!("{}m", scalar.text);
    cx.push(problem.help(format!("did you mean `{mended}`?")).patch(node.span, mended));
}

#[cfg(test)]
mod tests {
    use stack_model::Bytes;

    use crate::testing::{errors, service, warnings};

    #[test]
    fn sizes_are_lowered_and_zero_is_no_limit() {
        assert_eq!(service("mem_limit: 256m").container.limits.memory, Some(Bytes(256 << 20)));
        assert_eq!(service("mem_limit: 1.5g").container.limits.memory, Some(Bytes(3 << 29)));
        assert_eq!(service("mem_limit: 268435456").container.limits.memory, Some(Bytes(256 << 20)));
        assert_eq!(service("mem_limit: 0").container.limits.memory, None);
    }

    #[test]
    fn a_bare_small_number_lacks_its_unit() {
        assert_eq!(warnings("mem_limit: 512"), ["4:16 `512` is 512 bytes; did you mean `512m`?"]);
    }

    #[test]
    fn nonsense_is_refused_with_the_units() {
        assert_eq!(
            errors("mem_limit: 10 parsecs"),
            ["4:16 `10 parsecs` is not a size; write a number and one of the units `b`, `k`, `m`, `g`, such as `512m`"]
        );
    }
}
