//! `volumes`: what of the host and of the store the container sees.
//!
//! The short form is `[source:]target[:options]`; a source that begins with `.`, `/` or `~` is a path of the host.

use serde_json::{Map, Value, json};
use stack_model::{self as model, Bytes, Mount, MountSource};

use super::forms::octal_mode;
use super::key::Lowering;
use super::tmpfs::clean_target;
use super::{Merge, ServiceKey};
use crate::context::Cx;
use crate::decode::{Keys, not_yet};
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Service, VolumeMount, VolumeSource};
use crate::text::Span;
use crate::yaml::{Kind, Mapping, Node};

pub(super) const KEY: ServiceKey = ServiceKey::new("volumes", parse, render)
    .canonical(canonical)
    .merge(Merge::Unique(|node| node.get("target").and_then(Node::as_text).map(clean_target)))
    .check(check)
    .lower(lower);

const KEYS: Keys = Keys {
    known: &["type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs"],
    not_yet: &["image"],
    extensions: true,
};
const BIND: Keys =
    Keys { known: &["create_host_path", "selinux"], not_yet: &["propagation", "recursive"], extensions: true };
const VOLUME: Keys = Keys { known: &["nocopy"], not_yet: &["labels", "subpath"], extensions: true };
const TMPFS: Keys = Keys { known: &["size", "mode"], not_yet: &[], extensions: true };

fn canonical(node: Node, cx: &mut Cx<'_>) -> Option<Node> {
    let (span, tag) = (node.span, node.tag);
    let Kind::Sequence(items) = node.kind else {
        cx.wrong_type(&node, "`volumes`", "a list");
        return None;
    };
    let mut volumes = Vec::new();
    for item in items {
        if item.as_text().is_some() {
            volumes.extend(expand(&item, cx));
        } else if item.as_mapping().is_some() {
            volumes.push(item);
        } else {
            cx.wrong_type(&item, "an item of `volumes`", "`source:target`, or a mapping");
        }
    }
    Some(Node { tag, ..Node::sequence(volumes, span) })
}

/// The long form of a short one.
fn expand(item: &Node, cx: &mut Cx<'_>) -> Option<Node> {
    let text = item.as_text()?;
    let mut parts = Vec::new();
    let mut at = 0;
    for part in text.split(':') {
        parts.push(at..at + part.len());
        at += part.len() + 1;
    }
    if parts.iter().any(std::ops::Range::is_empty) || parts.len() > 3 {
        let mistake = if parts.len() > 3 { "too many colons" } else { "empty section between colons" };
        let problem = Problem::error(Code::InvalidValue, item.span, format!("invalid volume `{text}`: {mistake}"));
        cx.push(problem.help("write `source:target`, or `source:target:ro`"));
        return None;
    }
    let (source, target) = match parts.as_slice() {
        [target] => (None, target.clone()),
        [source, target, ..] => (Some(source.clone()), target.clone()),
        [] => return None,
    };
    let is_path = source.as_ref().is_some_and(|source| text[source.clone()].starts_with(['.', '/', '~']));
    let kind = if is_path { "bind" } else { "volume" };
    let mut fields = vec![("type", Node::text(kind, item.span))];
    fields.extend(source.map(|source| ("source", item.slice(source))));
    fields.push(("target", item.slice(target)));
    let mut bind = Vec::new();
    if is_path {
        bind.push(("create_host_path", Node::boolean(true, item.span)));
    }
    if let Some(options) = parts.get(2) {
        let mut at = options.start;
        for option in text[options.clone()].split(',') {
            let range = at..at + option.len();
            at = range.end + 1;
            if matches!(option, "z" | "Z") {
                bind.push(("selinux", item.slice(range)));
            } else {
                fields.extend(short_option(option, item.part(range), cx));
            }
        }
    }
    if !bind.is_empty() {
        fields.push(("bind", Node::mapping(bind, item.span)));
    }
    Some(Node::mapping(fields, item.span))
}

