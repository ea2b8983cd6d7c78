//! Relative paths of a file, made to begin where they are meant to.

use std::path::{Path, PathBuf};

use crate::context::{Cx, clean};
use crate::report::{Code, Problem};
use crate::text::Span;
use crate::yaml::{Kind, Layout, Mapping, Node, Value};

/// Makes every path below `root` begin at `base`; relative ones stay relative where `base` is.
pub(crate) fn resolve(root: &mut Node, base: &Path, cx: &Cx<'_>) {
    let paths = Paths { base, cx };
    each(root, "services", |service| paths.service(service));
    each(root, "volumes", |volume| paths.volume(volume));
    for section in ["secrets", "configs"] {
        each(root, section, |source| {
            if let Some(file) = source.get_mut("file") {
                paths.of_any_system(&mut file.value);
            }
        });
    }
}

/// The same for a single service.
pub(crate) fn resolve_service(service: &mut Node, base: &Path, cx: &Cx<'_>) {
    if let Kind::Mapping(fields) = &mut service.kind {
        Paths { base, cx }.service(fields);
    }
}

fn each(root: &mut Node, section: &str, mut change: impl FnMut(&mut Mapping)) {
    let Some(Kind::Mapping(entries)) = field(root, section).map(|node| &mut node.kind) else { return };
    for entry in entries.values_mut() {
        if let Kind::Mapping(fields) = &mut entry.value.kind {
            change(fields);
        }
    }
}

fn field<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    match &mut node.kind {
        Kind::Mapping(fields) => fields.get_mut(key).map(|entry| &mut entry.value),
        Kind::Scalar(_) | Kind::Sequence(_) => None,
    }
}

struct Paths<'a> {
    base: &'a Path,
    cx: &'a Cx<'a>,
}

