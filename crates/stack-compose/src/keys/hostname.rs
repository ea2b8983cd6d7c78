//! `hostname`: what the program sees as its host name. Other containers do not find it by this name: aliases are for
//! that.

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::TEXT;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("hostname", "Host name of the container.", &TEXT)
    .parse(parse)
    .lower(|from, to| to.container.hostname = from.service.hostname.clone().map(|name| name.value));

/// The kernel takes 64 bytes (sethostname(2)), RFC 1123 letters, digits, `-` and `.`.
const MAX_BYTES: usize = 64;

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(name) = cx.text(node, "`hostname`") else { return };
    // A variable that is not set makes an empty text.
    if name.value.is_empty() {
        return;
    }
    let letters = name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if name.value.len() > MAX_BYTES || !letters || name.value.starts_with('-') {
        let message = format!("`{}` is not a host name", name.value);
        let problem = Problem::error(Code::InvalidName, name.span, message);
        cx.push(problem.help(format!("use at most {MAX_BYTES} letters, digits, `-` and `.`")));
        return;
    }
    service.hostname = Some(name);
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn a_name_is_taken_and_nonsense_is_refused() {
        assert_eq!(service("hostname: ''").container.hostname, None);
        assert_eq!(service("hostname: db.local").container.hostname.as_deref(), Some("db.local"));
        assert_eq!(
            errors("hostname: a b"),
            ["4:15 `a b` is not a host name; use at most 64 letters, digits, `-` and `.`"]
        );
    }
}
