//! A diagnostic with its excerpt and caret.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use stack_model::{Diagnostic, Severity};

/// Renders one diagnostic; colours only where a person looks.
pub(super) fn render(diagnostic: &Diagnostic, texts: &BTreeMap<String, String>) -> String {
    let colored = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let renderer = if colored { Renderer::styled() } else { Renderer::plain() };
    render_with(&renderer, diagnostic, texts)
}

fn render_with(renderer: &Renderer, diagnostic: &Diagnostic, texts: &BTreeMap<String, String>) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str()));
    for (number, label) in diagnostic.labels.iter().enumerate() {
        let Some(text) = texts.get(&label.origin.file) else { continue };
        let kind = if number == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let range = clamp(&label.bytes, text);
        let mut annotation = kind.span(range);
        if !label.text.is_empty() {
            annotation = annotation.label(label.text.as_str());
        }
        group = group.element(Snippet::source(text.as_str()).path(label.origin.file.as_str()).annotation(annotation));
    }
    if let Some(label) = diagnostic.labels.first()
        && !texts.contains_key(&label.origin.file)
    {
        group = group.element(Level::NOTE.message(format!("at {}", label.origin)));
    }
    if let Some(reason) = &diagnostic.reason {
        group = group.element(Level::NOTE.message(reason.as_str()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let mut groups = vec![group];
    if let Some(patch) = &diagnostic.patch
        && let Some(text) = texts.get(&patch.label.origin.file)
    {
        let range = clamp(&patch.label.bytes, text);
        let snippet = Snippet::source(text.as_str())
            .path(patch.label.origin.file.as_str())
            .patch(Patch::new(range, patch.replacement.as_str()));
        groups.push(Group::with_title(Level::HELP.secondary_title(patch_title(patch))).element(snippet));
    }
    renderer.render(&groups)
}

fn patch_title(patch: &stack_model::Patch) -> String {
    if patch.label.text.is_empty() { "try this".to_owned() } else { patch.label.text.clone() }
}

/// The text may be newer than the diagnostic; a caret in the wrong place is better than no message.
fn clamp(range: &std::ops::Range<usize>, text: &str) -> std::ops::Range<usize> {
    let boundary = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(range.start);
    start..boundary(range.end).max(start)
}

#[cfg(test)]
mod tests {
    use stack_model::{Label, Origin};

    use super::*;

    #[test]
    fn the_caret_is_under_the_token() {
        let text = "services:\n  web:\n    imagee: a\n".to_owned();
        let diagnostic = Diagnostic {
            code: "unknown-key".to_owned(),
            severity: Severity::Error,
            message: "unknown key `imagee`".to_owned(),
            labels: vec![Label {
                origin: Origin { file: "compose.yaml".to_owned(), line: 3, column: 5 },
                bytes: 21..27,
                text: "not a key of a service".to_owned(),
            }],
            reason: None,
            help: Some("did you mean `image`?".to_owned()),
            patch: None,
        };
        let texts = BTreeMap::from([("compose.yaml".to_owned(), text)]);
        let shown = render_with(&Renderer::plain(), &diagnostic, &texts);
        assert!(shown.contains("compose.yaml:3:5"), "{shown}");
        assert!(shown.contains("    ^^^^^^ not a key of a service"), "{shown}");
    }
}
