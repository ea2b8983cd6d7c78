//! Words of instructions: quotes, escapes, and `${…}` in all its forms.

use crate::glob::Pattern;

/// Where values of variables come from.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Most bytes of an expanded word: variables of variables grow without end. The kernel takes eight times less for one
/// argument (`MAX_ARG_STRLEN`, binfmts.h), but here-documents may hold more.
const EXPANDED_MAX: usize = 1 << 20;

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WordError {
    /// Bytes into the word.
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// A word expanded to one, its quotes taken off.
pub(crate) fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, WordError> {
    let mut words = Expander::new(word, escape, lookup);
    let text = words.until(&|_| false)?;
    Ok(text)
}

/// A line expanded to words: spaces split, in values of variables too, but not in quotes.
pub(crate) fn expand_words(line: &str, escape: char, lookup: Lookup<'_>) -> Result<Vec<String>, WordError> {
    let mut words = Vec::new();
    for (start, word) in crate::lex::shell_words(line, escape) {
        let is_quoted = word.starts_with(['"', '\'']);
        let mut expander = Expander::new(&word, escape, lookup);
        let text = expander.until(&|_| false).map_err(|error| WordError { at: start + error.at, ..error })?;
        if is_quoted {
            words.push(text);
        } else {
            words.extend(text.split_whitespace().map(str::to_owned));
        }
    }
    Ok(words)
}

/// Variables in a here-document: quotes mean nothing there.
pub(crate) fn expand_document(text: &str, lookup: Lookup<'_>) -> Result<String, WordError> {
    let mut expander = Expander::new(text, '\\', lookup);
    expander.is_document = true;
    expander.until(&|_| false)
}

struct Expander<'a> {
    text: &'a str,
    position: usize,
    escape: char,
    lookup: Lookup<'a>,
    is_document: bool,
}

