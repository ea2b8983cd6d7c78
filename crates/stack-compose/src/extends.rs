//! `extends`: a service begins as a copy of another one, of the same file or of another.

use std::path::{Path, PathBuf};

use crate::context::Cx;
use crate::document;
use crate::keys::SERVICE;
use crate::nearest::nearest;
use crate::paths;
use crate::report::{Code, Problem};
use crate::shape::{At, canonical, merge, settle};
use crate::text::Span;
use crate::toplevel::section;
use crate::yaml::{Entry, Kind, Mapping, Node, Tag};

/// A chain of more is a mistake, and each step is a recursion.
const MAX_CHAIN: usize = 64;

/// The services of one file, while they are completed one by one.
struct Extending<'a, 'c> {
    cx: &'a mut Cx<'c>,
    /// The service and the file it stands in, outermost first.
    chain: Vec<(String, PathBuf, Span)>,
}

/// Completes every service of a document that extends another one.
pub(crate) fn apply(root: &mut Node, file: &Path, cx: &mut Cx<'_>) {
    let Kind::Mapping(fields) = &root.kind else { return };
    let names: Vec<String> = section(fields, "services")
        .filter(|(_, entry)| entry.value.get("extends").is_some())
        .map(|(name, _)| name.to_owned())
        .collect();
    if names.is_empty() {
        return;
    }
    let Some(mut services) = fields.get("services").and_then(|entry| entry.value.as_mapping()).cloned() else {
        return;
    };
    cx.roads.note_services(&services, true);
    for name in &names {
        let mut extending = Extending { cx, chain: Vec::new() };
        extending.complete(name, &mut services, file);
    }
    // What was taken from other files is judged now, as if it had been written here.
    for name in &names {
        let Some(entry) = services.get_mut(name.as_str()) else { continue };
        let service = std::mem::replace(&mut entry.value, Node::null(entry.key));
        let broken = Node { tag: Tag::Broken, ..Node::null(service.span) };
        entry.value = canonical(service, &SERVICE, &At::ROOT.named("service", name), cx).unwrap_or(broken);
    }
    if let Kind::Mapping(fields) = &mut root.kind
        && let Some(entry) = fields.get_mut("services")
    {
        entry.value.kind = Kind::Mapping(services);
    }
}

impl Extending<'_, '_> {
    /// Completes a service of a file, and those it extends before it.
    fn complete(&mut self, name: &str, services: &mut Mapping, file: &Path) {
        let Some(entry) = services.get(name) else { return };
        let Some(extends) = entry.value.get("extends") else { return };
        let Some(other) = extends.get("service").filter(|node| node.as_text().is_some()).cloned() else {
            // In the file itself its shape says so.
            if !self.chain.is_empty() && extends.as_mapping().is_some() {
                let message = format!("`extends` of service `{name}` needs `service`");
                let problem = Problem::error(Code::MissingKey, extends.span, message);
                self.cx.push(problem.help("write the name of the service that it begins from"));
            }
            return;
        };
        let from = extends.get("file").filter(|node| node.as_text().is_some()).cloned();
        let errors = self.cx.report.errors();
        let wanted = other.as_text().unwrap_or_default().to_owned();
        self.chain.push((name.to_owned(), file.to_owned(), other.span));
        let base = match &from {
            None => self.of_this_file(&wanted, &other, services, file),
            Some(from) => self.of_another_file(&wanted, &other, from, file),
        };
        self.chain.pop();
        if base.is_none() && (self.cx.report.errors() > errors || self.cx.is_full()) {
            mark_broken(services, name);
        }
        if let Some(base) = base
            && let Some(entry) = services.get_mut(name)
        {
            lay_over(base, &mut entry.value, self.cx);
        }
    }

    fn of_this_file(&mut self, wanted: &str, other: &Node, services: &mut Mapping, file: &Path) -> Option<Node> {
        if !services.contains_key(wanted) {
            self.not_found(wanted, other.span, services, file);
            return None;
        }
        if self.is_cycle(wanted, file, other.span) {
            return None;
        }
        self.complete(wanted, services, file);
        self.copy_of(wanted, services, other.span)
    }

