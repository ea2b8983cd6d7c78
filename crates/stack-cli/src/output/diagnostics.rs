//! Mistakes in the input, with the line they stand in and a caret.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};
use stack_model::{Diagnostic, Label, Severity};

/// More than this are counted, not shown: the first ones explain the rest more often than not.
const SHOWN_MAX: usize = 12;

/// All diagnostics as one text. `texts` holds the files by the names the diagnostics use.
pub(crate) fn render(diagnostics: &[Diagnostic], texts: &BTreeMap<String, String>, width: usize) -> String {
    let renderer = Renderer::styled().term_width(width.max(40));
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN_MAX) {
        let groups = groups(diagnostic, texts);
        text.push_str(&renderer.render(&groups));
        text.push_str("\n\n");
    }
    if diagnostics.len() > SHOWN_MAX {
        text.push_str(&["… and ", &(diagnostics.len() - SHOWN_MAX).to_string(), " more"].concat());
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn groups<'a>(diagnostic: &'a Diagnostic, texts: &'a BTreeMap<String, String>) -> Vec<Group<'a>> {
    let Diagnostic { code, severity, message, labels, reason, help, patch } = diagnostic;
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(message).id(code.as_str()));
    // One snippet a file: the file of the primary label comes first.
    for (number, file) in files(labels).into_iter().enumerate() {
        group = match (texts.get(file), labels.first()) {
            (Some(text), _) => group.element(snippet(text, file, labels, number == 0)),
            (None, Some(first)) if file == first.origin.file => group.element(origin(first)),
            (None, _) => group,
        };
    }
    if let Some(reason) = reason {
        group = group.element(Level::NOTE.message(reason));
    }
    let mut groups = Vec::new();
    let patched = patch.as_ref().and_then(|patch| Some((patch, texts.get(&patch.label.origin.file)?)));
    match (patched, help) {
        (Some((patch, text)), help) => {
            groups.push(group);
            let help = help.as_deref().unwrap_or("write this instead");
            let stretch = lines_around([&patch.label], text);
            let replacement = Patch::new(inside(&patch.label.bytes, text, &stretch), patch.replacement.as_str());
            let snippet = source(text, stretch).path(patch.label.origin.file.as_str()).patch(replacement);
            groups.push(Level::HELP.secondary_title(help).element(snippet));
        }
        (None, Some(help)) => groups.push(group.element(Level::HELP.message(help))),
        (None, None) => groups.push(group),
    }
    groups
}

/// The files of the labels, each once, in order.
fn files(labels: &[Label]) -> Vec<&str> {
    let mut files: Vec<&str> = Vec::new();
    for label in labels {
        if !files.contains(&label.origin.file.as_str()) {
            files.push(&label.origin.file);
        }
    }
    files
}

fn origin(label: &Label) -> Origin<'_> {
    let origin = Origin::path(label.origin.file.as_str());
    match label.origin.line {
        0 => origin,
        line => origin.line(line as usize).char_column(label.origin.column as usize),
    }
}

fn snippet<'a>(
    text: &'a str,
    file: &'a str,
    labels: &'a [Label],
    has_primary: bool,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let stretch = lines_around(labels.iter().filter(|label| label.origin.file == file), text);
    let mut snippet = source(text, stretch.clone()).path(file);
    for (number, label) in labels.iter().enumerate().filter(|(_, label)| label.origin.file == file) {
        let kind = if has_primary && number == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let mut annotation = kind.span(inside(&label.bytes, text, &stretch));
        if !label.text.is_empty() {
            annotation = annotation.label(label.text.as_str());
        }
        snippet = snippet.annotation(annotation);
    }
    snippet
}

/// The lines from the first label to the last: whoever renders them keeps notes about every line, and files may be large.
fn lines_around<'a>(labels: impl IntoIterator<Item = &'a Label>, text: &str) -> Range<usize> {
    let ranges: Vec<Range<usize>> = labels.into_iter().map(|label| within(&label.bytes, text)).collect();
    let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let last = ranges.iter().map(|range| range.end).max().unwrap_or(text.len());
    let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    start..text[last..].find('\n').map_or(text.len(), |newline| last + newline + 1)
}

/// A stretch of a text with the numbers that its lines have there.
fn source<T: Clone>(text: &str, stretch: Range<usize>) -> Snippet<'_, T> {
    let before = text[..stretch.start].bytes().filter(|byte| *byte == b'\n').count();
    Snippet::source(&text[stretch]).line_start(before + 1)
}

/// A range of the text as one of the stretch.
fn inside(bytes: &Range<usize>, text: &str, stretch: &Range<usize>) -> Range<usize> {
    let range = within(bytes, text);
    range.start - stretch.start..range.end - stretch.start
}

/// The range as far as it lies in the text, on character boundaries: the file may have changed since it was read.
fn within(bytes: &Range<usize>, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(bytes.start.min(text.len()));
    let end = text.floor_char_boundary(bytes.end.min(text.len()));
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use stack_model::Patch as Replacement;

    use super::*;

    const FILE: &str = "services:\n  web:\n    image: a\n    volums: []\n";

    fn diagnostic() -> Diagnostic {
        let place = stack_model::Origin { file: "compose.yaml".to_owned(), line: 4, column: 5 };
        let label = Label { origin: place, bytes: 34..40, text: "not a key of a service".to_owned() };
        Diagnostic {
            code: "unknown-key".to_owned(),
            severity: Severity::Error,
            message: "unknown key `volums`".to_owned(),
            labels: vec![label.clone()],
            reason: Some("nothing is ignored silently".to_owned()),
            help: Some("did you mean `volumes`".to_owned()),
            patch: Some(Replacement { label, replacement: "volumes".to_owned() }),
        }
    }

    fn rendered(diagnostics: &[Diagnostic], texts: &BTreeMap<String, String>) -> String {
        anstream::adapter::strip_str(&render(diagnostics, texts, 100)).to_string()
    }

    #[test]
    fn a_caret_a_reason_and_a_patch() {
        let texts = BTreeMap::from([("compose.yaml".to_owned(), FILE.to_owned())]);
        insta::assert_snapshot!(rendered(&[diagnostic()], &texts), @r"
        error[unknown-key]: unknown key `volums`
         --> compose.yaml:4:5
          |
        4 |     volums: []
          |     ^^^^^^ not a key of a service
          |
          = note: nothing is ignored silently
        help: did you mean `volumes`
          |
        4 |     volumes: []
          |          +
        ");
    }

    #[test]
    fn a_place_without_its_text_is_still_named() {
        let mut diagnostic = diagnostic();
        diagnostic.patch = None;
        insta::assert_snapshot!(rendered(&[diagnostic], &BTreeMap::new()), @r"
        error[unknown-key]: unknown key `volums`
        --> compose.yaml:4:5
         = note: nothing is ignored silently
         = help: did you mean `volumes`
        ");
    }

    #[test]
    fn a_file_that_shrank_is_no_panic() {
        let texts = BTreeMap::from([("compose.yaml".to_owned(), "ä".to_owned())]);
        assert!(rendered(&[diagnostic()], &texts).contains("volums"));
    }
}
