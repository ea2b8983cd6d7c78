//! `env_file`: files with variables; later ones win over earlier ones, and `environment` over all.

use std::collections::BTreeSet;

use super::ServiceKey;
use super::forms::one_or_list;
use crate::context::Cx;
use crate::dotenv::{self, MAX_VARIABLES, Mistake};
use crate::interpolate::template_problem;
use crate::report::{Code, Problem};
use crate::service::{EnvFile, Service};
use crate::shape::Merge;
use crate::shape::common::{BOOL, TEXT, TEXTS};
use crate::shape::{At, Field, Forms, Leaf, Like, List, Object, Shape};
use crate::text::{FileId, Spanned};
use crate::yaml::{Entry, Kind, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("env_file", "Files with variables of the program; `environment` wins over them.", &FILES)
        .merge(Merge::Unique(|node| node.get("path").and_then(Node::as_text).map(str::to_owned)))
        .parse(parse);

const FILES: Shape = Shape::Forms(Forms::new(&LIST, &[&TEXT, &TEXTS], expand).at_once());
const LIST: Shape = Shape::List(List { item: &FILE, unique: false });
const FILE: Shape = Shape::Object(
    &Object::new(&[
        Field::new("path", "Path of the file.", &TEXT),
        Field::new("required", "A missing file is an error; true by default.", &BOOL).present(),
        Field::new("format", "`raw` takes every line as it is.", &Shape::Leaf(Leaf::Late(&Leaf::Like(&FORMAT)))),
    ])
    .required(&["path"])
    .closed(),
);

const FORMAT: Like = Like {
    matches: |text| matches!(text, "raw" | ".env" | ""),
    called: "a format of an env file",
    pattern: "^(raw|\\.env)?$",
    wanted: "`raw`, or left away",
    words: &["raw"],
};

fn expand(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let mut list = one_or_list(node, at, cx)?;
    if let Kind::Sequence(items) = &mut list.kind {
        for item in items.iter_mut().filter(|item| item.as_text().is_some()) {
            let span = item.span;
            *item = Node::mapping([("path", std::mem::replace(item, Node::null(span)))], span);
        }
        for item in items {
            if let Kind::Mapping(fields) = &mut item.kind {
                let required = || Entry { key: item.span, value: Node::boolean(true, item.span) };
                fields.entry("required".into()).or_insert_with(required);
            }
        }
    }
    Some(list)
}

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`env_file`").unwrap_or_default() {
        let Some(mapping) = item.as_mapping() else { continue };
        let Some(path) = mapping.get("path") else { continue };
        let Some(path) = cx.text(&path.value, "`path`") else { continue };
        let required = mapping.get("required").and_then(|entry| cx.boolean(&entry.value, "`required`"));
        let format = mapping.get("format").and_then(|entry| cx.text(&entry.value, "`format`"));
        let directory = cx.directory.clone();
        let path = path.map(|path| cx.absolute(&directory, &path));
        let raw = format.is_some_and(|format| format.value == "raw");
        service.env_file.push(EnvFile { path, required: required.unwrap_or(true), raw });
    }
}

/// Reads the files of a service and puts what they say below its `environment`.
pub(crate) fn resolve(service: &mut Service, cx: &mut Cx<'_>) {
    let written: BTreeSet<String> = service.environment.keys().cloned().collect();
    let files = std::mem::take(&mut service.env_file);
    for file in &files {
        let path = &file.path.value;
        if !cx.exists(path) {
            if file.required {
                let message = format!("{} does not exist", path.display());
                let problem = Problem::error(Code::MissingFile, file.path.span, message);
                cx.push(problem.help("create it, or write `required: false` next to its `path`"));
            }
        } else if let Some((id, text)) = cx.read_text(path, file.path.span) {
            merge(service, &written, (id, &text), file.raw, cx);
        }
    }
    service.env_file = files;
}

