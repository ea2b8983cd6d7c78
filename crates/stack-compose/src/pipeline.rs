//! The order of the phases of a load. Each reports and goes on as far as that makes sense, so that all mistakes show.
//!
//! 1. environment: `.env` of the working directory, which may name the files;
//! 2. discovery: which files, which project directory, its `.env`;
//! 3. each document: text to tree; the project's name; interpolation; short forms to long ones;
//! 4. merge of all documents;
//! 5. tree to typed project, key by key;
//! 6. profiles;
//! 7. what active services read: env files, secrets, configs;
//! 8. checks that need the whole: references, cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use stack_model::{Diagnostic, ProjectName, ProjectSource, short_hex};

use crate::context::{Cx, clean, read_problem};
use crate::graph::report_cycles;
use crate::interpolate::interpolate;
use crate::keys::{SERVICE_KEYS, resolve_env_files};
use crate::merge::{merge_root, settle};
use crate::parse::{canonical_services, parse_project};
use crate::project::{FileSource, Project};
use crate::report::{Code, Problem, Report};
use crate::source::SourceLoader;
use crate::text::{Files, Span, Spanned};
use crate::variables::Variables;
use crate::yaml::{Kind, Node, read};
use crate::{discover, toplevel};

/// Digits of the fingerprint of a secret or config.
const CONTENT_DIGITS: usize = 16;

/// What a load found out.
#[derive(Debug)]
pub struct Loaded {
    /// The project; `None` if there is any error.
    pub project: Option<Project>,
    /// Errors first, then warnings, each in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that was read or looked for, absolute: a change of one of them may change the result.
    pub inputs: BTreeSet<PathBuf>,
    /// The texts that diagnostics and origins point into, by `Origin::file`. Secrets and configs are not among them.
    pub texts: BTreeMap<String, String>,
}

/// Reads a project.
pub fn load(source: &ProjectSource, loader: &dyn SourceLoader) -> Loaded {
    let mut cx = Cx {
        loader,
        files: Files::default(),
        report: Report::default(),
        inputs: BTreeSet::new(),
        variables: Variables::new(source.environment.clone()),
        directory: clean(&source.working_dir),
    };
    let project = run(source, &mut cx);
    let names = cx.files.names(&cx.directory);
    let project =
        project.filter(|_| cx.report.errors() == 0).map(|project| Project { names: names.clone(), ..project });
    Loaded {
        project,
        texts: cx.files.texts(&cx.directory).collect(),
        diagnostics: cx.report.finish(&names),
        inputs: cx.inputs,
    }
}

fn run(source: &ProjectSource, cx: &mut Cx<'_>) -> Option<Project> {
    let working_dir = cx.directory.clone();
    discover::read_environment(source, &working_dir, cx);
    let (files, directory) = discover::find(source, cx)?;
    cx.directory = directory;
    if cx.directory != working_dir && source.env_files.is_empty() {
        let directory = cx.directory.clone();
        discover::read_environment(source, &directory, cx);
    }
    let mut documents = read_documents(&files, cx);
    let name = name_of(source, &mut documents, cx);
    let root = merge_documents(documents, cx)?;
    // Without a name the rest is checked all the same; the error is in the report.
    let name = name.unwrap_or_else(|| ProjectName::new("project"));
    let mut project = parse_project(&root, name, cx);
    split_by_profile(&mut project, &discover::profiles(source, cx));
    read_files(&mut project, cx);
    check(&project, cx);
    Some(project)
}

fn read_documents(files: &[PathBuf], cx: &mut Cx<'_>) -> Vec<Node> {
    let mut documents = Vec::new();
    let mut last = None;
    let errors = cx.report.errors();
    for path in files {
        let Some((file, text)) = cx.read_text(path, Span::default()) else { continue };
        let read = read(&text, file, &mut cx.report);
        documents.extend(read.into_iter().filter(|document| !document.is_null()));
        last = Some((path, file));
    }
    // A file of comments beside others is fine.
    if let Some((path, file)) = last.filter(|_| documents.is_empty() && cx.report.errors() == errors) {
        let span = cx.files.span(file, 0..0);
        let problem = Problem::error(Code::EmptyFile, span, format!("{} is empty", path.display()));
        cx.push(problem.help("write at least `services:` with one service"));
    }
    documents.retain(|document| {
        let good = document.as_mapping().is_some();
        if !good {
            cx.wrong_type(document, "a project", "a mapping");
        }
        good
    });
    documents
}

