//! `device_cgroup_rules`: rules for devices.

use super::ServiceKey;
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::TEXTS;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("device_cgroup_rules", "Rules for devices, such as `c 1:3 mr`.", &TEXTS)
        .parse(parse)
        .lower(|from, to| to.container.device_cgroup_rules.clone_from(&from.service.device_cgroup_rules));

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for rule in cx.texts(node, "`device_cgroup_rules`").unwrap_or_default() {
        if is_rule(&rule.value) {
            service.device_cgroup_rules.push(rule.value);
            continue;
        }
        let message = format!("`{}` is no rule for devices", rule.value);
        let problem = Problem::error(Code::InvalidValue, rule.span, message);
        cx.push(problem.help("write the kind, the numbers and the permissions, such as `c 1:3 mr` or `c 188:* rwm`"));
    }
}

fn is_rule(text: &str) -> bool {
    let is_number = |part: &str| part == "*" || !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, permissions] = parts.as_slice() else { return false };
    let numbers = numbers.split_once(':').is_some_and(|(major, minor)| is_number(major) && is_number(minor));
    let permissions = !permissions.is_empty() && permissions.chars().all(|letter| "rwm".contains(letter));
    matches!(*kind, "a" | "b" | "c") && numbers && permissions
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn rules_have_three_parts() {
        let rules = service("device_cgroup_rules: ['c 188:* rwm', 'b 7:0 r']").container.device_cgroup_rules;
        assert_eq!(rules, ["c 188:* rwm", "b 7:0 r"]);
        for wrong in ["c 188 rwm", "x 1:3 r", "c 1:3", "c 1:3 z", "c a:3 r"] {
            assert_eq!(errors(&format!("device_cgroup_rules: ['{wrong}']")).len(), 1, "{wrong}");
        }
    }
}
