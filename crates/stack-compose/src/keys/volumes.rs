//! `volumes`: what of the host and of the store the container sees.
//!
//! The short form is `[source:]target[:options]`; a source that begins with `.`, `/` or `~` is a path of the host.

use std::collections::HashMap;
use std::ops::Range;

use stack_model::{self as model, Below, Bytes, ImageReference, Mount, MountSource};

use super::ServiceKey;
use super::forms::octal_mode;
use super::key::Lowering;
use super::tmpfs::clean_target;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::defaults::clean_inside;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Service, VolumeMount, VolumeSource};
use crate::shape::Merge;
use crate::shape::common::{BOOL, BYTES, LABELS, TEXT, TEXTS};
use crate::shape::{At, Field, Forms, Leaf, List, Object, Shape};
use crate::text::Span;
use crate::yaml::{Kind, Layout, Mapping, Node, Value};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("volumes", "Volumes and paths of the host that the container sees.", &VOLUMES)
        .merge(Merge::Unique(|node| node.get("target").and_then(Node::as_text).map(str::to_owned)))
        .parse(parse)
        .check(check)
        .lower(lower);

const VOLUMES: Shape = Shape::Forms(Forms::new(&LIST, &[&TEXTS], expand));
const LIST: Shape = Shape::List(List { item: &VOLUME, unique: false });
const VOLUME: Shape = Shape::Object(
    &Object::new(&[
        Field::new(
            "type",
            "What is mounted.",
            &Shape::Leaf(Leaf::Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
        ),
        Field::new("source", "A path of the host, the name of a volume, or an image.", &TEXT),
        Field::new("target", "Path inside the container.", &TEXT),
        Field::new("read_only", "Without write permission.", &BOOL),
        Field::new("consistency", "It has no effect on Linux.", &TEXT),
        Field::new("bind", "How a path of the host is mounted.", &BIND),
        Field::new("volume", "How a volume is mounted.", &NAMED),
        Field::new("tmpfs", "How memory is mounted.", &TMPFS),
        Field::new("image", "How an image is mounted.", &IMAGE),
    ])
    .required(&["type", "target"]),
);
const BIND: Shape = Shape::Object(&Object::new(&[
    Field::new("selinux", "Label for SELinux: `z` shared, `Z` private.", &Shape::Leaf(Leaf::Choice(&["z", "Z"]))),
    Field::new("propagation", "How mounts below are passed on.", &TEXT),
    Field::new("create_host_path", "Make a missing directory; true by default.", &BOOL),
    Field::new(
        "recursive",
        "What happens to mounts below.",
        &Shape::Leaf(Leaf::Choice(&["enabled", "disabled", "writable", "readonly"])),
    ),
]));
const NAMED: Shape = Shape::Object(&Object::new(&[
    Field::new("labels", "Labels of a volume without a name.", &LABELS),
    Field::new("nocopy", "Do not fill an empty volume with what the image has there.", &BOOL),
    Field::new("subpath", "Path inside the volume.", &TEXT),
]));
const TMPFS: Shape = Shape::Object(&Object::new(&[
    Field::new("size", "Most bytes.", &BYTES),
    Field::new("mode", "Permission bits in octal.", &Shape::Leaf(Leaf::ModeNumber)),
]));
const IMAGE: Shape = Shape::Object(&Object::new(&[Field::new("subpath", "Path inside the image.", &TEXT)]));

fn expand(node: Node, _: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let (span, tag) = (node.span, node.tag);
    let Kind::Sequence(items) = node.kind else { return Some(node) };
    let mut volumes = Vec::new();
    for item in items {
        if item.as_text().is_some() {
            volumes.extend(expand_one(&item, cx));
        } else {
            volumes.push(item);
        }
    }
    warn_of_repeated(&volumes, cx);
    Some(Node { tag, ..Node::sequence(volumes, span) })
}

/// Takes `.`, `..` and slashes too many out of a path inside the container.
pub(crate) fn tidy(target: &mut Node) {
    if let Kind::Scalar(scalar) = &mut target.kind {
        let clean = clean_inside(&scalar.text);
        if *clean != *scalar.text {
            scalar.text = clean.as_str().into();
            scalar.layout = Layout::Opaque;
        }
    }
}

/// The parts between colons. A colon inside `${…}` or after the single letter of a drive of Windows is none.
fn parts_of(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'$' if bytes.get(at + 1) == Some(&b'{') => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && !is_drive(&text[start..at]) => {
                parts.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(start..text.len());
    parts
}

fn is_drive(part: &str) -> bool {
    let mut chars = part.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

fn is_path(source: &str) -> bool {
    let drive = source.split_once(':').is_some_and(|(letter, _)| is_drive(letter));
    source.starts_with(['.', '/', '~']) || source.starts_with("\\\\") || drive
}

/// The long form of a short one.
fn expand_one(item: &Node, cx: &mut Cx<'_>) -> Option<Node> {
    let text = item.as_text()?;
    let target = |range: Range<usize>| {
        let mut target = item.slice(range);
        tidy(&mut target);
        ("target", target)
    };
    if (1..=2).contains(&text.len()) {
        return Some(Node::mapping([("type", Node::text("volume", item.span)), target(0..text.len())], item.span));
    }
    let parts = parts_of(text);
    if parts.iter().any(Range::is_empty) || parts.len() > 3 {
        let mistake = if parts.len() > 3 { "too many colons" } else { "empty section between colons" };
        let problem = Problem::error(Code::InvalidValue, item.span, format!("invalid volume `{text}`: {mistake}"));
        let problem = if text.starts_with(':') {
            problem.reason("the path of the host is empty; a variable may not be set")
        } else {
            problem
        };
        cx.push(problem.help("write `source:target`, or `source:target:ro`"));
        return None;
    }
    let (source, target) = match parts.as_slice() {
        [only] => (None, target(only.clone())),
        [source, only, ..] => (Some(source.clone()), target(only.clone())),
        [] => return None,
    };
    let binds = source.as_ref().is_some_and(|source| is_path(&text[source.clone()]));
    let kind = if binds { "bind" } else { "volume" };
    let mut fields = vec![("type", Node::text(kind, item.span))];
    fields.extend(source.map(|source| ("source", item.slice(source))));
    fields.push(target);
    let mut bind = Vec::new();
    let mut volume = Vec::new();
    if let Some(options) = parts.get(2) {
        let mut at = options.start;
        for option in text[options.clone()].split(',') {
            let range = at..at + option.len();
            at = range.end + 1;
            short_option(option, item.slice(range), (&mut fields, &mut bind, &mut volume), cx);
        }
    }
    if binds {
        bind.push(("create_host_path", Node::boolean(true, item.span)));
    }
    if !binds || !volume.is_empty() {
        fields.push(("volume", Node::mapping(volume, item.span)));
    }
    if !bind.is_empty() {
        fields.push(("bind", Node::mapping(bind, item.span)));
    }
    Some(Node::mapping(fields, item.span))
}

type Fields = Vec<(&'static str, Node)>;

fn short_option(
    option: &str,
    node: Node,
    (fields, bind, volume): (&mut Fields, &mut Fields, &mut Fields),
    cx: &mut Cx<'_>,
) {
    let span = node.span;
    match option {
        "ro" => fields.push(("read_only", Node::boolean(true, span))),
        "rw" => fields.retain(|(key, _)| *key != "read_only"),
        "nocopy" => volume.push(("nocopy", Node::boolean(true, span))),
        "z" | "Z" => bind.push(("selinux", node)),
        "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => bind.push(("propagation", node)),
        other => {
            let problem = Problem::warning(Code::InvalidValue, span, format!("the option `{other}` has no meaning"));
            cx.push(problem.nearest(span, nearest(other, ["ro", "rw", "nocopy"])));
        }
    }
}

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`volumes`").unwrap_or_default() {
        service.volumes.extend(parse_mount(item, cx));
    }
}

/// One list that mounts twice at one place: docker compose takes the last one and says nothing.
fn warn_of_repeated(volumes: &[Node], cx: &mut Cx<'_>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for target in volumes.iter().filter_map(|volume| volume.get("target")) {
        let Some(text) = target.as_text() else { continue };
        if let Some(first) = seen.insert(text, target.span) {
            let problem = Problem::warning(Code::DuplicateTarget, target.span, format!("`{text}` is mounted twice"));
            let problem = problem.also(first, "first mounted here").reason("the later one counts");
            cx.push(problem.help("remove one of them"));
        }
    }
}

fn parse_mount(node: &Node, cx: &mut Cx<'_>) -> Option<VolumeMount> {
    let fields = node.as_mapping()?;
    let target_node = &fields.get("target")?.value;
    let target = cx.text(target_node, "`target`")?;
    if !target.value.starts_with('/') {
        let problem =
            Problem::error(Code::InvalidValue, target.span, format!("`{}` is not an absolute path", target.value));
        let problem = if is_path(&target.value) && target.value.contains(':') {
            problem.reason("a single letter before `:` is taken for a drive of Windows, as docker compose does")
        } else {
            problem
        };
        cx.push(problem.help("a path inside the container begins with `/`"));
        return None;
    }
    let read_only = fields.get("read_only").and_then(|entry| cx.boolean(&entry.value, "`read_only`"));
    let source = parse_source(fields, cx)?;
    let (target, read_only) = (clean_target(&target.value), read_only.unwrap_or(false));
    Some(VolumeMount { span: target_node.span, target, read_only, source })
}

fn parse_source(fields: &Mapping, cx: &mut Cx<'_>) -> Option<VolumeSource> {
    let kind = fields.get("type")?;
    let kind = cx.text(&kind.value, "`type`")?;
    for other in ["bind", "volume", "tmpfs", "image"].iter().filter(|other| **other != kind.value) {
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
    let boolean = |key: &str, cx: &mut Cx<'_>| {
        let options = options?.as_mapping()?;
        options.get(key).and_then(|entry| cx.boolean(&entry.value, &format!("`{key}`")))
    };
    match (kind.value.as_str(), source) {
        ("volume", None) => {
            boolean("nocopy", cx);
            Some(VolumeSource::Anonymous)
        }
        ("volume", Some(key)) if key.value.is_empty() => Some(VolumeSource::Anonymous),
        ("volume", Some(key)) => {
            let no_copy = boolean("nocopy", cx).unwrap_or(false);
            Some(VolumeSource::Named {
                key,
                no_copy,
                subpath: options.and_then(|options| subpath(options, "volume", cx)),
            })
        }
        ("bind", Some(source)) => {
            let directory = cx.directory.clone();
            let create = boolean("create_host_path", cx);
            // An absolute path stays as it is written; a trailing slash is a part of it.
            let absolute = source.value.starts_with('/');
            let path = if absolute { source.value.into() } else { cx.absolute(&directory, &source.value) };
            let propagation = options.and_then(|options| propagation(options, cx));
            let read_only = fields.get("read_only").and_then(|entry| entry.value.as_scalar());
            let read_only = read_only.is_some_and(|scalar| scalar.value == Value::Bool(true));
            let below = options.map_or(Below::Seen, |options| below(options, read_only, propagation.as_deref(), cx));
            Some(VolumeSource::Bind { path, create, propagation, below })
        }
        // That it lacks a source was said when it was read.
        ("bind", None) => None,
        ("tmpfs", _) => {
            let options = options.and_then(|node| node.as_mapping());
            let size = options.and_then(|options| options.get("size"));
            let size = size.and_then(|entry| cx.bytes(&entry.value, "`size`")).map(|size| size.value);
            let mode = options.and_then(|options| options.get("mode"));
            let mode = mode.and_then(|entry| octal_mode(&entry.value, "`mode`", cx));
            Some(VolumeSource::Tmpfs { size, mode })
        }
        ("image", Some(image)) if !image.value.is_empty() => {
            let path = options.and_then(|options| subpath(options, "image", cx));
            Some(VolumeSource::Image { image: image.value, path })
        }
        ("image", _) => {
            let problem = Problem::error(Code::MissingKey, kind.span, "a mount of type `image` needs `source`");
            cx.push(problem.help("name the image there").when_run());
            None
        }
        ("npipe" | "cluster", _) => {
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

/// What becomes of the mounts below.
fn below(options: &Node, read_only: bool, propagation: Option<&str>, cx: &mut Cx<'_>) -> Below {
    let word = options.get("recursive").and_then(|word| cx.text(word, "`recursive`"));
    let Some(word) = word else { return Below::Seen };
    match word.value.as_str() {
        "disabled" => Below::Hidden,
        "writable" => Below::Writable,
        "readonly" => {
            let lacking = match (read_only, propagation) {
                (false, _) => Some("`read_only: true`"),
                (true, Some(_)) => Some("`propagation: rprivate`"),
                (true, None) => None,
            };
            if let Some(lacking) = lacking {
                let message = format!("`recursive: readonly` needs {lacking}");
                cx.push(Problem::error(Code::ConflictingKeys, word.span, message).help(format!("write {lacking}")));
            }
            // A mount that is read-only is so with all below it.
            Below::Seen
        }
        _ => Below::Seen,
    }
}

/// A path inside a volume or an image.
fn subpath(options: &Node, what: &str, cx: &mut Cx<'_>) -> Option<String> {
    let path = cx.text(options.get("subpath")?, "`subpath`").filter(|path| !path.value.is_empty())?;
    let leaves = path.value.starts_with('/') || path.value.split('/').any(|part| part == "..");
    if leaves {
        let message = format!("`{}` is not a path inside the {what}", path.value);
        cx.push(Problem::error(Code::InvalidValue, path.span, message).help("write a relative path without `..`"));
        return None;
    }
    Some(path.value)
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "rshared", "rslave", "shared", "slave"];

/// How mounts below are passed on; not at all is what every mount has.
fn propagation(options: &Node, cx: &mut Cx<'_>) -> Option<String> {
    let word = cx.text(options.get("propagation")?, "`propagation`").filter(|word| !word.value.is_empty())?;
    if !PROPAGATIONS.contains(&word.value.as_str()) {
        let problem =
            Problem::error(Code::InvalidValue, word.span, format!("`{}` is no value of `propagation`", word.value));
        cx.push(problem.nearest(word.span, nearest(&word.value, PROPAGATIONS)));
        return None;
    }
    Some(word.value).filter(|word| !matches!(word.as_str(), "private" | "rprivate"))
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
            if key.value.contains('/') {
                let path = format!("./{}", key.value);
                report.push(problem.help(format!("did you mean the directory `{path}`?")).patch(key.span, path));
                continue;
            }
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

/// Mounts of `volumes` and of `tmpfs`.
fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    let volumes = from.service.volumes.iter().map(|mount| {
        let source = match &mount.source {
            VolumeSource::Named { key, no_copy, subpath } => {
                let name = from.project.volume_name(&key.value);
                let mounted = from.project.volumes.get(&key.value).and_then(|volume| volume.mounted.clone());
                match (mounted, subpath) {
                    (Some((filesystem, source, options)), _) => MountSource::Mounted { filesystem, source, options },
                    (None, Some(path)) => MountSource::Subpath { name, path: path.clone() },
                    (None, None) => MountSource::Volume { name, no_copy: *no_copy },
                }
            }
            VolumeSource::Anonymous => MountSource::Anonymous,
            VolumeSource::Bind { path, create: _, propagation: Some(word), below } => {
                let bind = if *below == Below::Hidden { "bind" } else { "rbind" };
                let options = vec![bind.to_owned(), word.clone()];
                MountSource::Mounted { filesystem: "bind".to_owned(), source: path.display().to_string(), options }
            }
            VolumeSource::Bind { path, create, propagation: None, below } => {
                MountSource::Bind { path: path.clone(), create: create.unwrap_or(true), below: *below }
            }
            VolumeSource::Image { image, path } => {
                MountSource::Image { image: ImageReference::new(image), path: path.clone() }
            }
            VolumeSource::Tmpfs { size, mode } => MountSource::Tmpfs { size: size.map(Bytes), mode: *mode },
        };
        let is_image = matches!(source, MountSource::Image { .. });
        Mount { source, target: mount.target.clone(), read_only: mount.read_only || is_image }
    });
    let tmpfs = from.service.tmpfs.iter().map(|tmpfs| {
        let source = MountSource::Tmpfs { size: tmpfs.size.map(Bytes), mode: tmpfs.mode };
        Mount { source, target: tmpfs.target.clone(), read_only: tmpfs.read_only }
    });
    to.container.mounts = volumes.chain(tmpfs).collect();
}

#[cfg(test)]
mod tests {
    use stack_model::{Below, Bytes, Mount, MountSource};

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
        MountSource::Bind { path: path.into(), create, below: Below::Seen }
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
    fn propagation_and_paths_inside_volumes_are_lowered() {
        let mounted = |filesystem: &str, source: &str, options: &[&str]| MountSource::Mounted {
            filesystem: filesystem.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        assert_eq!(one("['/x:/d:ro,rslave']").0, mounted("bind", "/x", &["rbind", "rslave"]));
        assert_eq!(one("['/x:/d:rprivate']").0, bind("/x", true));
        let inside = "[{type: volume, source: data, target: /d, volume: {subpath: a/b}}]";
        assert_eq!(one(inside).0, MountSource::Subpath { name: "p_data".into(), path: "a/b".to_owned() });
        assert_eq!(
            errors("volumes: [{type: volume, target: /d, source: v, volume: {subpath: ../x}}]")[1],
            "4:71 `../x` is not a path inside the volume; write a relative path without `..`"
        );
    }

    #[test]
    fn images_are_mounted_whole_or_in_part_and_never_written() {
        let image = |path: Option<&str>| MountSource::Image { image: "tool:1".into(), path: path.map(str::to_owned) };
        let whole = one("[{type: image, source: 'tool:1', target: /d}]");
        assert_eq!(whole, (image(None), "/d".to_owned(), true));
        let part = one("[{type: image, source: 'tool:1', target: /d, image: {subpath: usr/bin}}]");
        assert_eq!(part, (image(Some("usr/bin")), "/d".to_owned(), true));
        assert_eq!(
            errors("volumes: [{type: image, target: /d}]"),
            ["4:22 a mount of type `image` needs `source`; name the image there"]
        );
        assert_eq!(
            errors("volumes: [{type: image, source: t, target: /d, image: {subpath: /x}}]"),
            ["4:69 `/x` is not a path inside the image; write a relative path without `..`"]
        );
    }

    #[test]
    fn the_mounts_below_a_path_are_what_recursive_says() {
        let below = |word: &str, more: &str| {
            let text = format!("[{{type: bind, source: /x, target: /d, {more}bind: {{recursive: {word}}}}}]");
            match one(&text).0 {
                MountSource::Bind { below, .. } => below,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(below("enabled", ""), Below::Seen);
        assert_eq!(below("disabled", ""), Below::Hidden);
        assert_eq!(below("writable", "read_only: true, "), Below::Writable);
        assert_eq!(below("readonly", "read_only: true, "), Below::Seen);
        assert_eq!(
            errors("volumes: [{type: bind, source: /x, target: /d, bind: {recursive: readonly}}]"),
            ["4:70 `recursive: readonly` needs `read_only: true`; write `read_only: true`"]
        );
    }

    #[test]
    fn a_volume_with_options_is_what_they_say() {
        let lowered = |text: &str| {
            let text = format!(
                "services: {{a: {{image: i, volumes: ['vol:/d']}}}}\nvolumes: {{vol: {{driver_opts: {{{text}}}}}}}\n"
            );
            let desired = Files::new(&text).desired();
            assert!(desired.volumes.is_empty());
            desired.services["a"].container.mounts[0].source.clone()
        };
        let MountSource::Mounted { filesystem, source, options } =
            lowered("type: nfs, o: 'addr=10.0.0.1,rw', device: ':/export'")
        else {
            panic!("no mount")
        };
        assert_eq!(
            (filesystem.as_str(), source.as_str(), options.join(" ").as_str()),
            ("nfs", ":/export", "addr=10.0.0.1 rw")
        );
        let MountSource::Mounted { filesystem, source, .. } = lowered("type: none, o: bind, device: /srv/data") else {
            panic!("no mount")
        };
        assert_eq!((filesystem.as_str(), source.as_str()), ("bind", "/srv/data"));
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
        assert_eq!(warnings("volumes: ['/a:/b', '/c:/b/']"), ["4:28 `/b` is mounted twice; remove one of them"]);
        assert_eq!(errors("volumes: [/b]\ntmpfs: /b"), ["5:12 `/b` is mounted twice; remove one of them"]);
        assert_eq!(
            errors("volumes: [{type: bnid, source: /a, target: /b}]"),
            ["4:22 `bnid` is not a value of `type`; did you mean `bind`?"]
        );
        assert_eq!(warnings("volumes: ['/a:/b', '/a:/b']"), ["4:28 `/b` is mounted twice; remove one of them"]);
        assert_eq!(warnings("volumes: ['/a:/b:z']"), ["4:22 `selinux: z` of `bind` has no effect"]);
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
