//! `profiles`: the service exists only when one of them is asked for.

use super::ServiceKey;
use super::forms::{itself, unique_texts};
use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::Merge;
use crate::shape::common::TEXTS;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("profiles", "Profiles that the service belongs to; without any it is always on.", &TEXTS)
        .merge(Merge::Unique(itself))
        .parse(parse);

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let names = unique_texts(node, "`profiles`", cx);
    for name in &names {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let first = name.value.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if name.value.len() < 2 || !first || !name.value.bytes().all(good) {
            let problem =
                Problem::error(Code::InvalidName, name.span, format!("`{}` is not a profile name", name.value));
            cx.push(problem.reason("it must match `[a-zA-Z0-9][a-zA-Z0-9_.-]+`"));
        }
    }
    service.profiles = names;
}

#[cfg(test)]
mod tests {
    use crate::testing::{Files, errors};

    const COMPOSE: &str = "services:\n  a: {image: i}\n  b: {image: i, profiles: [debug, extra]}\n";

    #[test]
    fn a_service_with_profiles_waits_for_one_of_them() {
        let names = |files: Files| files.project().services();
        assert_eq!(names(Files::new(COMPOSE)), ["a"]);
        assert_eq!(names(Files::new(COMPOSE).profile("extra")), ["a", "b"]);
        assert_eq!(names(Files::new(COMPOSE).profile("*")), ["a", "b"]);
        assert_eq!(names(Files::new(COMPOSE).variable("COMPOSE_PROFILES", "x,debug")), ["a", "b"]);
        assert_eq!(Files::new(COMPOSE).project().profiles(), ["debug", "extra"]);
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(errors("profiles: ['a b']"), ["4:16 `a b` is not a profile name"]);
        assert_eq!(
            errors("profiles: debug"),
            ["4:15 `profiles` must be a list, not the text `debug`; write it as an item of a list"]
        );
    }
}
