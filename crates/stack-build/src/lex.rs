//! From the text of a Dockerfile to instructions whose words are not looked at yet.
//!
//! Written for this program because the parsers at hand stop short of what Dockerfiles use: `parse-dockerfile` 0.1.9
//! knows a here-document of RUN only as its first word and only one of them (`RUN cat <<EOF >file` is an error), splits
//! quoted values of flags at spaces, and keeps the continuation lines of shell commands. The rules are those of the
//! Dockerfile reference: lines are joined first, comment lines in between are dropped, then flags are taken off.

use std::ops::Range;

use crate::error::Wrong;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// In capitals.
    pub(crate) keyword: String,
    pub(crate) keyword_bytes: Range<usize>,
    pub(crate) flags: Vec<Flag>,
    /// What follows the flags, lines joined.
    pub(crate) rest: String,
    pub(crate) places: Places,
    pub(crate) documents: Vec<Document>,
    /// All of it in the text.
    pub(crate) bytes: Range<usize>,
}

/// `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) bytes: Range<usize>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) name: String,
    /// Variables in it are expanded: its name is not quoted.
    pub(crate) expand: bool,
    /// Leading tabs are cut off (`<<-`).
    pub(crate) chomp: bool,
    /// As written, with the last line break.
    pub(crate) content: String,
}

impl Document {
    /// Its content, without the tabs that are to be cut off.
    pub(crate) fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Where pieces of a joined line come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(Vec<(usize, usize)>);

impl Places {
    /// The place in the text of an offset in the joined line.
    pub(crate) fn of(&self, offset: usize) -> usize {
        let piece = self.0.iter().rev().find(|(joined, _)| *joined <= offset);
        piece.map_or(0, |(joined, source)| source + (offset - joined))
    }

    pub(crate) fn range(&self, bytes: Range<usize>) -> Range<usize> {
        let start = self.of(bytes.start);
        let end = if bytes.end > bytes.start { self.of(bytes.end - 1) + 1 } else { start };
        start..end.max(start)
    }

    fn cut(&self, from: usize) -> Self {
        let mut pieces = vec![(0, self.of(from))];
        pieces.extend(
            self.0.iter().filter(|(joined, _)| *joined > from).map(|(joined, source)| (joined - from, *source)),
        );
        Self(pieces)
    }
}

/// The instructions, and the escape character.
#[derive(Debug)]
pub(crate) struct Lexed {
    pub(crate) instructions: Vec<Raw>,
    pub(crate) escape: char,
}

/// Instructions that may have here-documents.
const WITH_DOCUMENTS: [&str; 3] = ["RUN", "COPY", "ADD"];
/// Instructions that may have flags.
const WITH_FLAGS: [&str; 5] = ["FROM", "RUN", "COPY", "ADD", "HEALTHCHECK"];

pub(crate) fn lex(text: &str) -> Result<Lexed, Wrong> {
    let mut lexer = Lexer { text, position: 0, escape: '\\' };
    if text.starts_with('\u{feff}') {
        lexer.position = '\u{feff}'.len_utf8();
    }
    lexer.directives()?;
    let mut instructions = Vec::new();
    while let Some(raw) = lexer.instruction()? {
        instructions.push(raw);
    }
    Ok(Lexed { instructions, escape: lexer.escape })
}

/// The instruction in a trigger of ONBUILD, which stands in no file.
pub(crate) fn lex_trigger(text: &str) -> Result<Option<Raw>, Wrong> {
    Lexer { text, position: 0, escape: '\\' }.instruction()
}

struct Lexer<'t> {
    text: &'t str,
    position: usize,
    escape: char,
}

impl<'t> Lexer<'t> {
    /// The next line without its end, and where it begins.
    fn line(&mut self) -> Option<(usize, &'t str)> {
        if self.position >= self.text.len() {
            return None;
        }
        let start = self.position;
        let rest = &self.text[start..];
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        self.position = start + length;
        let line = rest[..length].trim_end_matches('\n');
        Some((start, line.strip_suffix('\r').unwrap_or(line)))
    }

