//! `.env` and `env_file`: names and values, one or more lines each.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::interpolate::{Failure, Unset, expand};

/// One name of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// `None`: the line is a bare name and the name has no value outside either.
    pub(crate) value: Option<String>,
    /// The name in the text, in bytes.
    pub(crate) at: Range<usize>,
}

/// Variables of one file. Real ones have some hundreds; each takes memory, and its place has to be found.
pub(crate) const MAX_VARIABLES: usize = 10_000;

/// Why a line cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// This character cannot stand in a name.
    Character(char),
    /// The name has a blank in it.
    Blank,
    /// A quote is never closed.
    Unterminated,
    /// An expression in the value has no value.
    Template(Failure),
    /// The file has more than [`MAX_VARIABLES`].
    TooMany,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) variables: Vec<Variable>,
    /// Mistakes with their places; reading goes on with the next line.
    pub(crate) mistakes: Vec<(Mistake, Range<usize>)>,
    /// Variables without a value that were asked for.
    pub(crate) unset: Vec<Unset>,
}

impl Parsed {
    /// Says so when nothing more is read.
    fn is_full(&mut self, place: Range<usize>) -> bool {
        let full = self.variables.len() + self.mistakes.len() >= MAX_VARIABLES;
        if full {
            self.mistakes.push((Mistake::TooMany, place));
        }
        full
    }
}

/// A way to look variables up.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the grammar of compose-go: quotes, escapes, inline comments, `export`, interpolation. What `given` knows wins
/// over what stands further up in the file, and that over what `earlier` files have said.
pub(crate) fn parse(text: &str, given: Lookup<'_>, earlier: Lookup<'_>) -> Parsed {
    let mut reader = Reader { text, at: 0, given, earlier, seen: BTreeMap::new(), parsed: Parsed::default() };
    reader.at = text.len() - without_mark(text).len();
    while reader.at < text.len() {
        if reader.parsed.is_full(reader.at..reader.at) {
            break;
        }
        if let Err((mistake, place)) = reader.line() {
            reader.parsed.mistakes.push((mistake, place));
            reader.skip_line();
        }
    }
    reader.parsed
}

/// Editors of Windows put a byte order mark in front.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// `format: raw`: everything after the first `=` as it is.
pub(crate) fn parse_raw(text: &str, given: Lookup<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut at = text.len() - without_mark(text).len();
    for line in without_mark(text).split_inclusive('\n') {
        let start = at;
        at += line.len();
        let content = line.trim_end_matches(['\n', '\r']);
        let trimmed = content.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let start = start + content.len() - trimmed.len();
        if parsed.is_full(start..start) {
            break;
        }
        let (name, value) = match trimmed.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (trimmed, given(trimmed)),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            parsed.mistakes.push((Mistake::Blank, start..start + name.len()));
        } else {
            parsed.variables.push(Variable { name: name.to_owned(), value, at: start..start + name.len() });
        }
    }
    parsed
}

