//! What to say when a text is not YAML: the mistake that was made, not the state the parser was in.

use granit_parser::{ErrorKind, ScanError};

use crate::decode::shorten;
use crate::report::{Code, Problem};
use crate::text::{FileId, span_of};

/// The problem behind an error of the parser.
pub(super) fn syntax_problem(error: &ScanError, text: &str, file: FileId) -> Problem {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    if let Some(marker) = conflict_marker(text, at) {
        let span = span_of(text, file, marker..marker + MARKERS[0].len());
        let problem = Problem::error(Code::YamlSyntax, span, "a merge conflict is left in the file");
        return problem.help("keep one of the two versions, and remove the lines of `<`, `=` and `>`");
    }
    if let Some(tab) = indenting_tab(error, text, at) {
        let span = span_of(text, file, tab..tab + 1);
        let problem = Problem::error(Code::YamlSyntax, span, "a tab is used for indentation");
        return problem.help("YAML indents with spaces only: replace the tab");
    }
    if let Some(colon) = colon_without_space(error, text, at) {
        let span = span_of(text, file, colon..colon + 1);
        let problem = Problem::error(Code::YamlSyntax, span, "a space is missing after this `:`");
        return problem.reason("without it the whole word is a value, not a key").patch(span, ": ");
    }
    if let Some(line) = deeper_than_value(error, text, at) {
        let span = span_of(text, file, line.clone());
        let problem = Problem::error(Code::YamlSyntax, span, "this line is indented deeper than the key above it");
        return problem
            .reason("the key above has a value already, so nothing can stand below it")
            .help("give both keys the same indentation");
    }
    if let Some(bracket) = open_bracket(error, text, at) {
        let span = span_of(text, file, bracket..bracket + 1);
        let problem = Problem::error(Code::YamlSyntax, span, "this bracket is never closed");
        let stopped = span_of(text, file, at..at);
        let problem = problem.also(stopped, "what follows cannot stand inside it");
        return problem.help(if text[bracket..].starts_with('[') { "close it with `]`" } else { "close it with `}`" });
    }
    if let Some(word) = word_without_colon(error, text, at) {
        let span = span_of(text, file, word.clone());
        let word = &text[word];
        let problem = Problem::error(Code::YamlSyntax, span, format!("there is no `: ` in `{}`", shorten(word)));
        let problem = problem.reason("the lines above it are keys with values, or items of a list");
        return problem.help(match word.split_once('=') {
            Some((key, value)) => format!("write `{key}: {value}` among keys, or `- {word}` among items of a list"),
            None => "write `key: value`, or begin it with `- ` among items of a list".to_owned(),
        });
    }
    let width = text.get(at..).and_then(|rest| rest.chars().next()).filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let span = span_of(text, file, at..at + width);
    let (message, help) = words(error);
    let problem = Problem::error(Code::YamlSyntax, span, message);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn words(error: &ScanError) -> (String, Option<&'static str>) {
    match error.kind() {
        ErrorKind::UnclosedQuotedScalar => {
            ("this quote is never closed".to_owned(), Some("add the closing quote on the same line"))
        }
        ErrorKind::MappingValueNotAllowed => (
            "a second `:` makes this value a mapping in the wrong place".to_owned(),
            Some("put the value in quotes if it contains `: `"),
        ),
        ErrorKind::UnknownAnchor => (
            "this alias refers to an anchor that is not defined above it".to_owned(),
            Some("mark the value with `&name` further up in the document, or quote a text that begins with `*`"),
        ),
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry => (
            "this line does not fit the indentation of the block above it".to_owned(),
            Some("give keys of one mapping the same indentation, and begin each item of a list with `- `"),
        ),
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            let message = format!("the control character U+{:04X} cannot stand here", u32::from(*character));
            (message, Some("remove it, or write it as `\\x…` in double quotes"))
        }
        ErrorKind::UnexpectedCharacter { character } => {
            (format!("a value cannot begin with `{}`", character.escape_default()), Some("put the value in quotes"))
        }
        ErrorKind::ExpectedDocumentStart => (
            "this line begins further left than the first one".to_owned(),
            Some("give all keys of the top level the same indentation, best none"),
        ),
        _ => (error.info(), Some(by_text(&error.info()))),
    }
}

