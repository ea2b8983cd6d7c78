//! What is wrong with the input, collected on the way and given out with positions at the end.

use stack_model::{Diagnostic, Label, Patch, Severity};

use crate::text::{Names, Span};

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
    FileTooLarge,
    ImageMissing,
    InterpolationFormat,
    InvalidName,
    InvalidValue,
    MergeTypes,
    MissingFile,
    MissingKey,
    NoFile,
    NotUtf8,
    NotYetSupported,
    ObsoleteKey,
    ProjectName,
    RequiredVariable,
    SeveralFiles,
    UndefinedReference,
    UnitHint,
    UnknownKey,
    UnsetVariable,
    WrongType,
    YamlSyntax,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AliasBudget => "alias-budget",
            Self::CannotRead => "cannot-read",
            Self::ConflictingKeys => "conflicting-keys",
            Self::ContainerNameTaken => "container-name-taken",
            Self::CustomTag => "custom-tag",
            Self::DependencyCycle => "dependency-cycle",
            Self::DuplicateKey => "duplicate-key",
            Self::DuplicateTarget => "duplicate-target",
            Self::EmptyFile => "empty-file",
            Self::FileTooLarge => "file-too-large",
            Self::ImageMissing => "image-missing",
            Self::InterpolationFormat => "interpolation-format",
            Self::InvalidName => "invalid-name",
            Self::InvalidValue => "invalid-value",
            Self::MergeTypes => "merge-types",
            Self::MissingFile => "missing-file",
            Self::MissingKey => "missing-key",
            Self::NoFile => "no-file",
            Self::NotUtf8 => "not-utf8",
            Self::NotYetSupported => "not-yet-supported",
            Self::ObsoleteKey => "obsolete-key",
            Self::ProjectName => "project-name",
            Self::RequiredVariable => "required-variable",
            Self::SeveralFiles => "several-files",
            Self::UndefinedReference => "undefined-reference",
            Self::UnitHint => "unit-hint",
            Self::UnknownKey => "unknown-key",
            Self::UnsetVariable => "unset-variable",
            Self::WrongType => "wrong-type",
            Self::YamlSyntax => "yaml-syntax",
        }
    }
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
}

impl Problem {
    /// An error at a place; the default span is no place.
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        let labels = if span.is_somewhere() { vec![(span, String::new())] } else { Vec::new() };
        let (message, severity) = (message.into(), Severity::Error);
        Self { code, severity, message, labels, reason: None, help: None, patch: None }
    }

    /// The same as a warning.
    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
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
}

impl Report {
    pub(crate) fn push(&mut self, problem: Problem) {
        let error = problem.severity == Severity::Error;
        self.errors += usize::from(error);
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Errors so far, counted beyond the limit too.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Errors first, each in the order of the files.
    pub(crate) fn finish(self, names: &Names) -> Vec<Diagnostic> {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| {
            let place = problem.labels.first().map(|(span, _)| (span.file, span.start));
            (problem.severity, place)
        });
        let mut diagnostics: Vec<Diagnostic> = problems.into_iter().map(|problem| problem.finish(names)).collect();
        diagnostics.dedup();
        diagnostics
    }
}
