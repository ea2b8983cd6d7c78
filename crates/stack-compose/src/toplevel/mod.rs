//! Everything outside `services`: the root of a file, networks, volumes, secrets, configs, models, includes.

mod files;
mod include;
mod models;
mod networks;
mod volumes;

use crate::context::Cx;
use crate::keys::{SERVICE, file_name_key};
use crate::report::{Code, Problem};
use crate::shape::common::{BOOL, TEXT};
use crate::shape::{Field, MapOf, Merge, Names, Object, Shape};
use crate::text::Span;
use crate::yaml::{Entry, Mapping};

pub(crate) use files::files;
pub(crate) use networks::networks;
pub(crate) use volumes::volumes;

/// A whole file.
pub(crate) const ROOT: Shape = Shape::Object(&FILE);

/// The keys of a file.
pub(crate) const FILE: Object = Object::new(&[
    Field::new("name", "Name of the project.", &TEXT).always(),
    Field::new("version", "Obsolete; it has no effect.", &TEXT).hidden(),
    Field::new("include", "Other projects that this one takes in.", &include::INCLUDES).hidden(),
    Field::new("services", "The services of the project.", &SERVICES).always(),
    Field::new("networks", "Networks that services share.", &networks::NETWORKS),
    Field::new("volumes", "Volumes that services share.", &volumes::VOLUMES),
    Field::new("secrets", "Secrets that services see as files.", &files::SECRETS),
    Field::new("configs", "Configs that services see as files.", &files::CONFIGS),
    Field::new("models", "Language models that services use.", &models::MODELS),
]);

const SERVICES: Shape =
    Shape::Map(MapOf { value: &SERVICE, keys: Names::Resource, entry: "service", merge: Merge::Deep, listed: false });

/// True or false; the old form with a name is gone when the value is looked at.
const EXTERNAL: Shape = Shape::Either(&BOOL, &Shape::Object(&OLD_EXTERNAL));
const OLD_EXTERNAL: Object =
    Object::new(&[Field::new("name", "Obsolete: write `name` beside `external: true`.", &TEXT)]);

/// A section with names that the user chooses.
const fn section_of(value: &'static Shape, entry: &'static str, keys: Names) -> Shape {
    Shape::Map(MapOf { value, keys, entry, merge: Merge::Deep, listed: false })
}

/// The entries of a section.
pub(crate) fn section<'n>(root: &'n Mapping, name: &str) -> impl Iterator<Item = (&'n str, &'n Entry)> {
    let entries = root.get(name).and_then(|entry| entry.value.as_mapping());
    entries.into_iter().flatten().map(|(key, entry)| (&**key, entry))
}

/// The obsolete `version`.
pub(crate) fn check_version(root: &Mapping, cx: &mut Cx<'_>) {
    if let Some(entry) = root.get("version") {
        let message = "`version` is obsolete and has no effect";
        let problem = Problem::warning(Code::ObsoleteKey, entry.key, message);
        let line = Span { end: entry.value.span.end.max(entry.key.end), ..entry.key };
        cx.push(problem.help("remove the line").patch(line, ""));
    }
}

/// The name that everyone knows a resource by.
fn real_name(fields: &Mapping, cx: &mut Cx<'_>) -> Option<String> {
    let name = cx.text(&fields.get("name")?.value, "`name`")?;
    // It becomes the name of a directory or shows in lists: it must be no path.
    if !file_name_key(&name.value) || name.value.starts_with('.') {
        let message = format!("`{}` is not a name", name.value);
        let problem = Problem::error(Code::InvalidName, name.span, message);
        cx.push(problem.reason("it must match `[a-zA-Z0-9_-][a-zA-Z0-9._-]*`"));
        return None;
    }
    Some(name.value)
}

/// `external: {name: …}`, the old way to say `external: true` and `name: …`.
fn expand_external(
    mut node: crate::yaml::Node,
    at: &crate::shape::At<'_>,
    cx: &mut Cx<'_>,
) -> Option<crate::yaml::Node> {
    use crate::yaml::{Kind, Node, Tag};
    let Kind::Mapping(fields) = &mut node.kind else { return Some(node) };
    let Some(external) = fields.get_mut("external") else { return Some(node) };
    if external.value.as_mapping().is_none() {
        return Some(node);
    }
    let span = external.value.span;
    let old = std::mem::replace(&mut external.value, Node::boolean(true, external.key));
    let key = external.key;
    for (key, entry) in old.as_mapping().into_iter().flatten().filter(|(key, _)| &***key != "name") {
        let message = format!("unknown key `{key}` in `external` of {at}");
        cx.push(Problem::error(Code::UnknownKey, entry.key, message).help("it has a `name` and nothing else"));
    }
    let message = format!("`external` of {at} is obsolete as a mapping");
    cx.push(Problem::warning(Code::ObsoleteKey, key, message).help("write `external: true` and `name: …`"));
    let name = old.get("name").cloned();
    let Some(name) = name else { return Some(node) };
    match fields.get("name") {
        Some(written) if written.value.as_text() != name.as_text() => {
            let message = format!("{at} has two names");
            let problem = Problem::error(Code::ConflictingKeys, span, message).also(written.key, "the other one");
            cx.push(problem.help("remove `external: {name: …}` and write `external: true`"));
        }
        Some(_) => {}
        None => {
            fields.insert("name".into(), Entry { key, value: Node { tag: Tag::Agreeing, ..name } });
        }
    }
    Some(node)
}

#[cfg(test)]
mod tests;