/// What helps with the rarer mistakes, by a word of the parser's message.
fn by_text(message: &str) -> &'static str {
    const HELP: [(&str, &str); 6] = [
        ("escape", "write `\\\\` for a backslash, or use single quotes"),
        ("alias", "put a text that begins with `*` or `&` in quotes"),
        ("bracket", "close it with `]` or `}`"),
        ("flow", "close it with `]` or `}`, and put one comma between two items"),
        ("':' indicator", "close the bracket above, or put a value with `: ` in quotes"),
        ("tag", "put a text that begins with `!` in quotes"),
    ];
    let found = HELP.iter().find(|(word, _)| message.contains(word));
    found.map_or("look at the quotes, brackets and indentation of this line and the one above it", |(_, help)| *help)
}

/// The bracket that is still open where the parser stopped, if that is what stopped it.
fn open_bracket(error: &ScanError, text: &str, at: usize) -> Option<usize> {
    let may_be = error.info().contains("':' indicator") || error.info().contains("flow");
    let mut open = Vec::new();
    let mut quote = None;
    let mut before = '\n';
    for (offset, c) in text.get(..at)?.char_indices() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '#') if before.is_whitespace() => quote = Some('\n'),
            (None, '"' | '\'') if before.is_whitespace() || "[{,:".contains(before) => quote = Some(c),
            (None, '[' | '{') if !open.is_empty() || before.is_whitespace() => open.push(offset),
            (None, ']' | '}') => drop(open.pop()),
            _ => {}
        }
        before = c;
    }
    let line = text[..at].rfind('\n').unwrap_or(0);
    open.pop().filter(|bracket| may_be && *bracket < line)
}

/// The rest of a line where a key was expected, and that is none.
fn word_without_colon(error: &ScanError, text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let line = text.get(at..)?.lines().next()?.trim_end();
    let is_word = matches!(error.kind(), ErrorKind::SimpleKeyExpected) && !line.is_empty() && !line.contains(':');
    is_word.then(|| at..at + line.len())
}

/// What version control leaves at the beginning of lines.
const MARKERS: [&str; 3] = ["<<<<<<<", "=======", ">>>>>>>"];

/// The first of them, if the parser stopped behind it.
fn conflict_marker(text: &str, at: usize) -> Option<usize> {
    let mut offset = 0;
    text.split_inclusive('\n').find_map(|line| {
        let start = offset;
        offset += line.len();
        (MARKERS.iter().any(|marker| line.starts_with(marker)) && start <= at + line.len()).then_some(start)
    })
}

/// `key: value` below `key: value`, and further in: the stretch of its blanks.
fn deeper_than_value(error: &ScanError, text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    if !matches!(error.kind(), ErrorKind::MappingValueNotAllowed) {
        return None;
    }
    let start = text.get(..at)?.rfind('\n')? + 1;
    let before = text[..start].trim_end().rsplit('\n').next()?;
    let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let here = blanks(&text[start..]);
    let has_value = before.split_once(": ").is_some_and(|(_, value)| !value.trim().is_empty());
    (has_value && here > blanks(before)).then_some(start..start + here)
}

/// The line at an offset and the one after it, with the offset of the first.
fn lines_from(text: &str, at: usize) -> impl Iterator<Item = (usize, &str)> {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let mut offset = start;
    text.get(start..).unwrap_or_default().split_inclusive('\n').take(2).map(move |line| {
        let start = offset;
        offset += line.len();
        (start, line)
    })
}