    /// `# name=value` lines at the very top.
    fn directives(&mut self) -> Result<(), Wrong> {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let before = self.position;
            let Some((start, line)) = self.line() else { return Ok(()) };
            let directive = line.trim_start().strip_prefix('#').and_then(|rest| rest.split_once('='));
            let Some((name, value)) = directive.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
            else {
                self.position = before;
                return Ok(());
            };
            let place = start..start + line.len();
            match name.as_str() {
                "syntax" | "escape" | "check" => {}
                // Anything else is a comment, and ends the directives.
                _ => {
                    self.position = before;
                    return Ok(());
                }
            }
            if seen.contains(&name) {
                return Err(Wrong::new(place, "directive", format!("the directive `{name}` stands here twice")));
            }
            if name == "escape" {
                self.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let message = format!("`{value}` cannot be the escape character");
                        return Err(Wrong::new(place, "directive", message).help("it is \\ or `"));
                    }
                };
            }
            seen.push(name);
        }
    }

    fn instruction(&mut self) -> Result<Option<Raw>, Wrong> {
        let Some((joined, places, bytes)) = self.logical_line() else { return Ok(None) };
        let length = joined.find(char::is_whitespace).unwrap_or(joined.len());
        let keyword = joined[..length].to_ascii_uppercase();
        let keyword_bytes = places.range(0..length);
        let mut rest_start = length + joined[length..].len() - joined[length..].trim_start().len();
        let mut flags = Vec::new();
        // Flags of an instruction in ONBUILD are taken off when it is parsed itself.
        if WITH_FLAGS.contains(&keyword.as_str()) {
            rest_start = self.flags(&joined, rest_start, &places, &mut flags);
        }
        let rest = joined[rest_start..].trim_end().to_owned();
        let places = places.cut(rest_start);
        let inner = if keyword == "ONBUILD" {
            rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase()
        } else {
            keyword.clone()
        };
        let mut documents = Vec::new();
        let is_list = rest.starts_with('[') && serde_json::from_str::<Vec<String>>(&rest).is_ok();
        if WITH_DOCUMENTS.contains(&inner.as_str()) && !is_list {
            documents = self.documents(&rest, &places)?;
        }
        let bytes = if documents.is_empty() { bytes } else { bytes.start..self.position };
        Ok(Some(Raw { keyword, keyword_bytes, flags, rest, places, documents, bytes }))
    }

    /// Lines up to one that does not end in the escape character, joined.
    fn logical_line(&mut self) -> Option<(String, Places, Range<usize>)> {
        let (mut start, mut line) = self.line()?;
        while line.trim().is_empty() || line.trim_start().starts_with('#') {
            (start, line) = self.line()?;
        }
        let indent = line.len() - line.trim_start().len();
        let begin = start + indent;
        let (mut joined, mut places) = (String::new(), Vec::new());
        let mut piece = (begin, line.trim_start());
        let mut end;
        loop {
            places.push((joined.len(), piece.0));
            end = piece.0 + piece.1.len();
            let Some(continued) = piece.1.trim_end_matches([' ', '\t']).strip_suffix(self.escape) else {
                joined.push_str(piece.1);
                break;
            };
            joined.push_str(continued);
            // Empty lines and comments inside an instruction are no end of it.
            let next = loop {
                match self.line() {
                    Some((_, line)) if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
                    other => break other,
                }
            };
            match next {
                Some(next) => piece = next,
                None => break,
            }
        }
        Some((joined, Places(places), begin..end))
    }

    /// Takes flags off; returns where the rest begins.
    fn flags(&self, joined: &str, start: usize, places: &Places, flags: &mut Vec<Flag>) -> usize {
        let mut position = start;
        loop {
            let rest = &joined[position..];
            position += rest.len() - rest.trim_start().len();
            if !joined[position..].starts_with("--") {
                return position;
            }
            let (word, length) = self.flag_word(&joined[position..]);
            let bytes = places.range(position..position + length);
            position += length;
            if word == "--" {
                return position;
            }
            let (name, value) = match word[2..].split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word[2..].to_owned(), None),
            };
            flags.push(Flag { name, value, bytes });
        }
    }

    /// A word in which quotes keep spaces; they are taken off.
    fn flag_word(&self, text: &str) -> (String, usize) {
        let (mut word, mut quote) = (String::new(), None);
        let mut chars = text.char_indices();
        while let Some((position, c)) = chars.next() {
            match (quote, c) {
                (None, c) if c.is_whitespace() => return (word, position),
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (_, c) if c == self.escape => word.extend(chars.next().map(|(_, c)| c)),
                (_, c) => word.push(c),
            }
        }
        (word, text.len())
    }

    fn documents(&mut self, rest: &str, places: &Places) -> Result<Vec<Document>, Wrong> {
        let mut documents = Vec::new();
        for (start, word) in shell_words(rest, self.escape) {
            let Some((name, chomp)) = document_of(&word) else { continue };
            let expand = !name.contains(['"', '\'', '\\']);
            let name: String = name.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
            let mut content = String::new();
            loop {
                let Some((_, line)) = self.line() else {
                    let place = places.range(start..start + word.len());
                    let message = format!("the here-document is not closed: no line `{name}` follows");
                    return Err(Wrong::new(place, "here-document", message));
                };
                let end = if chomp { line.trim_start_matches('\t') } else { line };
                if end == name {
                    break;
                }
                content.push_str(line);
                content.push('\n');
            }
            documents.push(Document { name, expand, chomp, content });
        }
        Ok(documents)
    }
}