fn merge(service: &mut Service, written: &BTreeSet<String>, file: (FileId, &str), raw: bool, cx: &mut Cx<'_>) {
    let (id, text) = file;
    let parsed = {
        let value = |name: &str| service.environment.get(name).and_then(|value| value.value.clone());
        let own = |name: &str| value(name).filter(|_| written.contains(name));
        let given = |name: &str| cx.variables.get(name).or_else(|| own(name));
        if raw { dotenv::parse_raw(text, &given) } else { dotenv::parse(text, &given, &value) }
    };
    report_mistakes(&parsed, id, cx);
    for variable in parsed.variables {
        // A bare name without a value anywhere says nothing.
        let Some(value) = variable.value.filter(|_| !written.contains(&variable.name)) else { continue };
        let span = cx.files.span(id, variable.at);
        service.origins.push((format!("environment.{}", variable.name), span));
        service.environment.insert(variable.name, Spanned::new(Some(value), span));
    }
}

/// Problems of an environment file at their places in it.
pub(crate) fn report_mistakes(parsed: &dotenv::Parsed, file: FileId, cx: &mut Cx<'_>) {
    for (mistake, place) in &parsed.mistakes {
        let span = cx.files.span(file, place.clone());
        let problem = match mistake {
            Mistake::Character(c) => {
                let message = format!("`{}` cannot stand in the name of a variable", c.escape_default());
                Problem::error(Code::InvalidName, span, message).help("write `NAME=value`")
            }
            Mistake::Blank => Problem::error(Code::InvalidName, span, "the name of a variable has no blanks")
                .help("write `NAME=value`; a comment begins with `#`"),
            Mistake::Unterminated => {
                Problem::error(Code::InvalidValue, span, "this quote is never closed").help("close it, or remove it")
            }
            Mistake::Template(failure) => template_problem(failure, span),
            Mistake::TooMany => {
                let message = format!("the file has more than {MAX_VARIABLES} variables");
                Problem::error(Code::AliasBudget, span, message)
                    .help("is it an env file? Split it, or mount it instead")
            }
        };
        cx.push(problem);
    }
    for unset in &parsed.unset {
        let span = cx.files.span(file, unset.source.clone());
        let message = format!("the variable `{}` is not set: it becomes an empty text", unset.name);
        cx.push(
            Problem::warning(Code::UnsetVariable, span, message).help("write `$$` for a `$` that is meant literally"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Files, errors};

    const COMPOSE: &str = "services:\n  a:\n    image: i\n    env_file: [one.env, {path: two.env, required: false}]\n    \
                           environment: {C: file}\n";

    #[test]
    fn later_files_win_and_environment_wins_over_all() {
        let files = Files::new(COMPOSE).with("one.env", "A=1\nB=1\nC=1\n").with("two.env", "B=${A}2\n");
        let service = files.service("a");
        let expected = [("A", "1"), ("B", "12"), ("C", "file")];
        let expected = expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        assert_eq!(service.container.environment, expected.into());
        assert_eq!(service.origin_of("environment.B").to_string(), "two.env:1:1");
        assert_eq!(service.origin_of("environment.C").to_string(), "compose.yaml:5:22");
    }

    #[test]
    fn a_missing_file_is_an_error_unless_it_is_not_required() {
        let loaded = Files::new(COMPOSE).load();
        let messages: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(messages, ["compose.yaml:4:16: /p/one.env does not exist"]);
        let two = std::path::Path::new("/p/two.env");
        assert!(loaded.inputs.contains(two), "a file that may come is watched");
    }

    #[test]
    fn raw_files_are_not_interpreted() {
        let compose = "services:\n  a:\n    image: i\n    env_file: [{path: r.env, format: raw}]\n";
        let service = Files::new(compose).with("r.env", "A='$X'\n").service("a");
        assert_eq!(service.container.environment["A"].as_deref(), Some("'$X'"));
    }

    #[test]
    fn mistakes_point_into_the_file() {
        let compose = "services:\n  a:\n    image: i\n    env_file: e.env\n";
        let loaded = Files::new(compose).with("e.env", "GOOD=1\nBA D=2\n").load();
        let messages: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(messages, ["e.env:2:1: the name of a variable has no blanks"]);
    }

    #[test]
    fn unknown_keys_are_named() {
        assert_eq!(
            errors("env_file: [{path: a, require: true}]"),
            [
                "4:23 /p/a does not exist; create it, or write `required: false` next to its `path`",
                "4:26 unknown key `require` in an item of `env_file`; did you mean `required`?"
            ]
        );
    }
}
