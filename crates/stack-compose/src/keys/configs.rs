//! `configs`: files that are shown inside the container, and what `secrets` has in common with them.

use std::path::PathBuf;

use indexmap::IndexMap;
use stack_model::{FileKind, FileMount};

use super::ServiceKey;
use super::forms::octal_mode;
use super::tmpfs::clean_target;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::project::FileSource;
use crate::report::{Code, Problem, Report};
use crate::service::{FileReference, Service};
use crate::shape::Merge;
use crate::shape::common::{TEXT, TEXTS};
use crate::shape::{Field, Forms, Leaf, List, Object, Shape};
use crate::yaml::{Kind, Mapping, Node};

pub(super) const KEY: ServiceKey = ServiceKey::new("configs", "Configs that the container sees as files.", &FILES)
    .merge(Merge::Unique(|node| target_of(node, FileKind::Config)))
    .parse(|node, service, cx| service.configs = parse_files(node, "`configs`", FileKind::Config, cx))
    .check(|service, project, report| check_references(service, &service.configs, ("config", &project.configs), report))
    .lower(|from, to| to.container.files = lower_files(&from.service.configs, &from.project.configs));

/// Everyone may read, as docker compose has it.
const MODE: u32 = 0o444;

/// The list of a service.
pub(super) const FILES: Shape = Shape::Forms(Forms::new(&LIST, &[&TEXTS], |node, _, _| Some(expand(node))));
const LIST: Shape = Shape::List(List { item: &FILE, unique: false });
const FILE: Shape = Shape::Object(&Object::new(&[
    Field::new("source", "Its name under the top-level key.", &TEXT),
    Field::new("target", "Where it is shown.", &TEXT),
    Field::new("uid", "Owner, a number in quotes.", &TEXT),
    Field::new("gid", "Group, a number in quotes.", &TEXT),
    Field::new("mode", "Permission bits in octal.", &Shape::Leaf(Leaf::Mode)).present(),
]));

/// A name alone is its source.
fn expand(mut node: Node) -> Node {
    if let Kind::Sequence(items) = &mut node.kind {
        for item in items.iter_mut().filter(|item| item.as_text().is_some()) {
            let span = item.span;
            *item = Node::mapping([("source", std::mem::replace(item, Node::null(span)))], span);
        }
    }
    node
}

/// Two entries of one target are one. A target is compared as it is written: `x` is not `/run/secrets/x`.
pub(super) fn target_of(node: &Node, kind: FileKind) -> Option<String> {
    let text = |key: &str| node.get(key).and_then(Node::as_text);
    let source = text("source")?;
    Some(text("target").map_or_else(|| full_target(kind, source, None), str::to_owned))
}

fn full_target(kind: FileKind, source: &str, target: Option<&str>) -> String {
    let base = match kind {
        FileKind::Secret => "/run/secrets",
        FileKind::Config => "/",
    };
    clean_target(&PathBuf::from(base).join(target.unwrap_or(source)).to_string_lossy())
}

pub(super) fn parse_files(node: &Node, what: &str, kind: FileKind, cx: &mut Cx<'_>) -> Vec<FileReference> {
    let items = cx.list(node, what).unwrap_or_default();
    items.iter().filter_map(|item| parse_file(item, kind, cx)).collect()
}

fn parse_file(node: &Node, kind: FileKind, cx: &mut Cx<'_>) -> Option<FileReference> {
    let fields = node.as_mapping()?;
    let source = fields.get("source")?;
    let source = cx.text(&source.value, "`source`")?;
    let target = fields.get("target").and_then(|entry| cx.text(&entry.value, "`target`"));
    let (uid, gid) = (identity(fields, "uid", cx), identity(fields, "gid", cx));
    let mode = fields.get("mode").and_then(|entry| octal_mode(&entry.value, "`mode`", cx));
    let (span, target) = (source.span, target.map(|target| target.value));
    Some(FileReference { span, kind, source: source.value, target, uid, gid, mode })
}

fn identity(fields: &Mapping, key: &str, cx: &mut Cx<'_>) -> Option<u32> {
    let text = cx.text(&fields.get(key)?.value, &format!("`{key}`"))?;
    let number = text.value.parse().ok();
    if number.is_none() {
        let message = format!("`{}` is not a number", text.value);
        let problem = Problem::error(Code::InvalidValue, text.span, message);
        cx.push(problem.reason(format!("the `{key}` of a file is a number, in quotes")));
    }
    number
}

pub(super) fn check_references(
    service: &Service,
    files: &[FileReference],
    (word, sources): (&str, &IndexMap<String, FileSource>),
    report: &mut Report,
) {
    for file in files.iter().filter(|file| !sources.contains_key(&file.source)) {
        let message = format!("service `{}` refers to undefined {word} `{}`", service.name, file.source);
        let problem = Problem::error(Code::UndefinedReference, file.span, message);
        let problem = problem.help(format!("declare it under the top-level `{word}s:`"));
        report.push(problem.nearest(file.span, nearest(&file.source, sources.keys().map(String::as_str))));
    }
}

pub(super) fn lower_files(files: &[FileReference], sources: &IndexMap<String, FileSource>) -> Vec<FileMount> {
    let mount = |file: &FileReference| {
        let source = sources.get(&file.source)?;
        Some(FileMount {
            kind: file.kind,
            source: source.file.value.clone(),
            text: source.text.clone(),
            content: source.content.clone(),
            target: full_target(file.kind, &file.source, file.target.as_deref()),
            uid: file.uid.unwrap_or(0),
            gid: file.gid.unwrap_or(0),
            mode: file.mode.unwrap_or(MODE),
        })
    };
    files.iter().filter_map(mount).collect()
}

#[cfg(test)]
mod tests {
    use stack_model::FileKind;

    use crate::testing::{Files, errors};

    #[test]
    fn the_target_is_the_name_at_the_root() {
        let text = "services:\n  a: {image: i, configs: [conf, {source: conf, target: etc/x, mode: '0440'}]}\n\
                    configs: {conf: {file: c}}\n";
        let files = Files::new(text).with("c", "x").service("a").container.files;
        assert!(files.iter().all(|file| file.kind == FileKind::Config));
        assert_eq!((files[0].target.as_str(), files[0].mode), ("/conf", 0o444));
        assert_eq!((files[1].target.as_str(), files[1].mode), ("/etc/x", 0o440));
    }

    #[test]
    fn numbers_of_owners_are_texts() {
        assert_eq!(
            errors("configs: [{source: c, uid: 5}]")[1],
            "4:32 `uid` must be text, not the number `5`; put it in quotes"
        );
        assert_eq!(errors("configs: [{source: c, uid: root}]")[1], "4:32 `root` is not a number");
    }
}