type Step<T> = Result<T, (Mistake, Range<usize>)>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    given: Lookup<'a>,
    earlier: Lookup<'a>,
    seen: BTreeMap<String, String>,
    parsed: Parsed,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_while(&mut self, test: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(test).len();
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').map_or(self.rest().len(), |newline| newline + 1);
    }

    fn line(&mut self) -> Step<()> {
        self.skip_while(char::is_whitespace);
        if self.peek().is_none_or(|c| c == '#') {
            self.skip_line();
            return Ok(());
        }
        if let Some(rest) = self.rest().strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
            self.at = self.text.len() - rest.trim_start_matches([' ', '\t']).len();
        }
        let at = self.name()?;
        let name = self.text[at.clone()].to_owned();
        self.skip_while(is_blank);
        let value = match self.peek() {
            Some('=' | ':') => {
                self.at += 1;
                Some(self.value()?)
            }
            None | Some('\n' | '\r') => {
                self.skip_line();
                (self.given)(&name)
            }
            Some('#') => return Err((Mistake::Character('#'), self.at..self.at + 1)),
            Some(_) => return Err((Mistake::Blank, at.start..self.at + 1)),
        };
        if let Some(value) = &value {
            self.seen.insert(name.clone(), value.clone());
        }
        self.parsed.variables.push(Variable { name, value, at });
        Ok(())
    }

    fn name(&mut self) -> Step<Range<usize>> {
        let start = self.at;
        self.skip_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'));
        match self.peek() {
            Some(c) if self.at == start || !(c.is_whitespace() || matches!(c, '=' | ':')) => {
                Err((Mistake::Character(c), self.at..self.at + c.len_utf8()))
            }
            _ => Ok(start..self.at),
        }
    }

    fn value(&mut self) -> Step<String> {
        self.skip_while(is_blank);
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => {
                let start = self.at;
                let line = self.rest().split('\n').next().unwrap_or_default();
                let end = start + line.len();
                let value = without_comment(line).trim_end();
                let place = start..start + value.len();
                let value = value.to_owned();
                self.at = (end + 1).min(self.text.len());
                self.expand(&value, place)
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Step<String> {
        let open = self.at;
        let mut escaped = false;
        let inner = &self.text[open + 1..];
        let close = inner.char_indices().find(|(_, c)| {
            let closes = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((length, _)) = close else {
            let line = inner.find('\n').unwrap_or(inner.len());
            return Err((Mistake::Unterminated, open..open + 1 + line));
        };
        let (inner, place) = (&inner[..length], open..open + length + 2);
        // What follows on the line is a comment or the next name.
        self.at = place.end;
        if quote == '\'' { Ok(inner.replace("\\'", "'")) } else { self.expand(&unescape(inner), place) }
    }

    fn expand(&mut self, value: &str, place: Range<usize>) -> Step<String> {
        let seen = |name: &str| self.seen.get(name).cloned();
        let lookup = |name: &str| (self.given)(name).or_else(|| seen(name)).or_else(|| (self.earlier)(name));
        let expanded = expand(value, &lookup).map_err(|failure| (Mistake::Template(failure), place.clone()))?;
        let unset = expanded.unset.into_iter().map(|unset| Unset { source: place.clone(), ..unset });
        self.parsed.unset.extend(unset);
        Ok(expanded.text)
    }
}

fn is_blank(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

/// ` #` begins a comment behind a value. A `#` inside a word does not, nor one that the value begins with.
fn without_comment(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line)
}

/// Digits of a character behind `\\0`.
const OCTAL_DIGITS: usize = 3;

/// The character whose number `text` begins with.
fn octal(text: &str) -> Option<char> {
    let digits = text.get(..OCTAL_DIGITS).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    u8::from_str_radix(digits, 8).ok().map(char::from)
}

/// The escapes of double quotes. `\$` becomes `$$`, which interpolation turns into a plain `$`.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('a') => result.push('\u{7}'),
            Some('b') => result.push('\u{8}'),
            Some('c') => result.push_str("\\c"),
            Some('f') => result.push('\u{c}'),
            Some('v') => result.push('\u{b}'),
            Some('$') => result.push_str("$$"),
            Some('0') => match octal(chars.as_str()) {
                Some(c) => {
                    result.push(c);
                    chars = chars.as_str()[OCTAL_DIGITS..].chars();
                }
                None => result.push('\\'),
            },
            Some(other @ ('\\' | '"')) => result.push(other),
            Some(other) => {
                result.push('\\');
                result.push(other);
            }
            None => result.push('\\'),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "OUTSIDE").then(|| "out".to_owned())
    }

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        let parsed = parse(text, &lookup, &|_| None);
        assert_eq!(parsed.mistakes, [], "{text}");
        parsed.variables.into_iter().map(|variable| (variable.name, variable.value)).collect()
    }

    fn one(text: &str) -> String {
        pairs(text).pop().and_then(|(_, value)| value).unwrap()
    }

    #[test]
    fn every_form_of_a_line_is_read() {
        for (line, expected) in [
            ("A=b", "b"),
            ("export A = b c  # comment", "b c"),
            ("A: yaml", "yaml"),
            ("A=a#b", "a#b"),
            ("A=#b", "#b"),
            ("A= # b", "# b"),
            ("A=x\t# b", "x\t# b"),
            ("A=\"x\" B='two'# c", "two"),
            ("A=\"\\0\\07\"", "\\\\7"),
            ("A='x\r\ny'\r\n", "x\r\ny"),
            ("A=", ""),
            ("A='$X \\' \"'", "$X ' \""),
            ("A=\"a\\nb\\t\\\"\" # c", "a\nb\t\""),
            ("A=\"$OUTSIDE \\$OUTSIDE $$OUTSIDE\"", "out $OUTSIDE $OUTSIDE"),
            ("A=${NO:-x} y", "x y"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=\"\\0101\"", "A"),
            ("\u{feff}A=bom\r\n", "bom"),
            ("A.b-c[0]=x", "x"),
            ("A={\"json\": 1}", "{\"json\": 1}"),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
    }

    #[test]
    fn earlier_names_and_outer_ones_are_seen_and_outer_ones_win() {
        let text = "A=1\nB=$A$OUTSIDE\nOUTSIDE=inner\nC=$OUTSIDE\nOUTSIDE\nMISSING\n";
        let values: Vec<_> = pairs(text).into_iter().map(|(_, value)| value).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(values, [some("1"), some("1out"), some("inner"), some("out"), some("out"), None]);
    }

    #[test]
    fn mistakes_have_places_and_reading_goes_on() {
        let parsed = parse("A B=1\nC&D=2\nE=\"open\nF=3\nG=ok", &lookup, &|_| None);
        let places: Vec<_> = parsed.mistakes.iter().map(|(_, place)| place.clone()).collect();
        assert_eq!(places, [0..3, 7..8, 14..19]);
        let names: Vec<_> = parsed.variables.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["F", "G"]);
    }

    #[test]
    fn what_stands_in_the_file_wins_over_earlier_files() {
        let parsed = parse("A=here\nB=$A-$X\n", &lookup, &|name| Some(format!("earlier {name}")));
        assert_eq!(parsed.variables[1].value.as_deref(), Some("here-earlier X"));
    }

    #[test]
    fn raw_files_are_taken_as_they_are() {
        let parsed = parse_raw("\u{feff}# c\nA=\"x\" # y\nB=$A\r\nOUTSIDE\n", &lookup);
        let values: Vec<_> = parsed.variables.into_iter().map(|variable| variable.value.unwrap()).collect();
        assert_eq!(values, ["\"x\" # y", "$A", "out"]);
    }

    #[test]
    fn a_file_of_too_many_variables_is_not_read_to_its_end() {
        let text: String = (0..MAX_VARIABLES + 5).map(|index| format!("A{index}=1\n")).collect();
        for parsed in [parse(&text, &|_| None, &|_| None), parse_raw(&text, &|_| None)] {
            assert_eq!(parsed.variables.len(), MAX_VARIABLES);
            let place = text.find("A10000=").unwrap();
            assert_eq!(parsed.mistakes, [(Mistake::TooMany, place..place)]);
        }
    }
}
