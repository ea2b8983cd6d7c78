//! The order of the phases of a load. Each reports and goes on as far as that makes sense, so that all mistakes show.
//!
//! 1. environment: `.env` of the working directory, which may name the files;
//! 2. discovery: which files, which project directory, its `.env`; the project's name;
//! 3. each document (`document.rs`): text to tree, interpolation, long forms, `extends`, `include`, merge;
//! 4. the merged tree: what is missing, defaults, rules, absolute paths;
//! 5. what the file implies: the default network, dependencies, names;
//! 6. profiles;
//! 7. tree to typed services, key by key;
//! 8. what active services read: env files, label files, secrets, configs;
//! 9. checks that need the whole: references, cycles;
//! 10. only to run it: the images that `stack.lock` pins, what is not supported yet (`support.rs`), and
//!     what it asks of the machine (`host_access.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use stack_model::{Diagnostic, ProjectName, ProjectSource, short_hex};

use crate::context::{Cx, read_problem};
use crate::graph::report_cycles;
use crate::interpolate::interpolate;
use crate::keys::{SERVICE_KEYS, resolve_env_files, resolve_label_files, resolve_seccomp};
use crate::parse::parse_project;
use crate::project::{FileSource, Project};
use crate::report::{Code, Problem, Report, Stage};
use crate::source::SourceLoader;
use crate::text::{Span, Spanned};
use crate::yaml::Node;
use crate::{defaults, discover, document, host_access, lock, support};

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

/// Which phases a load for showing goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each leaves one phase out")]
pub struct Phases {
    /// Replace `${…}`.
    pub interpolate: bool,
    /// Fill in what the file implies.
    pub normalize: bool,
    /// Make paths absolute.
    pub resolve_paths: bool,
    /// Check references between services and what they use.
    pub consistency: bool,
    /// Show what env files say instead of their names.
    pub env_files: bool,
    /// Show only what active services use.
    pub only_used: bool,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            interpolate: true,
            normalize: true,
            resolve_paths: true,
            consistency: true,
            env_files: true,
            only_used: true,
        }
    }
}

/// Reads a project to run it: what cannot be done as the file says is an error.
pub fn load(source: &ProjectSource, loader: &dyn SourceLoader) -> Loaded {
    let mut cx = Cx::new(source, loader, Phases::default());
    let mut project = run(source, Phases::default(), &mut cx);
    if let Some(project) = &mut project {
        lock::apply(project, &mut cx);
        support::report(&project.document, &mut cx);
        project.host_access = host_access::find(project, &cx);
        if let Some(trust) = &source.trust {
            host_access::check(project, trust, &mut cx);
        }
    }
    finish(project, cx, Stage::Running)
}

/// Reads a project to show it: every file of the Compose language is a project.
pub fn read(source: &ProjectSource, loader: &dyn SourceLoader, phases: Phases) -> Loaded {
    let mut cx = Cx::new(source, loader, phases);
    let project = run(source, phases, &mut cx);
    finish(project, cx, Stage::Reading)
}

fn finish(project: Option<Project>, cx: Cx<'_>, stage: Stage) -> Loaded {
    let names = cx.files.names(&cx.root);
    let project = project.filter(|_| cx.report.errors_at(stage) == 0);
    let project = project.map(|project| Project {
        names: names.clone(),
        trail: cx.trail,
        roads: cx.roads,
        variables: cx.variables,
        ..project
    });
    Loaded {
        project,
        texts: cx.files.texts(&cx.root).collect(),
        diagnostics: cx.report.finish(&names, stage),
        inputs: cx.inputs,
    }
}

fn run(source: &ProjectSource, phases: Phases, cx: &mut Cx<'_>) -> Option<Project> {
    let first = discover::first_directory(source);
    discover::read_environment(source, &first, cx);
    let (files, directory) = discover::find(source, cx)?;
    cx.root.clone_from(&directory);
    cx.directory = directory;
    if cx.directory != first && source.env_files.is_empty() {
        let directory = cx.directory.clone();
        discover::read_environment(source, &directory, cx);
    }
    let name = name_of(source, &files, cx);
    let files: Vec<(PathBuf, Span)> = files.into_iter().map(|file| (file, Span::default())).collect();
    let root = document::model(&files, &[], cx)?;
    // Of a project that was cut off the rest would be about what is missing.
    if !cx.is_whole(&root) {
        return None;
    }
    // Without a name the rest is checked all the same; the error is in the report.
    let name = name.unwrap_or_else(|| ProjectName::new("project"));
    Some(build(source, root, (name, phases), cx))
}

