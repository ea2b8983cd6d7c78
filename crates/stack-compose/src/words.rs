//! A command line to words, as docker compose does it: quotes and backslashes as in a shell, and no shell. What a shell
//! would take for an operator ends the command there.

/// The words of a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) list: Vec<String>,
    /// Where an operator ended the command, in bytes.
    pub(crate) ends: Option<usize>,
}

/// Why a text is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCommand {
    /// A quote, a backslash or `$(` has no end.
    Open,
    /// A parenthesis stands outside of quotes.
    Parenthesis,
}

#[derive(Debug, Default)]
struct Splitter {
    words: Words,
    word: String,
    /// There is a word, if only an empty one in quotes.
    begun: bool,
    escaped: bool,
    single: bool,
    double: bool,
    back: bool,
    dollar: bool,
}

/// Splits a command line.
pub(crate) fn split(text: &str) -> Result<Words, NoCommand> {
    let mut splitter = Splitter::default();
    for (at, letter) in text.char_indices() {
        if splitter.take(letter)? {
            continue;
        }
        // A number before `>` is that of a file descriptor.
        if letter == '>' && splitter.word.starts_with(|first: char| first.is_ascii_digit()) {
            splitter.begun = false;
        }
        splitter.words.ends = Some(at);
        break;
    }
    if splitter.begun {
        splitter.words.list.push(splitter.word);
    }
    if splitter.escaped || splitter.single || splitter.double || splitter.back || splitter.dollar {
        return Err(NoCommand::Open);
    }
    Ok(splitter.words)
}

impl Splitter {
    fn is_quoted(&self) -> bool {
        self.single || self.double || self.back || self.dollar
    }

    /// Takes one letter; false where it ends the command.
    fn take(&mut self, letter: char) -> Result<bool, NoCommand> {
        if self.escaped {
            self.escaped = false;
            self.push(letter);
            return Ok(true);
        }
        match letter {
            '\\' if self.single => self.word.push(letter),
            '\\' => self.escaped = true,
            ' ' | '\t' | '\r' | '\n' if self.is_quoted() => self.word.push(letter),
            ' ' | '\t' | '\r' | '\n' => {
                if std::mem::take(&mut self.begun) {
                    self.words.list.push(std::mem::take(&mut self.word));
                }
            }
            '"' if !self.single && !self.dollar => {
                self.begun |= self.double;
                self.double = !self.double;
            }
            '\'' if !self.double && !self.dollar => {
                self.begun |= self.single;
                self.single = !self.single;
            }
            '(' if !self.single && !self.double && !self.back => {
                if self.dollar || !self.word.ends_with('$') {
                    return Err(NoCommand::Parenthesis);
                }
                self.dollar = true;
                self.word.push(letter);
            }
            ')' if !self.single && !self.double && !self.back => {
                if !self.dollar {
                    return Err(NoCommand::Parenthesis);
                }
                self.dollar = false;
                self.push(letter);
            }
            ';' | '&' | '|' | '<' | '>' if !self.is_quoted() => return Ok(false),
            '`' if !self.single && !self.double && !self.dollar => {
                self.back = !self.back;
                self.push(letter);
            }
            other => self.push(other),
        }
        Ok(true)
    }

    fn push(&mut self, letter: char) {
        self.word.push(letter);
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap().list
    }

    #[test]
    fn quotes_and_backslashes_are_those_of_a_shell() {
        for (text, expected) in [
            ("", vec![]),
            ("  a  b\tc\n", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\" f\\ g", vec!["a", "b c", "d e", "f g"]),
            ("a'b'\"c\" ''", vec!["abc", ""]),
            ("'a\\b' \"a\\\"b\" \"a\\\\b\"", vec!["a\\b", "a\"b", "a\\b"]),
            ("\"a\\nb\"", vec!["anb"]),
            ("a $(b c) `d e`", vec!["a", "$(b c)", "`d e`"]),
            ("-c'print(1)'", vec!["-cprint(1)"]),
            ("#a", vec!["#a"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn operators_end_the_command() {
        for (text, expected, ends) in
            [("a && b", "a", 2), ("a; b", "a", 1), ("a 2>b", "a", 3), ("a x>b", "a x", 3), ("a | b", "a", 2)]
        {
            let found = split(text).unwrap();
            assert_eq!((found.list.join(" ").as_str(), found.ends), (expected, Some(ends)), "{text}");
        }
        assert_eq!(split("sh -c 'a && b'").unwrap().ends, None);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        assert_eq!(split("a 'b"), Err(NoCommand::Open));
        assert_eq!(split("a \"b"), Err(NoCommand::Open));
        assert_eq!(split("a \\"), Err(NoCommand::Open));
        assert_eq!(split("(a)"), Err(NoCommand::Parenthesis));
        assert_eq!(split("a)"), Err(NoCommand::Parenthesis));
    }
}
