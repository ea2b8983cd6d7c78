//! What every stage of a load needs: the loader, the variables, and where to put problems.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use stack_model::ProjectSource;

use crate::discover::is_stdin;
use crate::pipeline::Phases;
use crate::report::{Code, Problem, Report};
use crate::roads::Roads;
use crate::shape::Trail;
use crate::source::{MAX_FILE_BYTES, SourceLoader};
use crate::text::{FileId, Files, Span};
use crate::variables::Variables;
use crate::yaml::{Mapping, Node};

/// Values of one project, counting every copy that `extends` and `include` make. Real projects have some thousands.
const MAX_VALUES: usize = 80_000;

/// Services of one project: each takes some kilobytes.
const MAX_SERVICES: usize = 10_000;

/// Projects that one project may take in.
const MAX_INCLUDES: usize = 1000;

/// Bytes of all files of one project that are configuration.
const MAX_TEXT: usize = 24 << 20;

/// One load.
pub(crate) struct Cx<'a> {
    pub(crate) loader: &'a dyn SourceLoader,
    pub(crate) files: Files,
    pub(crate) report: Report,
    /// Every file that was read or looked for.
    pub(crate) inputs: BTreeSet<PathBuf>,
    pub(crate) variables: Variables,
    /// The directory of the project that is being read, which may be included: relative paths begin here.
    pub(crate) directory: PathBuf,
    /// The directory of the outermost project: files are named from here.
    pub(crate) root: PathBuf,
    /// Interpolation was not asked for: values with `$` are left as they are.
    pub(crate) templates: bool,
    pub(crate) resolve_paths: bool,
    /// A file that others extend is being read: what nobody takes from it is not judged.
    pub(crate) lenient: bool,
    /// Everything gets a valid name.
    pub(crate) normalize: bool,
    /// What later files replaced.
    pub(crate) trail: Trail,
    /// What led to each file and service.
    pub(crate) roads: Roads,
    /// Ports that ranges became so far.
    pub(crate) ports: usize,
    stdin: Option<String>,
    /// Services of files that others extend, by the file and the scope they were read in.
    pub(crate) bases: HashMap<(PathBuf, usize), Mapping>,
    /// Which included project is being read: each has variables of its own.
    pub(crate) scope: usize,
    scopes: usize,
    /// Values so far, counting every copy.
    values: usize,
    /// Bytes of texts so far.
    text: usize,
    /// Documents of files that were read to find the project's name, and wait to be taken.
    pub(crate) parsed: HashMap<PathBuf, Vec<Node>>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(source: &ProjectSource, loader: &'a dyn SourceLoader, phases: Phases) -> Self {
        let directory = clean(&source.working_dir);
        Self {
            loader,
            files: Files::default(),
            report: Report::default(),
            inputs: BTreeSet::new(),
            variables: Variables::new(source.environment.clone()),
            root: directory.clone(),
            directory,
            templates: !phases.interpolate,
            resolve_paths: phases.resolve_paths,
            lenient: false,
            normalize: phases.normalize,
            trail: Trail::default(),
            roads: Roads::default(),
            bases: HashMap::new(),
            scope: 0,
            scopes: 0,
            values: 0,
            text: 0,
            ports: 0,
            stdin: source.stdin.clone(),
            parsed: HashMap::new(),
        }
    }
}

