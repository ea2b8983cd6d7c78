//! `environment`: variables of the program, over those of `env_file` and of the image. A name without a value takes it
//! from the project's variables, and is removed when they do not have it either.

use super::ServiceKey;
use crate::context::Cx;
use crate::service::Service;
use crate::shape::common::VARIABLES;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "environment",
    "Variables of the program; a name without value takes it from the project's variables.",
    &VARIABLES,
)
.parse(parse)
.lower(|from, to| {
    let variables = from.service.environment.iter();
    to.container.environment = variables.map(|(name, value)| (name.clone(), value.value.clone())).collect();
});

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(mapping) = node.as_mapping() else { return };
    for (name, entry) in mapping {
        let Some(value) = cx.any_text(&entry.value, &format!("`{name}` of `environment`")) else { continue };
        let value = value.or_else(|| cx.variables.get(name));
        service.environment.insert(name.to_string(), Spanned::new(value, entry.value.span));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn lists_and_mappings_mean_the_same() {
        let list = service("environment: [A=1, 'B=x=y', C=, NOT_SET]").container.environment;
        let mapping = service("environment: {A: 1, B: x=y, C: '', NOT_SET: }").container.environment;
        let expected = [("A", Some("1")), ("B", Some("x=y")), ("C", Some("")), ("NOT_SET", None)];
        assert_eq!(list, expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into());
        assert_eq!(list, mapping);
    }

    #[test]
    fn a_name_alone_takes_the_projects_value() {
        let environment = service("environment: [PASSED]").container.environment;
        assert_eq!(environment["PASSED"].as_deref(), Some("through"));
    }

    #[test]
    fn values_are_leaves() {
        assert_eq!(
            errors("environment: {A: [1]}"),
            [
                "4:22 `A` of `environment` must be a single value, not a list; write one text or number; several values need several names"
            ]
        );
    }

    #[test]
    fn each_value_knows_where_it_stands() {
        let service = service("environment:\n  A: 1\n  B: 2");
        assert_eq!(service.origin_of("environment.B").to_string(), "compose.yaml:6:10");
    }
}