fn build(source: &ProjectSource, mut root: Node, (name, phases): (ProjectName, Phases), cx: &mut Cx<'_>) -> Project {
    if phases.normalize {
        defaults::imply(&mut root, &name, cx);
    }
    if phases.interpolate {
        defaults::fill_typed(&mut root);
    }
    let profiles = discover::profiles(source, cx);
    // Decoding says what the engine would not take; the shapes have said what the language does not have.
    cx.report.stage = Stage::Running;
    let mut project = parse_project(root, name, &profiles, cx);
    project.active_profiles = profiles;
    project.is_named = phases.normalize;
    if !phases.interpolate {
        return project;
    }
    read_files(&mut project, phases.env_files, cx);
    cx.report.stage = Stage::Reading;
    if phases.consistency {
        check(&project, cx);
        defaults::repeat_scale(&mut project.document);
    }
    project.keeps_unused = !phases.only_used;
    project.drop_unused();
    project
}

/// The name is known before anything else is interpolated: it is a variable itself.
fn name_of(source: &ProjectSource, files: &[PathBuf], cx: &mut Cx<'_>) -> Option<ProjectName> {
    let mut written = None;
    for path in files {
        let names = document::peek(path, cx).iter().filter_map(|document| document.get("name"));
        // An empty name is none; one that only becomes empty is a mistake.
        let says = |name: &&Node| !name.is_null() && name.as_text() != Some("");
        let names: Vec<Node> = names.filter(says).cloned().collect();
        for mut value in names {
            if !cx.templates {
                interpolate(&mut value, &cx.variables, &mut Report::default());
            }
            if let Some(text) = value.as_text() {
                written = Some(Spanned::new(text.to_owned(), value.span));
            }
        }
    }
    let name = discover::project_name(source, written, cx);
    if let Some(name) = &name {
        cx.variables.set("COMPOSE_PROJECT_NAME", name.as_str());
    }
    name
}

/// Only what active services use is read: a missing file of another profile disturbs nobody.
fn read_files(project: &mut Project, env_files: bool, cx: &mut Cx<'_>) {
    for service in project.services.values_mut() {
        cx.report.stage = Stage::Reading;
        if env_files {
            resolve_env_files(service, cx);
        }
        resolve_label_files(service, cx);
        cx.report.stage = Stage::Running;
        resolve_seccomp(service, cx);
    }
    cx.report.stage = Stage::Running;
    project.show_environment(env_files);
    let secrets: Vec<String> = project.used_secrets().into_iter().map(str::to_owned).collect();
    let configs: Vec<String> = project.used_configs().into_iter().map(str::to_owned).collect();
    for (sources, used) in [(&mut project.secrets, secrets), (&mut project.configs, configs)] {
        for name in used {
            let Some(source) = sources.get_mut(&name) else { continue };
            if source.file.span.is_somewhere() {
                read_content(source, cx);
            } else {
                take_text(&name, source, cx);
            }
        }
    }
}

/// What is not in a file is in the project, or in the environment of whoever runs it.
fn take_text(name: &str, source: &mut FileSource, cx: &mut Cx<'_>) {
    if let Some(variable) = &source.variable {
        source.text = cx.variables.get(&variable.value);
        if source.text.is_none() {
            let message = format!("`{name}` is the variable `{}`, which is not set", variable.value);
            let problem = Problem::error(Code::UndefinedReference, variable.span, message);
            cx.push(problem.help("set it in the environment or in `.env`"));
        }
    }
    if let Some(text) = &source.text {
        source.content = short_hex(&[text], CONTENT_DIGITS);
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
        for check in SERVICE_KEYS.iter().filter_map(|key| key.check) {
            check(service, project, &mut cx.report);
        }
    }
    crate::consistency::check(project, &mut cx.report);
    report_cycles(project, &mut cx.report);
}