impl Paths<'_> {
    fn service(&self, fields: &mut Mapping) {
        if let Some(Kind::Mapping(build)) = fields.get_mut("build").map(|entry| &mut entry.value.kind) {
            self.build(build);
        }
        each_item(fields, "env_file", |item| self.within(item, "path"));
        each_item(fields, "label_file", |item| self.node(item));
        each_item(fields, "volumes", |item| {
            if item.get("type").and_then(Node::as_text) == Some("bind")
                && let Some(source) = field(item, "source")
            {
                self.of_any_system(source);
            }
        });
        if let Some(Kind::Mapping(extends)) = fields.get_mut("extends").map(|entry| &mut entry.value.kind) {
            self.field(extends, "file");
        }
        if let Some(Kind::Mapping(develop)) = fields.get_mut("develop").map(|entry| &mut entry.value.kind) {
            each_item(develop, "watch", |item| {
                self.within(item, "path");
                self.follow(item);
            });
        }
    }

    fn build(&self, build: &mut Mapping) {
        if let Some(context) = build.get_mut("context").filter(|entry| !is_remote(&entry.value)) {
            self.node(&mut context.value);
        }
        if let Some(Kind::Mapping(contexts)) = build.get_mut("additional_contexts").map(|entry| &mut entry.value.kind) {
            for context in contexts.values_mut().filter(|entry| !is_remote(&entry.value)) {
                self.node(&mut context.value);
            }
        }
        if let Some(Kind::Mapping(keys)) = build.get_mut("ssh").map(|entry| &mut entry.value.kind) {
            keys.values_mut().for_each(|entry| self.of_any_system(&mut entry.value));
        }
    }

    /// A directory that `local` mounts instead of making one of its own.
    fn volume(&self, fields: &mut Mapping) {
        if fields.get("driver").and_then(|entry| entry.value.as_text()) != Some("local") {
            return;
        }
        let Some(Kind::Mapping(options)) = fields.get_mut("driver_opts").map(|entry| &mut entry.value.kind) else {
            return;
        };
        if options.get("o").and_then(|entry| entry.value.as_text()) == Some("bind")
            && let Some(device) = options.get_mut("device")
        {
            self.of_any_system(&mut device.value);
        }
    }

    /// What is watched is the file itself, not a link to it.
    fn follow(&self, item: &mut Node) {
        if !self.cx.resolve_paths {
            return;
        }
        let Some(Kind::Scalar(scalar)) = field(item, "path").map(|node| &mut node.kind) else { return };
        if let Some(real) = self.cx.loader.resolve(Path::new(&*scalar.text)) {
            scalar.text = real.to_string_lossy().as_ref().into();
        }
    }

    fn within(&self, node: &mut Node, key: &str) {
        if let Kind::Mapping(fields) = &mut node.kind {
            self.field(fields, key);
        }
    }

    fn field(&self, fields: &mut Mapping, key: &str) {
        if let Some(entry) = fields.get_mut(key) {
            self.node(&mut entry.value);
        }
    }

    /// A path that may be one of Windows, which stays as it is.
    fn of_any_system(&self, node: &mut Node) {
        match node.as_text() {
            Some(text) if is_absolute_on_windows(text) => {}
            Some("") => self.set(node, self.base),
            _ => self.node(node),
        }
    }

    fn set(&self, node: &mut Node, path: &Path) {
        if let Kind::Scalar(scalar) = &mut node.kind {
            scalar.text = path.to_string_lossy().as_ref().into();
            scalar.layout = Layout::Opaque;
        }
    }

    /// An empty path stays empty.
    fn node(&self, node: &mut Node) {
        let Kind::Scalar(scalar) = &mut node.kind else { return };
        if scalar.value != Value::Text || scalar.text.is_empty() {
            return;
        }
        if let Some(path) = self.path(&scalar.text) {
            scalar.text = path.to_string_lossy().as_ref().into();
            // The characters are no longer those of the file.
            scalar.layout = Layout::Opaque;
        }
    }

    /// An absolute path stays as it is written; a trailing slash is a part of it.
    fn path(&self, path: &str) -> Option<PathBuf> {
        if path.starts_with('/') {
            return None;
        }
        Some(match path.strip_prefix('~') {
            Some(rest) => {
                let home = self.cx.variables.get_non_empty("HOME").unwrap_or_default();
                clean(&Path::new(&home).join(rest.trim_start_matches('/')))
            }
            None => {
                let joined = clean(&self.base.join(path));
                if joined.as_os_str().is_empty() { PathBuf::from(".") } else { joined }
            }
        })
    }
}

/// `C:\x`, `c:/x` or `\\host\share`.
fn is_absolute_on_windows(path: &str) -> bool {
    let slash = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b'/' | b'\\'));
    let bytes = path.as_bytes();
    slash(bytes.first()) && slash(bytes.get(1)) || bytes.get(1) == Some(&b':') && slash(bytes.get(2))
}

fn each_item(fields: &mut Mapping, key: &str, mut change: impl FnMut(&mut Node)) {
    if let Some(Kind::Sequence(items)) = fields.get_mut(key).map(|entry| &mut entry.value.kind) {
        items.iter_mut().for_each(&mut change);
    }
}

/// A context that is no directory of this machine.
fn is_remote(node: &Node) -> bool {
    const PREFIXES: [&str; 4] = ["service:", "github.com/", "git@", "docker-image:"];
    let text = node.as_text().unwrap_or_default();
    text.contains("://") || PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// What git or a server would have to be asked for.
pub(crate) fn is_elsewhere(text: &str) -> bool {
    let scheme = text.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|c| c.is_ascii_alphanumeric()));
    scheme || text.starts_with("git@") || text.starts_with("github.com/")
}

/// Says so when a Compose file is to come out of a repository or a registry.
pub(crate) fn refuse_remote(text: &str, span: Span, cx: &mut Cx<'_>) -> bool {
    let remote = is_elsewhere(text);
    if remote {
        let message = format!("`{text}` is not on this machine, and Compose files are not fetched from elsewhere");
        cx.push(Problem::error(Code::CannotRead, span, message).help("get a copy of it, and write its path here"));
    }
    remote
}