fn short_option(option: &str, span: Span, cx: &mut Cx<'_>) -> Option<(&'static str, Node)> {
    match option {
        "ro" => return Some(("read_only", Node::boolean(true, span))),
        "rw" => {}
        "nocopy" | "volume-nocopy" => {
            return Some(("volume", Node::mapping([("nocopy", Node::boolean(true, span))], span)));
        }
        "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
            cx.push(not_yet(span, &format!("the propagation `{option}`")));
        }
        other => {
            let problem = Problem::warning(Code::InvalidValue, span, format!("the option `{other}` has no meaning"));
            cx.push(problem.nearest(span, nearest(other, ["ro", "rw", "nocopy"])));
        }
    }
    None
}

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`volumes`").unwrap_or_default() {
        let Some(mount) = parse_mount(item, cx) else { continue };
        match service.volumes.iter().find(|other| other.is_same(&mount)) {
            Some(first) => {
                let message = format!("`{}` is mounted twice from the same source", mount.target);
                let problem = Problem::warning(Code::DuplicateTarget, mount.span, message);
                cx.push(problem.also(first.span, "first mounted here").help("remove one of them"));
            }
            None => service.volumes.push(mount),
        }
    }
}

fn parse_mount(node: &Node, cx: &mut Cx<'_>) -> Option<VolumeMount> {
    let fields = cx.object(node, "`volumes`", &KEYS)?;
    let Some(target_node) = fields.get("target").map(|entry| &entry.value) else {
        cx.push(Problem::error(Code::MissingKey, node.span, "an entry of `volumes` needs `target`"));
        return None;
    };
    let target = cx.text(target_node, "`target`")?;
    if !target.value.starts_with('/') {
        let problem =
            Problem::error(Code::InvalidValue, target.span, format!("`{}` is not an absolute path", target.value));
        cx.push(problem.help("a path inside the container begins with `/`"));
        return None;
    }
    let read_only = fields.get("read_only").and_then(|entry| cx.boolean(&entry.value, "`read_only`"));
    let source = parse_source(node, fields, cx)?;
    let relabel = fields.get("bind").and_then(|bind| bind.value.get("selinux"));
    let relabel = relabel.and_then(|node| relabel_option(node, cx));
    let (target, read_only) = (clean_target(&target.value), read_only.unwrap_or(false));
    Some(VolumeMount { span: target_node.span, target, read_only, relabel, source })
}

fn relabel_option(node: &Node, cx: &mut Cx<'_>) -> Option<String> {
    let option = cx.text(node, "`selinux`")?;
    let message = format!("the option `{}` has no effect", option.value);
    let problem = Problem::warning(Code::NotYetSupported, option.span, message);
    cx.push(problem.reason("files are not labelled for SELinux yet"));
    Some(option.value)
}

