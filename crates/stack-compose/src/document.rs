//! Files to one merged tree: text to nodes, interpolation, long forms, `extends`, `include`, merge.

use std::path::{Path, PathBuf};

use crate::context::Cx;
use crate::interpolate::interpolate;
use crate::report::{Code, Problem, Report};
use crate::shape::{At, Merge, canonical, complete, merge, settle, unify};
use crate::text::Span;
use crate::toplevel::{ROOT, check_version};
use crate::yaml::{Kind, Node, Tag, read};
use crate::{defaults, extends, include, paths, validate};

/// A tree of several files that begins at `cx.directory`, with paths and variables resolved. `chain` are the files that
/// include it.
pub(crate) fn model(files: &[(PathBuf, Span)], chain: &[PathBuf], cx: &mut Cx<'_>) -> Option<Node> {
    let mut merged: Option<Node> = None;
    let mut empty = None;
    for (path, asked) in files {
        let documents = read_file(path, *asked, cx);
        if documents.is_empty() {
            empty = empty.or(Some((path, *asked)));
        }
        let mut chain = chain.to_vec();
        chain.push(path.clone());
        for document in documents {
            if let Some(document) = prepare(document, path, &chain, cx) {
                lay_over(&mut merged, document, cx);
            }
            // A later file does not mend what this one lacks with those before it: docker compose judges each at once.
            if let Some(root) = &mut merged {
                complete(root, &ROOT, &At::ROOT, cx);
            }
        }
    }
    let only_version = |root: &Node| root.as_mapping().is_some_and(|root| root.keys().all(|key| &**key == "version"));
    if merged.as_ref().is_some_and(only_version) {
        merged = None;
        empty = files.first().map(|(path, asked)| (path, *asked));
    }
    let Some(mut root) = merged else {
        if let Some((path, asked)) = empty.filter(|_| cx.report.errors() == 0) {
            report_empty(path, asked, cx);
        }
        return None;
    };
    defaults::set(&mut root);
    validate::shapes(&root, cx);
    // Paths of an included project begin at its own directory, whatever is asked for.
    if cx.resolve_paths || cx.scope > 0 {
        let base = cx.base_of(&cx.directory);
        paths::resolve(&mut root, &base, cx);
    }
    defaults::pass_variables(&mut root, cx);
    Some(root)
}

/// A file whose services others extend: merged, but neither extended nor included, and not complete by itself.
pub(crate) fn read_merged(path: &Path, asked: Span, cx: &mut Cx<'_>) -> Option<Node> {
    let mut merged = None;
    for mut document in read_file(path, asked, cx) {
        fill_in(&mut document, cx);
        // What else the file has is not looked at.
        if let Kind::Mapping(root) = &mut document.kind {
            root.retain(|section, _| &**section == "services");
        }
        let lenient = std::mem::replace(&mut cx.lenient, true);
        let document = canonical(document, &ROOT, &At::ROOT, cx);
        cx.lenient = lenient;
        if let Some(document) = document {
            // Tags stay: services of this file may extend one another, and they say how.
            put_over(&mut merged, document, cx);
        }
    }
    if merged.is_none() && cx.report.errors() == 0 {
        report_empty(path, asked, cx);
    }
    merged
}

fn report_empty(path: &Path, asked: Span, cx: &mut Cx<'_>) {
    let span = if asked.is_somewhere() { asked } else { cx.files.start_of(path) };
    let problem = Problem::error(Code::EmptyFile, span, format!("{} is empty", path.display()));
    cx.push(problem.help("write at least `services:` with one service"));
}

/// The documents of a file that say something. A file that is read again is parsed again, from the text that was kept.
fn read_file(path: &Path, asked: Span, cx: &mut Cx<'_>) -> Vec<Node> {
    let documents = match cx.parsed.remove(path) {
        Some(documents) => documents,
        None => parse_file(path, asked, cx),
    };
    let count = documents.iter().map(Node::count).sum();
    if cx.spend(count, asked) { documents } else { Vec::new() }
}

/// Reads a file ahead of its turn.
pub(crate) fn peek<'c>(path: &Path, cx: &'c mut Cx<'_>) -> &'c [Node] {
    if !cx.parsed.contains_key(path) {
        let documents = parse_file(path, Span::default(), cx);
        cx.parsed.insert(path.to_owned(), documents);
    }
    cx.parsed.get(path).map_or(&[], Vec::as_slice)
}

fn parse_file(path: &Path, asked: Span, cx: &mut Cx<'_>) -> Vec<Node> {
    let known = cx.files.find(path);
    let mut again = Report::default();
    let (file, text, report) = match known {
        // Its mistakes are in the report already.
        Some((file, text)) => (file, text, &mut again),
        None => match cx.read_text(path, asked) {
            Some((file, text)) => (file, text, &mut cx.report),
            None => return Vec::new(),
        },
    };
    let mut documents = read(&text, file, report);
    let alone = documents.len() < 2;
    documents.retain(|document| {
        if document.is_null() && !alone {
            let problem = Problem::error(Code::EmptyFile, document.span, "a document of the file is empty");
            report.push(problem.help("remove the `---` in front of it"));
        }
        !document.is_null()
    });
    documents.retain(|document| {
        let good = document.as_mapping().is_some();
        if !good {
            cx.wrong_type(document, "a project", "a mapping");
        }
        good
    });
    documents
}

fn fill_in(document: &mut Node, cx: &mut Cx<'_>) {
    if !cx.templates {
        return interpolate(document, &cx.variables, &mut cx.report);
    }
    // Which files belong to the project must be known all the same. What is wrong there shows when they are read.
    let Kind::Mapping(root) = &mut document.kind else { return };
    if let Some(include) = root.get_mut("include") {
        interpolate(&mut include.value, &cx.variables, &mut Report::default());
    }
    defaults::for_services(document, |_, fields, _| {
        if let Some(extends) = fields.get_mut("extends") {
            interpolate(&mut extends.value, &cx.variables, &mut Report::default());
        }
    });
}

fn prepare(mut document: Node, path: &Path, chain: &[PathBuf], cx: &mut Cx<'_>) -> Option<Node> {
    fill_in(&mut document, cx);
    if let Kind::Mapping(root) = &mut document.kind {
        check_version(root, cx);
        // Anywhere else a key without value would say nothing, and be judged when everything is merged.
        if let Some(services) = root.get_mut("services").filter(|services| services.value.is_null()) {
            let problem = Problem::error(Code::WrongType, services.key, "`services` has no value");
            cx.push(problem.help("write services below it, or remove the key"));
            services.value.tag = Tag::Broken;
        }
    }
    let mut document = canonical(document, &ROOT, &At::ROOT, cx)?;
    extends::apply(&mut document, path, cx);
    include::apply(&mut document, chain, cx);
    Some(document)
}

fn put_over(merged: &mut Option<Node>, document: Node, cx: &mut Cx<'_>) {
    match merged {
        None => *merged = Some(document),
        Some(base) => merge(base, document, &ROOT, cx),
    }
}

fn lay_over(merged: &mut Option<Node>, document: Node, cx: &mut Cx<'_>) {
    put_over(merged, document, cx);
    if let Some(root) = merged {
        settle(root);
        unify(root, &ROOT, Merge::Deep, &mut cx.trail);
    }
}
