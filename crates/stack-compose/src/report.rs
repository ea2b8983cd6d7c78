//! What is wrong with the input, collected on the way and given out with positions at the end.

use std::collections::HashSet;

use stack_model::{Diagnostic, Label, Patch, Severity};

use crate::text::{FileId, Names, Span};

/// More than this nobody reads, and an alias bomb must not make one each.
const MAX_PROBLEMS: usize = 200;

/// Every kind of problem. The text is stable: editors and scripts match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    AliasBudget,
    CannotRead,
    ConflictingKeys,
    ContainerNameTaken,
    CustomTag,
    DependencyCycle,
    DuplicateKey,
    DuplicateTarget,
    EmptyFile,
    ExtendsCycle,
    FileTooLarge,
    HostAccess,
    ImageMissing,
    IncludeCycle,
    InterpolationFormat,
    InvalidName,
    InvalidValue,
    MergeTypes,
    MissingFile,
    MissingKey,
    NoEffect,
    NoFile,
    NotUtf8,
    NotYetSupported,
    ObsoleteKey,
    ProjectName,
    RepeatedItem,
    RequiredVariable,
    SeveralFiles,
    TypographicQuote,
    UndefinedReference,
    UnitHint,
    UnknownKey,
    UnsetVariable,
    WrongType,
    YamlSyntax,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        CODES[self as usize].1
    }
}