impl Cx<'_> {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.report.push(problem);
    }

    /// What a judgement makes of something; where that is nothing or has a mistake, nothing is said either.
    pub(crate) fn tentatively<T>(&mut self, judge: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.report.mark();
        let good = judge(self).filter(|_| self.report.mark().errors() == before.errors());
        if good.is_none() {
            self.report.forget_since(before);
        }
        good
    }

    /// Begins a scope of its own and returns the one before; `None` when there were too many, which is said once.
    pub(crate) fn enter_scope(&mut self, span: Span) -> Option<usize> {
        self.scopes += 1;
        if self.scopes == MAX_INCLUDES + 1 {
            let message = format!("more than {MAX_INCLUDES} projects are included, counting every repetition");
            self.push(Problem::error(Code::AliasBudget, span, message).help("include each of them once"));
        }
        (self.scopes <= MAX_INCLUDES).then(|| std::mem::replace(&mut self.scope, self.scopes))
    }

    /// Nothing more fits into the project.
    pub(crate) fn is_full(&self) -> bool {
        self.values > MAX_VALUES
    }

    /// Takes so many values into the project; false when that is too much, which is said once.
    pub(crate) fn spend(&mut self, values: usize, span: Span) -> bool {
        let was_fine = self.values <= MAX_VALUES;
        self.values += values;
        let fine = self.values <= MAX_VALUES;
        if was_fine && !fine {
            let message = format!("the project grows beyond {MAX_VALUES} values, counting every copy");
            let problem = Problem::error(Code::AliasBudget, span, message);
            self.push(problem.help("extend or include less, or split the project"));
        }
        fine
    }

    /// Whether the whole project has been read and is not too large, which was said otherwise.
    pub(crate) fn is_whole(&mut self, root: &Node) -> bool {
        let services = root.get("services").and_then(Node::as_mapping).map_or(0, Mapping::len);
        let fits = services <= MAX_SERVICES;
        if !fits {
            let message = format!("the project has {services} services, more than {MAX_SERVICES}");
            self.push(Problem::error(Code::AliasBudget, root.span, message).help("split the project"));
        }
        fits && !self.is_full()
    }

    pub(crate) fn exists(&mut self, path: &Path) -> bool {
        self.inputs.insert(path.to_owned());
        self.loader.exists(path)
    }

    /// The content of a file that is watched from now on.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.inputs.insert(path.to_owned());
        self.loader.read(path, MAX_FILE_BYTES)
    }

    /// A text; problems point at `asked`, the place that names the file.
    pub(crate) fn read_text(&mut self, path: &Path, asked: Span) -> Option<(FileId, Arc<str>)> {
        if is_stdin(path) {
            let text: Arc<str> = self.stdin.clone().unwrap_or_default().into();
            return Some((self.files.add(path, Arc::clone(&text)), text));
        }
        let content = match self.read(path) {
            Ok(content) => content,
            Err(error) => {
                self.push(read_problem(path, asked, &error));
                return None;
            }
        };
        match String::from_utf8(content) {
            Ok(text) => {
                self.text += text.len();
                if self.text > MAX_TEXT {
                    let message = format!("the files of the project are larger than {} MiB together", MAX_TEXT >> 20);
                    self.push(Problem::error(Code::FileTooLarge, asked, message).help("split the project"));
                    return None;
                }
                let text: Arc<str> = text.into();
                Some((self.files.add(path, Arc::clone(&text)), text))
            }
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let line = 1 + error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count();
                let message = format!("{}: line {line} is not UTF-8 text", path.display());
                let problem = Problem::error(Code::NotUtf8, asked, message);
                self.push(problem.help("save the file as UTF-8"));
                None
            }
        }
    }

    /// What relative paths that begin at `directory` are made to begin at: the directory itself, or the way to it from the
    /// project where paths are to stay relative.
    pub(crate) fn base_of(&self, directory: &Path) -> PathBuf {
        let way = directory.strip_prefix(&self.root).ok().filter(|_| !self.resolve_paths);
        way.unwrap_or(directory).to_owned()
    }

    /// A path of the file as an absolute one: `~` is the home directory, everything else begins at `base`.
    pub(crate) fn absolute(&self, base: &Path, path: &str) -> PathBuf {
        let home = || self.variables.get_non_empty("HOME").map(PathBuf::from);
        let tail = path.strip_prefix('~').filter(|tail| tail.is_empty() || tail.starts_with('/'));
        match tail.zip(home()) {
            Some((tail, home)) => clean(&home.join(tail.trim_start_matches('/'))),
            None => clean(&base.join(path)),
        }
    }
}

/// Takes `.` and `..` out by their letters, as docker compose does.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                let below = matches!(result.components().next_back(), Some(Component::Normal(_)));
                if below {
                    result.pop();
                } else if !result.has_root() {
                    result.push("..");
                }
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => result.push(part),
        }
    }
    result
}

/// Why a file could not be read, at the place that asked for it.
pub(crate) fn read_problem(path: &Path, asked: Span, error: &io::Error) -> Problem {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Problem::error(Code::MissingFile, asked, format!("{shown} does not exist"))
            .help("create it, or correct the path"),
        io::ErrorKind::FileTooLarge => {
            let limit = MAX_FILE_BYTES >> 20;
            Problem::error(Code::FileTooLarge, asked, format!("{shown} is larger than {limit} MiB"))
        }
        io::ErrorKind::IsADirectory => {
            Problem::error(Code::CannotRead, asked, format!("{shown} is a directory, not a file"))
        }
        io::ErrorKind::InvalidInput => {
            Problem::error(Code::CannotRead, asked, format!("{shown} is a named pipe, not a file"))
        }
        kind => Problem::error(Code::CannotRead, asked, format!("cannot read {shown}: {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        assert_eq!(clean(Path::new("/a/./b/../c/")), Path::new("/a/c"));
        assert_eq!(clean(Path::new("/../a")), Path::new("/a"));
    }
}