/// The parser stops at the value before the tab or at the tab itself.
fn indenting_tab(error: &ScanError, text: &str, at: usize) -> Option<usize> {
    let about_tabs = matches!(
        error.kind(),
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation | ErrorKind::TabInPlainScalar
    );
    let tab = |(start, line): (usize, &str)| {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[..indentation].find('\t').map(|tab| start + tab)
    };
    lines_from(text, at).find_map(tab).filter(|_| about_tabs)
}

/// `key:value` where a key must stand: on the line of the error or the one before it.
fn colon_without_space(error: &ScanError, text: &str, at: usize) -> Option<usize> {
    let may_be = matches!(error.kind(), ErrorKind::MappingValueNotAllowed | ErrorKind::SimpleKeyExpected);
    let line = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let before = text[..line].trim_end_matches('\n').len();
    let colon = |(start, line): (usize, &str)| {
        let word = line.trim_start_matches([' ', '-']);
        let key = word.len() - word.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        let glued = key > 0 && word[key..].starts_with(':') && !word[key + 1..].starts_with(char::is_whitespace);
        // An address such as `http://…` is no key.
        let glued = glued && word.len() > key + 1 && !word[key + 1..].starts_with("//");
        glued.then(|| start + line.len() - word.len() + key)
    };
    lines_from(text, before).find_map(colon).filter(|_| may_be)
}

#[cfg(test)]
mod tests {
    use crate::testing::project_errors;

    #[test]
    fn the_mistake_is_named_where_it_was_made() {
        for (text, expected) in [
            ("services:\n\ta:\n", "2:1 a tab is used for indentation; YAML indents with spaces only: replace the tab"),
            (
                "services:\n  a:\n    image: x\n\tports: [1]\n",
                "4:1 a tab is used for indentation; YAML indents with spaces only: replace the tab",
            ),
            ("services:\n  a:\n    image:x\n    command: [x]\n", "3:10 a space is missing after this `:`"),
            ("services:\n  a:\n    image: x\n    command:[x]\n", "4:12 a space is missing after this `:`"),
            ("a: 'x\nb: 1\n", "1:4 this quote is never closed; add the closing quote on the same line"),
            ("a: @x\n", "1:4 a value cannot begin with `@`; put the value in quotes"),
            (
                "a: b: c\n",
                "1:5 a second `:` makes this value a mapping in the wrong place; put the value in quotes if it \
                 contains `: `",
            ),
            (
                "a: *b\n",
                "1:4 this alias refers to an anchor that is not defined above it; mark the value with `&name` further \
                 up in the document, or quote a text that begins with `*`",
            ),
            (
                "services:\n  a:\n    image: x\n   ports: y\n",
                "4:4 this line does not fit the indentation of the block above it; give keys of one mapping the same \
                 indentation, and begin each item of a list with `- `",
            ),
        ] {
            assert_eq!(project_errors(text), [expected], "{text}");
        }
    }

    #[test]
    fn keys_are_text_and_stand_once() {
        assert_eq!(
            project_errors("services:\n  1: {image: i}\n  a: {image: i}\n  a: {image: i}\n"),
            [
                "2:3 the key `1` is not text; put it in quotes",
                "4:3 the key `a` stands here twice; keep one of them, or merge what stands under both",
            ]
        );
    }

    #[test]
    fn merge_keys_fill_what_is_not_written() {
        let text = "x-a: &a {image: one, user: '1'}\nx-b: &b {image: two, working_dir: /b}\nservices:\n  s:\n    <<: \
                    [*a, *b]\n    user: '2'\n  t:\n    !!merge <<: *b\n";
        let desired = crate::testing::Files::new(text).desired();
        let spec = &desired.services["s"].container;
        assert_eq!((spec.image.as_str(), spec.user.as_deref()), ("one", Some("2")));
        assert_eq!(spec.working_dir.as_deref(), Some("/b"));
        assert_eq!(desired.services["t"].container.image.as_str(), "two");
        assert_eq!(project_errors("services: {a: {<<: 5, image: i}}\n").len(), 1);
    }
}