/// Each code with its text and what there is to say about it, in the order of the enum.
const CODES: [(Code, &str, &str); 36] = [
    (
        Code::AliasBudget,
        "alias-budget",
        "The file would grow without bound when its aliases or variables are expanded. A project may have 80,000 values, counting every copy that aliases, `extends` and `include` make, 10,000 services, 1,000 included projects and 100 levels of nesting. Split the file, or use fewer aliases inside aliases.",
    ),
    (
        Code::CannotRead,
        "cannot-read",
        "A file could not be read: a permission is missing, it is a directory or a named pipe, or it is in a repository or a registry. The message names it.",
    ),
    (
        Code::ConflictingKeys,
        "conflicting-keys",
        "Two keys contradict each other, so it is not clear what is meant: `network_mode` with `networks`, `scale` with another `deploy.replicas`, two sources of a secret, `external` with options of what is made elsewhere. Remove one of them.",
    ),
    (
        Code::ContainerNameTaken,
        "container-name-taken",
        "Two services have the same `container_name`. Names of containers are unique on a machine. Give one of them another name, or leave the name out.",
    ),
    (
        Code::CustomTag,
        "custom-tag",
        "A YAML tag such as `!foo` that the Compose language does not have; it is ignored. The language has `!reset`, which removes a key of an earlier file, and `!override`, which replaces it instead of merging.",
    ),
    (
        Code::DependencyCycle,
        "dependency-cycle",
        "Services wait for one another in a circle, so none of them could ever start. Links, `volumes_from` and shared namespaces count as dependencies too. Break the circle by removing one `depends_on`.",
    ),
    (
        Code::DuplicateKey,
        "duplicate-key",
        "A mapping has the same key twice. YAML forbids it, because one of the two values would be lost. Keep one, or move what stands under both together.",
    ),
    (
        Code::DuplicateTarget,
        "duplicate-target",
        "Two mounts of a service have the same place inside the container; only one can be seen there. Remove one of them.",
    ),
    (
        Code::EmptyFile,
        "empty-file",
        "A file has nothing but comments or blank lines. A project needs at least `services:` with one service.",
    ),
    (
        Code::ExtendsCycle,
        "extends-cycle",
        "Services extend one another in a circle. The message shows the way round, with the file of each.",
    ),
    (
        Code::FileTooLarge,
        "file-too-large",
        "A file is larger than 8 MiB. Compose files of real projects stay below 300 kB; most likely another file was named by mistake.",
    ),
    (
        Code::HostAccess,
        "host-access",
        "The file asks for something of this machine: a path outside of the project's directory, a device, a namespace of the machine's own, more rights. With `host_access: ask` in `~/.config/stack/config.yaml` or `/etc/stack/config.yaml` that needs somebody who agrees: read the file, and run the command with `--trust`, once. What is agreed to is remembered for the project's name and directory; a later edit that asks for more is refused again. With `tell`, the default, `stack` says it the first time; with `allow` it says nothing.",
    ),
    (
        Code::ImageMissing,
        "image-missing",
        "A service has neither `image` nor `build`, so there is nothing to run. An `image` whose variable is not set counts as missing.",
    ),
    (Code::IncludeCycle, "include-cycle", "Files include one another in a circle. The message shows the way round."),
    (
        Code::InterpolationFormat,
        "interpolation-format",
        "A `$` begins a variable: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`, `${NAME:?message}`. Something else stands there. Write `$$` for a dollar sign that the program is to see, as in shell commands and passwords.",
    ),
    (
        Code::InvalidName,
        "invalid-name",
        "A name has letters that it may not have. Services, networks, volumes, secrets and configs take letters, digits, `.`, `_` and `-`.",
    ),
    (
        Code::InvalidValue,
        "invalid-value",
        "The value has the right type and is not one of those that have a meaning here. The message says what is expected.",
    ),
    (
        Code::MergeTypes,
        "merge-types",
        "A later file gives a list where an earlier one has a mapping, or the other way round. Use the same form in both, or `!override` to replace the earlier value.",
    ),
    (
        Code::MissingFile,
        "missing-file",
        "A file that the project names does not exist. Relative paths begin at the directory of the first Compose file, or at `--project-directory`; those of an included or extended file begin beside it.",
    ),
    (Code::MissingKey, "missing-key", "A key that must be there is not."),
    (
        Code::NoEffect,
        "no-effect",
        "The key is understood and nothing follows from it on this machine; the reason stands in the message.",
    ),
    (
        Code::NoFile,
        "no-file",
        "There is no Compose file here or in a directory above. The names are `stack.yaml`, `compose.yaml`, `compose.yml`, `docker-compose.yml` and `docker-compose.yaml`; `-f` names another one.",
    ),
    (Code::NotUtf8, "not-utf8", "The file is not UTF-8 text. Save it as UTF-8 in your editor."),
    (
        Code::NotYetSupported,
        "not-yet-supported",
        "The key is a part of the Compose specification and `stack` does not do it yet. Ignoring it would change what the file means, so `up` refuses; `config` shows it all the same.",
    ),
    (
        Code::ObsoleteKey,
        "obsolete-key",
        "The key had a meaning once. `version` can be removed; `external: {name: x}` is written `external: true` and `name: x` today.",
    ),
    (
        Code::ProjectName,
        "project-name",
        "The name of a project has lower-case letters, digits, `-` and `_`, and begins with a letter or a digit. It comes from `-p`, `COMPOSE_PROJECT_NAME`, `name:` in the file, or the directory, in this order.",
    ),
    (Code::RepeatedItem, "repeated-item", "The same item stands twice in a list where each must be different."),
    (
        Code::RequiredVariable,
        "required-variable",
        "The file says `${NAME:?message}`: the variable must have a value and has none. Set it in the environment or in `.env`. `stack config --variables` lists all variables of the file.",
    ),
    (
        Code::SeveralFiles,
        "several-files",
        "The directory has several Compose files by their usual names; the one of the highest rank is used. Remove the others, or name one with `-f`.",
    ),
    (
        Code::TypographicQuote,
        "typographic-quote",
        "The value begins with a quote such as `“` that a word processor or a web page has put there. YAML knows `\"` and `'` only, so it is a letter like any other and becomes a part of the value.",
    ),
    (
        Code::UndefinedReference,
        "undefined-reference",
        "A service refers to something that the project does not declare: a service, network, volume, secret, config or model. Networks and volumes are declared under the top-level key of that name. Services of profiles that are not active count as missing.",
    ),
    (
        Code::UnitHint,
        "unit-hint",
        "The number is legal and most likely lacks its unit or its base: `mem_limit: 512` is 512 bytes, `mode: 440` is a decimal number. Write `512m`, and modes in quotes: `\"0440\"`.",
    ),
    (
        Code::UnknownKey,
        "unknown-key",
        "The key is not a part of the Compose language at this place: a slip of the keyboard, a wrong indentation, or a key that belongs elsewhere. Keys of your own begin with `x-`.",
    ),
    (
        Code::UnsetVariable,
        "unset-variable",
        "A variable has no value and becomes an empty text. Set it in the environment or in `.env`, write a default as in `${NAME:-default}`, or write `$$` if a dollar sign is meant.",
    ),
    (
        Code::WrongType,
        "wrong-type",
        "The value has another type than expected: a number where a text is meant, a text where a list is meant. Quote texts that look like something else: `\"8080:80\"`, `\"yes\"`, `\"1.10\"`, `\"0440\"`.",
    ),
    (
        Code::YamlSyntax,
        "yaml-syntax",
        "The file is not YAML. The usual causes are a tab in the indentation, a missing blank after a colon, a quote that is never closed, and a value with `: ` or `#` that needs quotes.",
    ),
];

/// More about the code of a diagnostic.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(_, name, _)| *name == code).map(|(_, _, text)| *text)
}

/// Every code with its explanation, sorted.
pub fn codes() -> Vec<(&'static str, &'static str)> {
    let mut codes: Vec<_> = CODES.iter().map(|(_, name, text)| (*name, *text)).collect();
    codes.sort_unstable();
    codes
}