fn parse_source(node: &Node, fields: &Mapping, cx: &mut Cx<'_>) -> Option<VolumeSource> {
    let Some(kind) = fields.get("type") else {
        let problem = Problem::error(Code::MissingKey, node.span, "an entry of `volumes` needs `type`");
        cx.push(problem.help("write `type: volume`, `bind` or `tmpfs`"));
        return None;
    };
    let kind = cx.text(&kind.value, "`type`")?;
    for other in ["bind", "volume", "tmpfs"].iter().filter(|other| **other != kind.value) {
        // `bind` may carry a label for a volume too.
        let label = *other == "bind" && fields.get("bind").is_some_and(|bind| bind.value.get("selinux").is_some());
        if let Some(entry) = fields.get(*other).filter(|_| !label) {
            let message = format!("`{other}` has no effect on a mount of type `{}`", kind.value);
            cx.push(Problem::warning(Code::ConflictingKeys, entry.key, message));
        }
    }
    let source = fields.get("source").filter(|entry| !entry.value.is_null());
    let source = source.and_then(|entry| cx.text(&entry.value, "`source`"));
    let options = fields.get(kind.value.as_str()).map(|entry| &entry.value).filter(|node| !node.is_null());
    let boolean = |keys: &Keys, key: &str, cx: &mut Cx<'_>| {
        let options = cx.object(options?, &format!("`{}`", kind.value), keys)?;
        options.get(key).and_then(|entry| cx.boolean(&entry.value, &format!("`{key}`")))
    };
    match (kind.value.as_str(), source) {
        ("volume", None) => {
            boolean(&VOLUME, "nocopy", cx);
            Some(VolumeSource::Anonymous)
        }
        ("volume", Some(key)) => {
            Some(VolumeSource::Named { key, no_copy: boolean(&VOLUME, "nocopy", cx).unwrap_or(false) })
        }
        ("bind", Some(source)) => {
            let directory = cx.directory.clone();
            let create = boolean(&BIND, "create_host_path", cx);
            // An absolute path stays as it is written; a trailing slash is a part of it.
            let absolute = source.value.starts_with('/');
            let path = if absolute { source.value.into() } else { cx.absolute(&directory, &source.value) };
            Some(VolumeSource::Bind { path, create })
        }
        ("bind", None) => {
            cx.push(Problem::error(Code::MissingKey, node.span, "a mount of type `bind` needs `source`"));
            None
        }
        ("tmpfs", _) => {
            let options = options.and_then(|node| cx.object(node, "`tmpfs`", &TMPFS));
            let size = options.and_then(|options| options.get("size"));
            let size = size.and_then(|entry| cx.bytes(&entry.value, "`size`")).map(|size| size.value);
            let mode = options.and_then(|options| options.get("mode"));
            let mode = mode.and_then(|entry| octal_mode(&entry.value, "`mode`", cx));
            Some(VolumeSource::Tmpfs { size, mode })
        }
        ("image" | "npipe" | "cluster", _) => {
            cx.push(not_yet(kind.span, &format!("a mount of type `{}`", kind.value)));
            None
        }
        (other, _) => {
            let problem = Problem::error(Code::InvalidValue, kind.span, format!("`{other}` is not a type of mount"));
            let near = nearest(other, ["bind", "volume", "tmpfs"]);
            cx.push(problem.help("write `volume`, `bind` or `tmpfs`").nearest(kind.span, near));
            None
        }
    }
}

fn check(service: &Service, project: &Project, report: &mut Report) {
    for mount in &service.volumes {
        if let VolumeSource::Named { key, .. } = &mount.source
            && !project.volumes.contains_key(&key.value)
        {
            let message = format!("service `{}` refers to undefined volume `{}`", service.name, key.value);
            let problem = Problem::error(Code::UndefinedReference, key.span, message);
            let problem = problem.reason("a source without a leading `.`, `/` or `~` is the name of a volume");
            let problem = problem.help(format!("declare it: add `{}:` under the top-level `volumes:`", key.value));
            report.push(problem.nearest(key.span, nearest(&key.value, project.volumes.keys().map(String::as_str))));
        }
    }
    let volumes = service.volumes.iter().map(|mount| (mount.target.as_str(), mount.span));
    let targets: Vec<(&str, Span)> =
        volumes.chain(service.tmpfs.iter().map(|tmpfs| (tmpfs.target.as_str(), tmpfs.span))).collect();
    for (index, (target, span)) in targets.iter().enumerate() {
        if let Some((_, first)) = targets[..index].iter().find(|(other, _)| other == target) {
            let message = format!("`{target}` is mounted twice");
            let problem = Problem::error(Code::DuplicateTarget, *span, message).also(*first, "first mounted here");
            report.push(problem.help("remove one of them"));
        }
    }
}

