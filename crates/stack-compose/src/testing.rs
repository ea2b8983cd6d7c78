//! Projects in memory for the tests of this crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stack_model::{Desired, ProjectSource, Service, Severity};

use crate::project::Project;
use crate::source::memory::MemoryLoader;
use crate::{Loaded, load};

/// A project in `/p`, with `HOME` and `PASSED` in the environment.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    loader: MemoryLoader,
    source: ProjectSource,
}

impl Files {
    pub(crate) fn empty() -> Self {
        let environment = [("HOME", "/home/u"), ("PASSED", "through")];
        let environment: BTreeMap<_, _> = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let source = ProjectSource { working_dir: PathBuf::from("/p"), environment, ..ProjectSource::default() };
        Self { loader: MemoryLoader::default(), source }
    }

    pub(crate) fn new(compose: &str) -> Self {
        Self::empty().with("compose.yaml", compose)
    }

    pub(crate) fn with(mut self, path: &str, content: &str) -> Self {
        self.loader.files.insert(Path::new("/p").join(path), content.as_bytes().to_owned());
        self
    }

    pub(crate) fn bytes(mut self, path: &str, content: &[u8]) -> Self {
        self.loader.files.insert(Path::new("/p").join(path), content.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.source.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn profile(mut self, name: &str) -> Self {
        self.source.profiles.push(name.to_owned());
        self
    }

    pub(crate) fn project_name(mut self, name: &str) -> Self {
        self.source.project_name = Some(name.to_owned());
        self
    }

    /// Nothing may reach the machine but what the file of this directory says.
    pub(crate) fn trusting(mut self, directory: &str) -> Self {
        self.source.trust = Some(PathBuf::from(directory));
        self
    }

    pub(crate) fn working_dir(mut self, path: &str) -> Self {
        self.source.working_dir = PathBuf::from(path);
        self
    }

    pub(crate) fn load(&self) -> Loaded {
        load(&self.source, &self.loader)
    }

    pub(crate) fn used_variables(&self) -> Vec<crate::UsedVariable> {
        crate::used_variables(&self.source, &self.loader)
    }

    pub(crate) fn project(&self) -> Project {
        let loaded = self.load();
        assert!(loaded.project.is_some(), "{:#?}", loaded.diagnostics);
        loaded.project.unwrap()
    }

    /// The project as `config` shows it, with what cannot be run.
    pub(crate) fn shown(&self) -> serde_json::Value {
        self.read().to_json()
    }

    /// The project, whether it can be run or not.
    pub(crate) fn read(&self) -> Project {
        self.read_with(crate::Phases::default())
    }

    /// The project as `config` shows it with some phases left out, in YAML.
    pub(crate) fn yaml(&self, phases: crate::Phases) -> String {
        self.read_with(phases).to_yaml()
    }

    pub(crate) fn read_with(&self, phases: crate::Phases) -> Project {
        let loaded = crate::read(&self.source, &self.loader, phases);
        assert!(loaded.project.is_some(), "{:#?}", loaded.diagnostics);
        loaded.project.unwrap()
    }

    /// Why `config` would refuse the project.
    pub(crate) fn reading_errors(&self) -> Vec<String> {
        self.refusals(crate::Phases::default())
    }

    /// The same where some phases are left out.
    pub(crate) fn refusals(&self, phases: crate::Phases) -> Vec<String> {
        let loaded = crate::read(&self.source, &self.loader, phases);
        let errors = loaded.diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors.map(|diagnostic| diagnostic.message).collect()
    }

    pub(crate) fn desired(&self) -> Desired {
        self.project().lower("")
    }

    pub(crate) fn service(&self, name: &str) -> Service {
        self.desired().services[name].clone()
    }

    /// Warnings as `line:column message; help`.
    pub(crate) fn warnings(&self) -> Vec<String> {
        lines(&self.load(), Severity::Warning)
    }

    /// Errors as `line:column message; help`.
    pub(crate) fn errors(&self) -> Vec<String> {
        lines(&self.load(), Severity::Error)
    }
}

fn lines(loaded: &Loaded, severity: Severity) -> Vec<String> {
    let chosen = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity);
    let line = |diagnostic: &stack_model::Diagnostic| {
        let origin = &diagnostic.labels[0].origin;
        let help = diagnostic.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
        format!("{}:{} {}{help}", origin.line, origin.column, diagnostic.message)
    };
    chosen.map(line).collect()
}

fn with_service(fields: &str) -> Files {
    let image = if fields.starts_with("image:") { "x-image: i" } else { "image: i" };
    let fields: Vec<String> = fields.lines().map(|line| format!("    {line}\n")).collect();
    Files::new(&format!("services:\n  a:\n    {image}\n{}", fields.concat()))
}

/// The service `a` with an image and these fields, which begin at line 4, column 5.
pub(crate) fn service(fields: &str) -> Service {
    with_service(fields).service("a")
}

/// Errors of the service `a` with these fields.
pub(crate) fn errors(fields: &str) -> Vec<String> {
    with_service(fields).errors()
}

/// Warnings of the service `a` with these fields.
pub(crate) fn warnings(fields: &str) -> Vec<String> {
    with_service(fields).warnings()
}

/// Errors of a whole file.
pub(crate) fn project_errors(text: &str) -> Vec<String> {
    Files::new(text).errors()
}
