//! Which variables the files of a project use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stack_model::ProjectSource;

use crate::context::Cx;
use crate::discover;
use crate::document::{self, peek};
use crate::interpolate::expressions;
use crate::pipeline::Phases;
use crate::source::SourceLoader;
use crate::text::Span;
use crate::yaml::{Kind, Node, Value};

/// A variable that a file uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsedVariable {
    /// Its name.
    pub name: String,
    /// A file says that it must have a value.
    pub required: bool,
    /// What stands for it where it has no value.
    pub default: String,
    /// What stands for it where it has one.
    pub alternate: String,
}

/// The variables of the project's files and of what they include and extend, sorted, each once.
pub fn used_variables(source: &ProjectSource, loader: &dyn SourceLoader) -> Vec<UsedVariable> {
    let phases = Phases { interpolate: false, ..Phases::default() };
    let mut cx = Cx::new(source, loader, phases);
    discover::read_environment(source, &discover::first_directory(source), &mut cx);
    let Some((files, directory)) = discover::find(source, &mut cx) else { return Vec::new() };
    let mut used = BTreeMap::new();
    for file in &files {
        for document in peek(file, &mut cx) {
            collect_root(document, &mut used);
        }
    }
    cx.root.clone_from(&directory);
    cx.directory = directory;
    let files: Vec<(PathBuf, Span)> = files.into_iter().map(|file| (file, Span::default())).collect();
    if let Some(merged) = document::model(&files, &[], &mut cx) {
        collect_root(&merged, &mut used);
    }
    used.into_values().collect()
}

/// The name of the project is not among what docker compose looks at: it has been made a valid one by then.
fn collect_root(root: &Node, used: &mut BTreeMap<String, UsedVariable>) {
    for (_, entry) in root.as_mapping().into_iter().flatten().filter(|(key, _)| &***key != "name") {
        collect(&entry.value, used);
    }
}

fn collect(node: &Node, used: &mut BTreeMap<String, UsedVariable>) {
    match &node.kind {
        Kind::Mapping(fields) => fields.values().for_each(|entry| collect(&entry.value, used)),
        Kind::Sequence(items) => items.iter().for_each(|item| collect(item, used)),
        Kind::Scalar(scalar) if scalar.value == Value::Text && scalar.text.contains('$') => {
            for expression in expressions(&scalar.text) {
                let entry = used
                    .entry(expression.name.clone())
                    .or_insert_with(|| UsedVariable { name: expression.name.clone(), ..UsedVariable::default() });
                match expression.sign {
                    Some('?') => entry.required = true,
                    Some('-') if entry.default.is_empty() => entry.default = expression.operand,
                    Some('+') if entry.alternate.is_empty() => entry.alternate = expression.operand,
                    _ => {}
                }
            }
        }
        Kind::Scalar(_) => {}
    }
}

#[cfg(test)]
mod tests {

    use crate::testing::Files;

    #[test]
    fn defaults_and_requirements_are_told_also_those_inside_others() {
        let files = Files::new("services: {a: {image: '${A:-x${B:?say}}', user: '$C${D+d}', x-y: $$E}}\n");
        let used = files.used_variables();
        let lines: Vec<String> = used
            .iter()
            .map(|used| format!("{} {} [{}] [{}]", used.name, used.required, used.default, used.alternate))
            .collect();
        assert_eq!(lines, ["A false [x${B:?say}] []", "B true [] []", "C false [] []", "D false [] [d]"]);
    }

    #[test]
    fn variables_of_included_and_extended_files_are_among_them() {
        let text =
            "include: ['${DIR:-sub}/a.yaml']\nservices: {b: {extends: {file: 'base.${KIND:-yaml}', service: s}}}\n";
        let files = Files::new(text).with("sub/a.yaml", "services: {a: {image: '${A:?say}'}}\n");
        let files = files.with("base.yaml", "services: {s: {image: '${B:-x}'}, unused: {image: '$C'}}\n");
        let names: Vec<String> = files.used_variables().into_iter().map(|used| used.name).collect();
        assert_eq!(names, ["A", "B", "DIR", "KIND"]);
    }
}