fn render(service: &Service) -> Option<Value> {
    let mount = |mount: &VolumeMount| {
        let mut value = Map::new();
        let (kind, source, options) = match &mount.source {
            VolumeSource::Named { key, no_copy } => {
                let options = if *no_copy { json!({ "nocopy": true }) } else { json!({}) };
                ("volume", Some(key.value.clone()), options)
            }
            VolumeSource::Anonymous => ("volume", None, json!({})),
            VolumeSource::Bind { path, create } => {
                let options = if *create == Some(true) { json!({ "create_host_path": true }) } else { json!({}) };
                ("bind", Some(path.to_string_lossy().into_owned()), create.map_or(Value::Null, |_| options))
            }
            VolumeSource::Tmpfs { size, mode } => {
                let mut options = Map::new();
                options.extend(mode.map(|mode| ("mode".to_owned(), Value::from(mode))));
                options.extend(size.map(|size| ("size".to_owned(), Value::from(size.to_string()))));
                ("tmpfs", None, Value::Object(options))
            }
        };
        let mut options = options;
        if let Some(relabel) = &mount.relabel {
            let bind = Map::from_iter([("selinux".to_owned(), Value::from(relabel.as_str()))]);
            match options.as_object_mut().filter(|_| kind == "bind") {
                Some(options) => options.extend(bind),
                None => {
                    value.insert("bind".to_owned(), Value::Object(bind));
                }
            }
        }
        let empty_tmpfs = kind == "tmpfs" && options.as_object().is_some_and(Map::is_empty);
        if !empty_tmpfs && !options.is_null() {
            value.insert(kind.to_owned(), options);
        }
        if mount.read_only {
            value.insert("read_only".to_owned(), Value::Bool(true));
        }
        value.extend(source.map(|source| ("source".to_owned(), Value::from(source))));
        value.insert("target".to_owned(), Value::from(mount.target.as_str()));
        value.insert("type".to_owned(), Value::from(kind));
        Value::Object(value)
    };
    (!service.volumes.is_empty()).then(|| service.volumes.iter().map(mount).collect())
}

/// Mounts of `volumes` and of `tmpfs`.
fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    let volumes = from.service.volumes.iter().map(|mount| {
        let source = match &mount.source {
            VolumeSource::Named { key, no_copy } => {
                MountSource::Volume { name: from.project.volume_name(&key.value), no_copy: *no_copy }
            }
            VolumeSource::Anonymous => MountSource::Anonymous,
            VolumeSource::Bind { path, create } => {
                MountSource::Bind { path: path.clone(), create: create.unwrap_or(true) }
            }
            VolumeSource::Tmpfs { size, mode } => MountSource::Tmpfs { size: size.map(Bytes), mode: *mode },
        };
        Mount { source, target: mount.target.clone(), read_only: mount.read_only }
    });
    let tmpfs = from.service.tmpfs.iter().map(|tmpfs| {
        let source = MountSource::Tmpfs { size: tmpfs.size.map(Bytes), mode: tmpfs.mode };
        Mount { source, target: tmpfs.target.clone(), read_only: tmpfs.read_only }
    });
    to.container.mounts = volumes.chain(tmpfs).collect();
}

#[cfg(test)]
mod tests {
    use stack_model::{Bytes, Mount, MountSource};

    use crate::testing::{Files, errors, warnings};

    fn mounts(text: &str) -> Vec<Mount> {
        let text =
            format!("services:\n  a:\n    image: i\n    volumes: {text}\nvolumes: {{data: , own: {{name: mine}}}}\n");
        Files::new(&text).service("a").container.mounts
    }

    fn one(text: &str) -> (MountSource, String, bool) {
        let mount = mounts(text).pop().unwrap();
        (mount.source, mount.target, mount.read_only)
    }

    fn volume(name: &str, no_copy: bool) -> MountSource {
        MountSource::Volume { name: name.into(), no_copy }
    }

    fn bind(path: &str, create: bool) -> MountSource {
        MountSource::Bind { path: path.into(), create }
    }