    /// The services of another file. They are taken out of the store while one of them is completed.
    fn services_of(&mut self, path: &Path, asked: Span) -> Option<Mapping> {
        if let Some(services) = self.cx.bases.remove(&(path.to_owned(), self.cx.scope)) {
            return Some(services);
        }
        let mut root = document::read_merged(path, asked, self.cx)?;
        let Kind::Mapping(fields) = &mut root.kind else { return None };
        match fields.swap_remove("services").map(|entry| entry.value) {
            Some(Node { kind: Kind::Mapping(services), .. }) => {
                self.cx.roads.note_services(&services, false);
                Some(services)
            }
            Some(other) if !other.is_null() => {
                self.cx.wrong_type(&other, "`services`", "a mapping");
                None
            }
            _ => {
                let message = format!("{} has no `services`", path.display());
                let problem = Problem::error(Code::UndefinedReference, asked, message);
                self.cx.push(problem.help("write the service that is extended under `services:` there"));
                None
            }
        }
    }

    fn copy_of(&mut self, wanted: &str, services: &Mapping, span: Span) -> Option<Node> {
        let entry = services.get(wanted).filter(|entry| !entry.value.is_null())?;
        self.cx.roads.note_extended(span, entry.key);
        let base = &entry.value;
        if base.as_mapping().is_none() {
            self.cx.wrong_type(base, &format!("service `{wanted}`"), "a mapping");
            return None;
        }
        // Counting takes time too, once for every service that extends it.
        (!self.cx.is_full() && self.cx.spend(base.count(), span)).then(|| base.clone())
    }

    fn of_another_file(&mut self, wanted: &str, other: &Node, from: &Node, file: &Path) -> Option<Node> {
        let written = from.as_text().unwrap_or_default();
        if paths::refuse_remote(written, from.span, self.cx) {
            return None;
        }
        // In a file that is extended itself, paths begin beside it.
        let beside = if self.chain.len() > 1 { file.parent()? } else { &self.cx.directory };
        let path = self.cx.absolute(beside, written);
        if self.is_cycle(wanted, &path, other.span) {
            return None;
        }
        let mut services = self.services_of(&path, from.span)?;
        let base = if services.contains_key(wanted) {
            self.complete(wanted, &mut services, &path);
            self.copy_of(wanted, &services, other.span)
        } else {
            self.not_found(wanted, other.span, &services, &path);
            None
        };
        self.cx.bases.insert((path.clone(), self.cx.scope), services);
        let mut base = base?;
        // Its tags were about what it extends itself, and have done their work.
        settle(&mut base);
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        // Where paths stay relative, those of an included project are completed with it.
        let way = directory.strip_prefix(&self.cx.directory).ok().filter(|_| !self.cx.resolve_paths);
        let directory = way.unwrap_or(&directory).to_owned();
        paths::resolve_service(&mut base, &directory, self.cx);
        Some(base)
    }

    fn is_cycle(&mut self, wanted: &str, file: &Path, span: Span) -> bool {
        let Some(start) = self.chain.iter().position(|(name, path, _)| name == wanted && path == file) else {
            if self.chain.len() > MAX_CHAIN {
                let message = format!("a chain of more than {MAX_CHAIN} services that extend one another");
                self.cx.push(Problem::error(Code::ExtendsCycle, span, message));
                return true;
            }
            return false;
        };
        let directory = self.cx.directory.clone();
        let shown =
            |name: &str, path: &Path| format!("{name} in {}", path.strip_prefix(&directory).unwrap_or(path).display());
        let mut words: Vec<String> = self.chain[start..].iter().map(|(name, path, _)| shown(name, path)).collect();
        words.push(shown(wanted, file));
        let message = format!("services extend one another: {}", words.join(" -> "));
        let problem = Problem::error(Code::ExtendsCycle, span, message);
        self.cx.push(problem.help("remove one of these `extends`"));
        true
    }

    fn not_found(&mut self, wanted: &str, span: Span, services: &Mapping, file: &Path) {
        let name = self.chain.last().map_or("", |(name, _, _)| name);
        let message = format!("service `{name}` extends `{wanted}`, which is not in {}", file.display());
        let near = nearest(wanted, services.keys().map(|key| &**key));
        let problem = Problem::error(Code::UndefinedReference, span, message);
        self.cx.push(problem.nearest(span, near));
    }
}

/// What it would have got from the other service is not missing as well.
fn mark_broken(services: &mut Mapping, name: &str) {
    let Some(Kind::Mapping(fields)) = services.get_mut(name).map(|entry| &mut entry.value.kind) else { return };
    let at = fields.values().next().map_or(Span::default(), |entry| entry.key);
    let broken = || Entry { key: at, value: Node { tag: Tag::Broken, ..Node::null(at) } };
    fields.entry("image".into()).or_insert_with(broken);
}