impl<'a> Expander<'a> {
    fn new(text: &'a str, escape: char, lookup: Lookup<'a>) -> Self {
        Self { text, position: 0, escape, lookup, is_document: false }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, WordError> {
        Err(WordError { at, message: message.into() })
    }

    fn check_length(&self, result: &str, at: usize) -> Result<(), WordError> {
        if result.len() > EXPANDED_MAX {
            return self.fail(at, format!("it has more than {EXPANDED_MAX} bytes when its variables are expanded"));
        }
        Ok(())
    }

    /// Expands up to an unquoted character that ends the word.
    fn until(&mut self, ends: &dyn Fn(char) -> bool) -> Result<String, WordError> {
        let mut result = String::new();
        while let Some(c) = self.peek() {
            if ends(c) {
                break;
            }
            self.check_length(&result, 0)?;
            match c {
                '\'' if !self.is_document => result.push_str(&self.single_quotes()?),
                '"' if !self.is_document => result.push_str(&self.double_quotes()?),
                '$' => result.push_str(&self.dollar()?),
                c if c == self.escape => {
                    self.position += c.len_utf8();
                    match self.peek() {
                        // In a here-document only these are escaped.
                        Some(next) if self.is_document && next != '$' && next != self.escape => result.push(c),
                        Some(_) => result.extend(self.next()),
                        None => result.push(c),
                    }
                }
                _ => result.extend(self.next()),
            }
        }
        Ok(result)
    }

    fn single_quotes(&mut self) -> Result<String, WordError> {
        let start = self.position;
        let inside = &self.text[start + 1..];
        let Some(length) = inside.find('\'') else { return self.fail(start, "the single quote is not closed") };
        self.position = start + 1 + length + 1;
        Ok(inside[..length].to_owned())
    }

    fn double_quotes(&mut self) -> Result<String, WordError> {
        let start = self.position;
        self.position += 1;
        let mut result = String::new();
        loop {
            self.check_length(&result, start)?;
            match self.peek() {
                None => return self.fail(start, "the double quote is not closed"),
                Some('"') => {
                    self.position += 1;
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    self.position += c.len_utf8();
                    match self.peek() {
                        Some(next) if matches!(next, '"' | '$') || next == self.escape => result.extend(self.next()),
                        // The escape character of anything else stays.
                        Some(_) | None => result.push(c),
                    }
                }
                Some(_) => result.extend(self.next()),
            }
        }
    }

    fn dollar(&mut self) -> Result<String, WordError> {
        self.position += 1;
        if self.peek() == Some('{') {
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok((self.lookup)(&name).unwrap_or_default())
    }

    /// A name, or one character with a meaning in shells.
    fn name(&mut self) -> String {
        let rest = &self.text[self.position..];
        let is_special = |c: char| c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '-' | '!');
        let length = match rest.chars().next() {
            Some(c) if is_special(c) => 1,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            Some(_) | None => 0,
        };
        self.position += length;
        rest[..length].to_owned()
    }

    fn braces(&mut self) -> Result<String, WordError> {
        let start = self.position - 1;
        self.position += 1;
        let name = self.name();
        if name.is_empty() {
            return self.fail(start, "a name is missing after `${`");
        }
        let value = (self.lookup)(&name);
        match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => {
                    self.alternative(start, operator, &name, value.filter(|value| !value.is_empty()))
                }
                _ => self.fail(start, format!("`${{{name}:` goes on with -, + or ?")),
            },
            Some(operator @ ('-' | '+' | '?')) => self.alternative(start, operator, &name, value),
            Some(operator @ ('#' | '%')) => self.cut(start, operator, &value.unwrap_or_default()),
            Some('/') => self.replace(start, &value.unwrap_or_default()),
            Some(other) => self.fail(start, format!("`${{{name}{other}` is not known")),
            None => self.fail(start, "`${` is not closed"),
        }
    }

    /// The word up to the closing brace.
    fn inner(&mut self, start: usize) -> Result<String, WordError> {
        let word = self.until(&|c| c == '}')?;
        if self.next() == Some('}') { Ok(word) } else { self.fail(start, "`${` is not closed") }
    }

    fn alternative(
        &mut self,
        start: usize,
        operator: char,
        name: &str,
        value: Option<String>,
    ) -> Result<String, WordError> {
        let word = self.inner(start)?;
        match (operator, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', value) => Ok(value.map(|_| word).unwrap_or_default()),
            (_, Some(value)) => Ok(value),
            (_, None) if word.is_empty() => self.fail(start, format!("`{name}` must have a value")),
            (_, None) => self.fail(start, format!("{name}: {word}")),
        }
    }

    /// `${name#pattern}` and its like.
    fn cut(&mut self, start: usize, operator: char, value: &str) -> Result<String, WordError> {
        let longest = self.peek() == Some(operator);
        if longest {
            self.position += 1;
        }
        let pattern = Pattern::shell(&self.inner(start)?);
        let mut ends: Vec<usize> = value.char_indices().map(|(index, _)| index).chain([value.len()]).collect();
        // The shortest prefix ends first, the shortest suffix begins last.
        if longest == (operator == '#') {
            ends.reverse();
        }
        let found = ends.into_iter().find(|end| match operator {
            '#' => pattern.matches(&value[..*end]),
            _ => pattern.matches(&value[*end..]),
        });
        Ok(match (operator, found) {
            (_, None) => value.to_owned(),
            ('#', Some(end)) => value[end..].to_owned(),
            (_, Some(end)) => value[..end].to_owned(),
        })
    }

    /// `${name/pattern/text}`, with two slashes for all.
    fn replace(&mut self, start: usize, value: &str) -> Result<String, WordError> {
        let all = self.peek() == Some('/');
        if all {
            self.position += 1;
        }
        let pattern = Pattern::shell(&self.until(&|c| c == '/' || c == '}')?);
        let text = match self.next() {
            Some('/') => self.inner(start)?,
            Some(_) => String::new(),
            None => return self.fail(start, "`${` is not closed"),
        };
        let (mut result, mut position) = (String::new(), 0);
        while position <= value.len() {
            let ends = value[position..].char_indices().map(|(index, _)| position + index).chain([value.len()]);
            let longest = ends.filter(|end| *end > position && pattern.matches(&value[position..*end])).max();
            match longest {
                Some(end) => {
                    result.push_str(&text);
                    position = end;
                    if !all {
                        break;
                    }
                }
                None => {
                    let Some(c) = value[position..].chars().next() else { break };
                    result.push(c);
                    position += c.len_utf8();
                }
            }
        }
        result.push_str(value.get(position..).unwrap_or_default());
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        let known = [("A", "one"), ("EMPTY", ""), ("P", "/usr/local/bin"), ("L", "80 443"), ("F", "a.tar.gz")];
        known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn variables_of_variables_do_not_grow_without_end() {
        let mut value = "x".repeat(1000);
        let mut failure = None;
        for _ in 0..64 {
            match expand("\"$A$A$A$A\"", '\\', &|_| Some(value.clone())) {
                Ok(next) => value = next,
                Err(error) => {
                    failure = Some(error.message);
                    break;
                }
            }
        }
        assert!(failure.expect("it ends").contains("1048576 bytes"));
    }

    #[test]
    fn every_form_of_a_variable() {
        for (word, expected) in [
            ("$A-${A}x", "one-onex"),
            ("$NO${NO}", ""),
            ("${NO:-d}${EMPTY:-d}${EMPTY-d}${NO-d}", "ddd"),
            ("${A:+y}${EMPTY:+y}${EMPTY+y}${NO+y}", "yy"),
            ("${A:?m}${EMPTY?m}", "one"),
            ("${NO:-$A}${NO:-${A}x}${NO:-\"a } b\"}", "oneonexa } b"),
            ("\\$A '$A' \"$A\" \"\\$A \\x\"", "$A $A one $A \\x"),
            ("a$", "a$"),
            ("${P#*/}|${P##*/}|${P%/*}|${P%%/*}", "usr/local/bin|bin|/usr/local|"),
            ("${F%.*}|${F%%.*}|${F#a}", "a.tar|a|.tar.gz"),
            ("${P/l/L}|${P//l/L}|${P//\\//-}|${F/.*/}", "/usr/Local/bin|/usr/LocaL/bin|-usr-local-bin|a"),
            ("a\\ b", "a b"),
        ] {
            assert_eq!(expand(word, '\\', &value).as_deref(), Ok(expected), "{word}");
        }
        assert_eq!(expand("C:\\`$A", '`', &value).as_deref(), Ok("C:\\$A"));
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (word, at, words) in [
            ("x${A", 1, "not closed"),
            ("x\"a", 1, "not closed"),
            ("'a", 0, "not closed"),
            ("ab${NO:?is needed}", 2, "NO: is needed"),
            ("${}", 0, "a name is missing"),
            ("${A:x}", 0, "goes on with"),
            ("${A^}", 0, "is not known"),
        ] {
            let error = expand(word, '\\', &value).unwrap_err();
            assert!(error.message.contains(words), "{word}: {error:?}");
            assert_eq!(error.at, at, "{word}");
        }
    }

    #[test]
    fn words_split_at_spaces_of_values_but_not_of_quotes() {
        let words = |line: &str| expand_words(line, '\\', &value).unwrap();
        assert_eq!(words("$L 22/tcp"), ["80", "443", "22/tcp"]);
        assert_eq!(words("\"$L\" a\\ b"), ["80 443", "a", "b"]);
        assert_eq!(expand_document("a \"$A\" '$A' \\$A \\n", &value).unwrap(), "a \"one\" 'one' $A \\n");
    }
}