    #[test]
    fn short_forms() {
        for (text, source, target, read_only) in [
            ("['data:/d']", volume("p_data", false), "/d", false),
            ("['own:/d/']", volume("mine", false), "/d", false),
            ("['data:/d:ro,nocopy']", volume("p_data", true), "/d", true),
            ("['./x:/d']", bind("/p/x", true), "/d", false),
            ("['../x:/d:ro']", bind("/x", true), "/d", true),
            ("['/x:/d']", bind("/x", true), "/d", false),
            ("['~/x:/d']", bind("/home/u/x", true), "/d", false),
            ("['.:/d']", bind("/p", true), "/d", false),
            ("[/d]", MountSource::Anonymous, "/d", false),
        ] {
            assert_eq!(one(text), (source, target.to_owned(), read_only), "{text}");
        }
    }

    #[test]
    fn long_forms() {
        for (text, source, read_only) in [
            ("[{type: volume, source: data, target: /d, volume: {nocopy: true}}]", volume("p_data", true), false),
            ("[{type: volume, target: /d}]", MountSource::Anonymous, false),
            ("[{type: bind, source: x, target: /d, read_only: true}]", bind("/p/x", true), true),
            ("[{type: bind, source: ./x, target: /d, bind: {create_host_path: false}}]", bind("/p/x", false), false),
            (
                "[{type: tmpfs, target: /d, tmpfs: {size: 1m, mode: 0700}}]",
                MountSource::Tmpfs { size: Some(Bytes(1 << 20)), mode: Some(0o700) },
                false,
            ),
        ] {
            assert_eq!(one(text), (source, "/d".to_owned(), read_only), "{text}");
        }
    }

    #[test]
    fn mistakes_are_shown_on_their_part() {
        assert_eq!(
            errors("volumes: ['data:/d']"),
            ["4:16 service `a` refers to undefined volume `data`; declare it: add `data:` under the top-level \
                 `volumes:`"]
        );
        assert_eq!(
            errors("volumes: ['/x:d']"),
            ["4:19 `d` is not an absolute path; a path inside the container begins with `/`"]
        );
        assert_eq!(
            errors("volumes: [':/d']"),
            ["4:15 invalid volume `:/d`: empty section between colons; write `source:target`, or `source:target:ro`"]
        );
        assert_eq!(
            errors("volumes: [/a:/b:ro:x]"),
            ["4:15 invalid volume `/a:/b:ro:x`: too many colons; write `source:target`, or `source:target:ro`"]
        );
        assert_eq!(errors("volumes: ['/a:/b', '/c:/b/']"), ["4:28 `/b` is mounted twice; remove one of them"]);
        assert_eq!(errors("volumes: [/b]\ntmpfs: /b"), ["5:12 `/b` is mounted twice; remove one of them"]);
        assert_eq!(
            errors("volumes: [{type: bnid, source: /a, target: /b}]"),
            ["4:22 `bnid` is not a type of mount; did you mean `bind`?"]
        );
        assert_eq!(errors("volumes: ['/a:/b:rshared']"), ["4:22 the propagation `rshared` is not supported yet"]);
        assert_eq!(
            warnings("volumes: ['/a:/b', '/a:/b']"),
            ["4:28 `/b` is mounted twice from the same source; remove one of them"]
        );
        assert_eq!(warnings("volumes: ['/a:/b:z']"), ["4:22 the option `z` has no effect"]);
    }

    #[test]
    fn an_override_replaces_what_has_the_same_target() {
        let files = Files::new("services:\n  a: {image: i, volumes: ['/x:/d', '/y:/e']}\n");
        let files = files.with("compose.override.yaml", "services:\n  a: {volumes: ['/z:/d']}\n");
        let mounts = files.service("a").container.mounts;
        let sources: Vec<_> = mounts.into_iter().map(|mount| mount.source).collect();
        assert_eq!(sources, [bind("/z", true), bind("/y", true)]);
    }
}
