//! `image`: what to run, as `[registry/][project/]name[:tag|@digest]`.

use crate::shape::common::TEXT;
use stack_model::ImageReference;

use super::ServiceKey;
use crate::context::Cx;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::Service;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("image", "Image of the container: `[registry/]name[:tag|@digest]`.", &TEXT)
        .check(check)
        .parse(parse)
        .lower(|from, to| {
            to.container.image = ImageReference::new(from.project.image_of(from.service).unwrap_or_default());
        });

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    // What cannot be read is not missing as well.
    service.image = Some(Spanned::new(String::new(), node.span));
    let Some(image) = cx.text(node, "`image`") else { return };
    if let Some(at) = image.value.find(|c: char| c.is_whitespace() || c.is_control()) {
        let problem = Problem::error(Code::InvalidValue, node.part(at..at + 1), "an image reference has no blanks");
        cx.push(problem.help("write `name:tag` or `registry/name@sha256:…`"));
        return;
    }
    // An empty value counts as no image: interpolation makes one from a variable that is not set.
    service.image = Some(image).filter(|image| !image.value.is_empty());
}

fn check(service: &Service, _: &Project, report: &mut Report) {
    if service.image.is_none() && !service.builds && !service.provided {
        let message = format!("service `{}` has neither `image` nor `build`", service.name);
        let problem = Problem::error(Code::ImageMissing, service.span, message);
        report.push(problem.help("add `image: name:tag`"));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, project_errors, service};

    #[test]
    fn the_reference_is_kept_as_it_is_written() {
        assert_eq!(service("image: 127.0.0.1:5000/a/b:1").container.image.as_str(), "127.0.0.1:5000/a/b:1");
    }

    #[test]
    fn a_service_needs_one() {
        let message = ["2:3 service `a` has neither `image` nor `build`; add `image: name:tag`"];
        assert_eq!(project_errors("services:\n  a: {command: x}\n"), message);
        assert_eq!(project_errors("services:\n  a: {image: ''}\n"), message);
    }

    #[test]
    fn blanks_are_refused_where_they_stand() {
        assert_eq!(
            errors("image: 'a b'"),
            ["4:14 an image reference has no blanks; write `name:tag` or `registry/name@sha256:…`"]
        );
    }
}
