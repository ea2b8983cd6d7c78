//! Where a value of the result comes from: `config --explain VARIABLE` and `config --why PATH`.

use std::collections::BTreeMap;

use serde_json::Value;
use stack_model::Origin;

use crate::project::Project;
use crate::roads::Way;
use crate::shape::{Form, Shape, show};
use crate::toplevel::ROOT;
use crate::yaml::{Kind, Node};

/// A value that a variable could have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The value.
    pub value: String,
    /// Where it stands; in no file if the environment of the command has it.
    pub origin: Origin,
}

/// A part of the result and the places it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// Its path, such as `services.web.ports.0.target`.
    pub path: String,
    /// What it is.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
    /// What stood there before in other files or services, the latest first.
    pub replaced: Vec<Origin>,
    /// The lines that led there from the project's own file, the last one first.
    pub ways: Vec<(Way, Origin)>,
}

impl Project {
    /// Every value that was given for a variable; the first one counts.
    pub fn candidates(&self, name: &str) -> Vec<Candidate> {
        let candidates = self.variables.candidates(name).into_iter();
        candidates.map(|found| Candidate { value: found.value, origin: self.names.origin(found.span) }).collect()
    }

    /// Every variable of the project with its value.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.variables.all()
    }

    /// What stands at and below a path of the result; empty when nothing does. Items of lists are numbers.
    pub fn why(&self, path: &str) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let (mut node, mut shape) = (&self.document, &ROOT);
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let below = match (&node.kind, shape.of(node)) {
                (Kind::Mapping(fields), of) => fields.get(step).map(|entry| (&entry.value, field_shape(of, step))),
                (Kind::Sequence(items), of) => {
                    let item = step.parse::<usize>().ok().and_then(|index| items.get(index));
                    item.map(|item| (item, item_shape(of)))
                }
                (Kind::Scalar(_), _) => None,
            };
            let Some(below) = below else { return reasons };
            (node, shape) = below;
        }
        self.leaves(node, shape, path.trim_matches('.').to_owned(), &mut reasons);
        reasons
    }

    fn leaves(&self, node: &Node, shape: &'static Shape, path: String, reasons: &mut Vec<Reason>) {
        let join = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
        match (&node.kind, shape.of(node)) {
            (Kind::Mapping(fields), of) if !fields.is_empty() => {
                for (name, entry) in fields {
                    self.leaves(&entry.value, field_shape(of, name), join(name), reasons);
                }
            }
            (Kind::Sequence(items), of) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.leaves(item, item_shape(of), join(&index.to_string()), reasons);
                }
            }
            _ => {
                let before = self.trail.before(node.span).into_iter();
                let service = path.strip_prefix("services.").map(|rest| rest.split('.').next().unwrap_or(rest));
                let ways = self.roads.lead_to(service, node.span).into_iter();
                reasons.push(Reason {
                    ways: ways.map(|(way, span)| (way, self.names.origin(span))).collect(),
                    path,
                    value: show(node, shape, Form::Yaml),
                    origin: self.names.origin(node.span),
                    replaced: before.map(|span| self.names.origin(span)).collect(),
                });
            }
        }
    }
}

fn field_shape(of: &'static Shape, name: &str) -> &'static Shape {
    match of {
        Shape::Object(object) => object.field(name).map_or(&Shape::Any, |field| field.shape),
        Shape::Map(map) => map.value,
        _ => &Shape::Any,
    }
}

fn item_shape(of: &'static Shape) -> &'static Shape {
    if let Shape::List(list) = of { list.item } else { &Shape::Any }
}

#[cfg(test)]
mod tests {
    use crate::testing::Files;

    fn lines(files: &Files, path: &str) -> Vec<String> {
        let reasons = files.project().why(path);
        let line = |reason: super::Reason| {
            let before: Vec<String> = reason.replaced.iter().map(ToString::to_string).collect();
            format!("{} {} {} {}", reason.path, reason.value, reason.origin, before.join(" "))
        };
        reasons.into_iter().map(|reason| line(reason).trim_end().to_owned()).collect()
    }

    #[test]
    fn values_know_the_files_they_come_from_and_what_they_replaced() {
        let files = Files::new(
            "services:\n  base:\n    image: one\n    user: '1'\n  web:\n    extends: base\n    image: two\n    ports: ['80:80']\n",
        );
        let files = files.with("compose.override.yaml", "services:\n  web:\n    image: three\n");
        assert_eq!(
            lines(&files, "services.web.image"),
            ["services.web.image \"three\" compose.override.yaml:3:12 compose.yaml:7:12 compose.yaml:3:12"]
        );
        assert_eq!(lines(&files, "services.web.user"), ["services.web.user \"1\" compose.yaml:4:11"]);
        assert_eq!(lines(&files, "services.web.ports.0.target"), ["services.web.ports.0.target 80 compose.yaml:8:17"]);
        assert_eq!(lines(&files, "services.web.nothing"), Vec::<String>::new());
    }

    #[test]
    fn variables_have_all_their_candidates_in_the_order_of_their_rank() {
        let files = Files::new("services: {a: {image: '$TAG'}}\n").with(".env", "TAG=file\n").variable("TAG", "shell");
        let found = files.project().candidates("TAG");
        let lines: Vec<String> = found.iter().map(|found| format!("{} {}", found.value, found.origin)).collect();
        assert_eq!(lines, ["shell ", "file .env:1:1"]);
        assert_eq!(files.project().candidates("NOTHING"), []);
    }
}