/// The name is known before anything else is interpolated: it is a variable itself.
fn name_of(source: &ProjectSource, documents: &mut [Node], cx: &mut Cx<'_>) -> Option<ProjectName> {
    let mut written = None;
    for document in documents.iter_mut() {
        let Kind::Mapping(root) = &mut document.kind else { continue };
        let Some(entry) = root.get_mut("name").filter(|entry| !entry.value.is_null()) else { continue };
        // The tree is interpolated as a whole later; a clone keeps `$$` from being read twice.
        let mut value = entry.value.clone();
        interpolate(&mut value, &cx.variables, &mut Report::default());
        if let Some(text) = value.as_text() {
            written = Some(Spanned::new(text.to_owned(), value.span));
        }
    }
    let name = discover::project_name(source, written, cx);
    if let Some(name) = &name {
        cx.variables.set("COMPOSE_PROJECT_NAME", name.as_str());
    }
    name
}

fn merge_documents(documents: Vec<Node>, cx: &mut Cx<'_>) -> Option<Node> {
    let mut merged: Option<Node> = None;
    for mut document in documents {
        interpolate(&mut document, &cx.variables, &mut cx.report);
        if let Kind::Mapping(root) = &mut document.kind {
            toplevel::check_version(root, cx);
            toplevel::canonical(root, cx);
            canonical_services(root, cx);
        }
        match &mut merged {
            None => merged = Some(document),
            Some(base) => merge_root(base, document, &mut cx.report),
        }
    }
    if let Some(root) = &mut merged {
        settle(root);
    }
    merged
}

fn split_by_profile(project: &mut Project, profiles: &[String]) {
    let all = std::mem::take(&mut project.services);
    let (active, disabled) = all.into_iter().partition(|(_, service)| service.is_active(profiles));
    project.services = active;
    project.disabled = disabled;
}

/// Only what active services use is read: a missing file of another profile disturbs nobody.
fn read_files(project: &mut Project, cx: &mut Cx<'_>) {
    for service in project.services.values_mut() {
        resolve_env_files(service, cx);
    }
    let secrets: Vec<String> = project.used_secrets().into_iter().map(str::to_owned).collect();
    let configs: Vec<String> = project.used_configs().into_iter().map(str::to_owned).collect();
    for (sources, used) in [(&mut project.secrets, secrets), (&mut project.configs, configs)] {
        for name in used {
            if let Some(source) = sources.get_mut(&name).filter(|source| source.file.span.is_somewhere()) {
                read_content(source, cx);
            }
        }
    }
}

fn read_content(source: &mut FileSource, cx: &mut Cx<'_>) {
    match cx.read(&source.file.value) {
        Ok(content) => {
            let text = String::from_utf8_lossy(&content);
            // Bytes that are not text differ by their number too: the lossy form alone would hide some edits.
            let length = content.len().to_string();
            let marks: Vec<String> = text.contains('\u{fffd}').then(|| hex(&content)).into_iter().collect();
            let mut parts = vec![length.as_str(), text.as_ref()];
            parts.extend(marks.iter().map(String::as_str));
            source.content = short_hex(&parts, CONTENT_DIGITS);
        }
        Err(error) => cx.push(read_problem(&source.file.value, source.file.span, &error)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn check(project: &Project, cx: &mut Cx<'_>) {
    for service in project.services.values() {
        for key in SERVICE_KEYS {
            (key.check)(service, project, &mut cx.report);
        }
    }
    report_cycles(project, &mut cx.report);
}