/// From when on a problem counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The file cannot be read at all.
    #[default]
    Reading,
    /// The file is good, and cannot be run as it is.
    Running,
}

/// A [`Diagnostic`] before its places have names.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    severity: Severity,
    message: String,
    labels: Vec<(Span, String)>,
    reason: Option<String>,
    help: Option<String>,
    patch: Option<(Span, String)>,
    stage: Stage,
}

impl Problem {
    /// An error at a place; the default span is no place.
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        let labels = if span.is_somewhere() { vec![(span, String::new())] } else { Vec::new() };
        let (message, severity) = (message.into(), Severity::Error);
        Self { code, severity, message, labels, reason: None, help: None, patch: None, stage: Stage::Reading }
    }

    /// The same as a warning.
    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Counts only when the project is to be run.
    pub(crate) fn when_run(self) -> Self {
        Self { stage: Stage::Running, ..self }
    }

    /// Marks a further place.
    pub(crate) fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        if span.is_somewhere() {
            self.labels.push((span, text.into()));
        }
        self
    }

    pub(crate) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn patch(mut self, span: Span, replacement: impl Into<String>) -> Self {
        if span.is_somewhere() {
            self.patch = Some((span, replacement.into()));
        }
        self
    }

    /// "did you mean" with a replacement, when there is something near.
    pub(crate) fn nearest(self, span: Span, near: Option<&str>) -> Self {
        match near {
            Some(near) => self.help(format!("did you mean `{near}`?")).patch(span, near),
            None => self,
        }
    }

    fn place(&self) -> Option<(FileId, u32)> {
        self.labels.first().map(|(span, _)| (span.file, span.start))
    }

    fn is_unreadable(&self) -> bool {
        self.stage == Stage::Reading && self.severity == Severity::Error && !self.labels.is_empty()
    }

    fn finish(self, names: &Names) -> Diagnostic {
        let label = |(span, text): (Span, String)| Label {
            origin: names.origin(span),
            bytes: span.start as usize..span.end as usize,
            text,
        };
        Diagnostic {
            code: self.code.as_str().to_owned(),
            severity: self.severity,
            message: self.message,
            labels: self.labels.into_iter().map(label).collect(),
            reason: self.reason,
            help: self.help,
            patch: self.patch.map(|(span, replacement)| Patch { label: label((span, String::new())), replacement }),
        }
    }
}

/// All problems so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    errors: usize,
    errors_to_run: usize,
    /// From when on what is pushed now counts.
    pub(crate) stage: Stage,
}

/// A moment of a [`Report`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    problems: usize,
    errors: usize,
    errors_to_run: usize,
}

impl Mark {
    /// Errors of both stages.
    pub(crate) fn errors(self) -> usize {
        self.errors + self.errors_to_run
    }
}

impl Report {
    pub(crate) fn push(&mut self, problem: Problem) {
        // A hint is of use to everyone who reads the file.
        let stage = if problem.severity == Severity::Error { problem.stage.max(self.stage) } else { problem.stage };
        let problem = Problem { stage, ..problem };
        if problem.severity == Severity::Error {
            match problem.stage {
                Stage::Reading => self.errors += 1,
                Stage::Running => self.errors_to_run += 1,
            }
        }
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// How much has been said so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark { problems: self.problems.len(), errors: self.errors, errors_to_run: self.errors_to_run }
    }

    /// Takes back what was said after a mark.
    pub(crate) fn forget_since(&mut self, mark: Mark) {
        self.problems.truncate(mark.problems);
        (self.errors, self.errors_to_run) = (mark.errors, mark.errors_to_run);
    }

    /// Errors so far, counted beyond the limit too.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Errors that count at a stage.
    pub(crate) fn errors_at(&self, stage: Stage) -> usize {
        match stage {
            Stage::Reading => self.errors,
            Stage::Running => self.errors + self.errors_to_run,
        }
    }

    /// Errors first, each in the order of the files.
    pub(crate) fn finish(self, names: &Names, stage: Stage) -> Vec<Diagnostic> {
        let mut problems = self.problems;
        problems.retain(|problem| problem.stage <= stage);
        problems.sort_by_key(|problem| (problem.severity, problem.place(), problem.stage));
        // What cannot be read needs no second message about what it would mean.
        let unreadable: HashSet<_> =
            problems.iter().filter(|problem| problem.is_unreadable()).map(Problem::place).collect();
        problems.retain(|problem| problem.stage == Stage::Reading || !unreadable.contains(&problem.place()));
        let mut diagnostics: Vec<Diagnostic> = problems.into_iter().map(|problem| problem.finish(names)).collect();
        diagnostics.dedup();
        diagnostics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_own_place() {
        for (index, (code, name, text)) in CODES.iter().enumerate() {
            assert_eq!(*code as usize, index);
            assert_eq!(explain(name), Some(*text));
        }
    }
}