/// The service on top of what it extends.
fn lay_over(mut base: Node, service: &mut Node, cx: &mut Cx<'_>) {
    let span = service.span;
    let tag = service.tag;
    let mut over = std::mem::replace(service, Node::null(span));
    over.tag = Tag::None;
    if let Kind::Mapping(fields) = &mut over.kind {
        fields.shift_remove("extends");
    }
    if let Kind::Mapping(fields) = &mut base.kind {
        fields.shift_remove("extends");
    }
    merge(&mut base, over, &SERVICE, cx);
    *service = Node { span, tag, ..base };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Files;

    #[test]
    fn a_service_begins_as_a_copy_of_another_and_wins_over_it() {
        let text = "services:\n  base: {image: one, command: [a], environment: {A: 1, B: 1}, ports: ['80:80'], labels: {l: x}}\n  \
                    web:\n    extends: base\n    command: [b]\n    environment: [B=2]\n    ports: ['81:80']\n    labels: !reset {}\n";
        let config = Files::new(text).project().to_json();
        let web = &config["services"]["web"];
        assert_eq!((&web["image"], &web["command"]), (&json!("one"), &json!(["b"])));
        assert_eq!(web["environment"], json!({"A": "1", "B": "2"}));
        assert_eq!(web["ports"].as_array().map(Vec::len), Some(2));
        assert_eq!((web.get("labels"), web.get("extends")), (None, None));
    }

    #[test]
    fn paths_of_another_file_begin_beside_it_also_along_a_chain() {
        let text = "services: {web: {extends: {file: a/one.yaml, service: one}, volumes: ['./w:/w']}}\n";
        let one = "services: {one: {extends: {file: b/two.yaml, service: two}, volumes: ['./x:/x']}}\n";
        let two = "services: {two: {image: i, volumes: ['./y:/y'], build: .}}\n";
        let files = Files::new(text).with("a/one.yaml", one).with("a/b/two.yaml", two);
        let config = files.shown();
        let web = &config["services"]["web"];
        let sources: Vec<&str> =
            web["volumes"].as_array().unwrap().iter().filter_map(|v| v["source"].as_str()).collect();
        assert_eq!(sources, ["/p/a/b/y", "/p/a/x", "/p/w"]);
        assert_eq!(web["build"]["context"], "/p/a/b");
    }

    /// What docker compose 2.40.3 says of a file where `web` extends `x` of `b.yaml`.
    fn taken(over: &str, other: &str) -> Vec<String> {
        let text = format!("services: {{web: {{extends: {{file: b.yaml, service: x}}, {over}}}}}\n");
        Files::new(&text).with("b.yaml", other).reading_errors()
    }

    #[test]
    fn of_another_file_only_what_is_taken_is_judged() {
        let nobody =
            "services: {x: {image: i}, y: {imaeg: 3, deploy: 5, mem_limit: q, image: 7, labels: 3}, 'a b': 4}\n";
        assert_eq!(taken("init: true", nobody), [""; 0]);
        let wrong = "services: {x: {image: 3, imaeg: j, deploy: 5, labels: 7}}\n";
        assert_eq!(
            taken("init: true", wrong),
            [
                "`image` must be text, not the number `3`",
                "unknown key `imaeg` in service `web`",
                "`deploy` must be a mapping, not the number `5`",
                "`labels` must be a mapping or a list of `KEY=VALUE`, not the number `7`",
            ]
        );
        let replaced = "services: {x: {image: 3, deploy: 5}}\n";
        assert_eq!(
            taken("image: j, deploy: !override {replicas: 2}", replaced),
            [""; 0],
            "and it replaces what is wrong"
        );
    }

    #[test]
    fn what_has_to_be_understood_before_is_judged_whether_it_is_taken_or_not() {
        for (field, message) in [
            ("init: q", "`init` must be `true` or `false`, not the text `q`"),
            ("ports: {a: b}", "`ports` must be a list, not a mapping"),
            ("build: 5", "`build` must be a mapping, not the number `5`"),
            ("cap_add: [1]", "an item of `cap_add` must be text, not the number `1`"),
        ] {
            let other = format!("services: {{x: {{image: i}}, y: {{{field}}}}}\n");
            assert_eq!(taken("image: j", &other), [message]);
        }
    }

    #[test]
    fn what_is_taken_must_be_a_service() {
        assert_eq!(taken("image: j", "services: {x: 3}\n"), ["service `x` must be a mapping, not the number `3`"]);
        assert_eq!(taken("image: j", "services: [x]\n"), ["`services` must be a mapping, not a list"]);
        assert_eq!(taken("image: j", "services: {x: {extends: {}}}\n"), ["`extends` of service `x` needs `service`"]);
    }
}