/// `<<NAME`, `3<<-"NAME"`: the name as written, and whether tabs are cut off.
pub(crate) fn document_of(word: &str) -> Option<(&str, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    (!rest.is_empty() && !rest.contains('<')).then_some((rest, chomp))
}

/// Splits at spaces outside quotes; quotes and escapes stay. With the place of each.
pub(crate) fn shell_words(text: &str, escape: char) -> Vec<(usize, String)> {
    let (mut words, mut word, mut start, mut quote) = (Vec::new(), String::new(), 0, None);
    let mut chars = text.char_indices();
    while let Some((position, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push((start, std::mem::take(&mut word)));
            }
            continue;
        }
        if word.is_empty() {
            start = position;
        }
        word.push(c);
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            // In single quotes nothing is escaped.
            None | Some('"') if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            None | Some(_) => {}
        }
    }
    if !word.is_empty() {
        words.push((start, word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Raw {
        let lexed = lex(text).unwrap();
        assert_eq!(lexed.instructions.len(), 1, "{lexed:?}");
        lexed.instructions.into_iter().next().unwrap()
    }

    #[test]
    fn lines_are_joined_and_comments_in_between_dropped() {
        let raw = one("# a comment\n\n  run echo a \\\n # no\n\n   b \\ \t\n c  \n");
        assert_eq!((raw.keyword.as_str(), raw.rest.as_str()), ("RUN", "echo a    b  c"));
        let text = "run echo a \\\n  b";
        let raw = one(text);
        let b = raw.rest.find('b').unwrap();
        assert_eq!(&text[raw.places.range(b..b + 1)], "b");
        assert_eq!(one("RUN a \\").rest, "a");
        assert_eq!(one("FROM a\r\n").rest, "a");
    }

    #[test]
    fn directives_set_the_escape_character_only_at_the_top() {
        let lexed = lex("# syntax=docker/dockerfile:1\n# escape=`\nFROM a `\n AS b\n").unwrap();
        assert_eq!((lexed.escape, lexed.instructions[0].rest.as_str()), ('`', "a  AS b"));
        assert_eq!(lex("# hello\n# escape=`\nFROM a\n").unwrap().escape, '\\');
        assert!(lex("# escape=x\nFROM a\n").is_err());
        assert!(lex("# escape=`\n# escape=`\nFROM a\n").is_err());
    }

    #[test]
    fn flags_keep_spaces_in_quotes() {
        let raw = one("RUN --mount=type=bind,source=\"a b\",target=/c --network=none echo --x");
        let flags: Vec<_> = raw.flags.iter().map(|flag| (flag.name.as_str(), flag.value.as_deref())).collect();
        assert_eq!(flags, [("mount", Some("type=bind,source=a b,target=/c")), ("network", Some("none"))]);
        assert_eq!(raw.rest, "echo --x");
        assert_eq!(one("COPY --link a b").flags[0].value, None);
    }

    #[test]
    fn here_documents_stand_anywhere_in_the_line() {
        let lexed = lex("RUN cat <<EOF > /x && cat 3<<-'E 2' <&3\nhi $A\nEOF\n\tthere\n\tE 2\nRUN true\n").unwrap();
        let [raw, next] = lexed.instructions.as_slice() else { panic!("{lexed:?}") };
        let [first, second] = raw.documents.as_slice() else { panic!("{raw:?}") };
        assert_eq!((first.name.as_str(), first.content.as_str(), first.expand), ("EOF", "hi $A\n", true));
        assert_eq!((second.name.as_str(), second.text().as_str(), second.expand), ("E 2", "there\n", false));
        assert_eq!(next.rest, "true");
        for none in ["RUN echo $((1<<2))", "RUN echo \"<<EOF\"", "RUN a <<<b", "ENV A=<<EOF", "RUN [\"a\", \"<<EOF\"]"]
        {
            assert!(one(none).documents.is_empty(), "{none}");
        }
        let wrong = lex("RUN <<EOF\nx\n").unwrap_err();
        assert_eq!(wrong.bytes, 4..9);
        assert_eq!(one("ONBUILD RUN <<EOF\nx\nEOF\n").documents.len(), 1);
    }
}
