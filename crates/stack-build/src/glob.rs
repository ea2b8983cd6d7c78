//! Wildcards: of COPY and ADD, of `.dockerignore`, of `${name#pattern}`.

/// A pattern over texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(char),
    /// `?`; `true`: a slash too.
    One(bool),
    /// `*`; `true`: slashes too.
    Many(bool),
    /// `**/`: nothing, or everything up to a slash.
    Directories,
    /// `[…]`, and whether it is of what it does not hold.
    Set(Vec<(char, char)>, bool),
}

impl Pattern {
    /// Of shells: a slash is a character like any other.
    pub(crate) fn shell(text: &str) -> Self {
        Self(parse(text, true))
    }

    /// Of paths: only `**` passes a slash.
    pub(crate) fn path(text: &str) -> Self {
        Self(parse(text, false))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        // Bounded by pieces times characters, whatever the pattern.
        let mut reachable = vec![false; chars.len() + 1];
        reachable[0] = true;
        for piece in &self.0 {
            reachable = step(piece, &chars, &reachable);
        }
        reachable[chars.len()]
    }
}

/// The text has characters that mean something.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// From where the pieces so far can end to where they can end with this one.
fn step(piece: &Piece, chars: &[char], from: &[bool]) -> Vec<bool> {
    let mut to = vec![false; from.len()];
    match piece {
        Piece::Many(slashes) => {
            let mut open = false;
            for index in 0..from.len() {
                open |= from[index];
                to[index] = open;
                if chars.get(index) == Some(&'/') && !slashes {
                    open = false;
                }
            }
        }
        Piece::Directories => {
            let mut open = false;
            for index in 0..from.len() {
                open |= from[index];
                to[index] |= from[index];
                if open && chars.get(index) == Some(&'/') {
                    to[index + 1] = true;
                }
            }
        }
        Piece::Literal(_) | Piece::One(_) | Piece::Set(..) => {
            for (index, c) in chars.iter().enumerate() {
                to[index + 1] = from[index] && takes(piece, *c);
            }
        }
    }
    to
}

fn takes(piece: &Piece, c: char) -> bool {
    match piece {
        Piece::Literal(literal) => *literal == c,
        Piece::One(slashes) => *slashes || c != '/',
        Piece::Set(ranges, negated) => {
            c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
        Piece::Many(_) | Piece::Directories => false,
    }
}

fn parse(text: &str, slashes: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '?' => Piece::One(slashes),
            '*' if chars.peek() == Some(&'*') && !slashes => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                    Piece::Directories
                } else {
                    Piece::Many(true)
                }
            }
            '*' => Piece::Many(slashes),
            '[' => match set(&mut chars) {
                Some(set) => set,
                None => Piece::Literal('['),
            },
            '\\' => Piece::Literal(chars.next().unwrap_or('\\')),
            c => Piece::Literal(c),
        });
    }
    pieces
}

/// What is between brackets; `None` when they are not closed, and then nothing is taken.
fn set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let mut ahead = chars.clone();
    let negated = ahead.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match ahead.next()? {
            ']' if !ranges.is_empty() => break,
            '\\' => ahead.next()?,
            c => c,
        };
        let mut after = ahead.clone();
        let is_range = after.next() == Some('-') && after.peek().is_some_and(|c| *c != ']');
        let high = if is_range {
            ahead = after;
            match ahead.next()? {
                '\\' => ahead.next()?,
                c => c,
            }
        } else {
            low
        };
        ranges.push((low, high));
    }
    *chars = ahead;
    Some(Piece::Set(ranges, negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stop_at_slashes() {
        for (pattern, yes, no) in [
            ("*.go", &["a.go", ".go"][..], &["a/b.go", "a.gox"][..]),
            ("a?c", &["abc"], &["a/c", "ac"]),
            ("**/*.md", &["a.md", "x/y/a.md"], &["a.mdx"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/a/c"]),
            ("a/**/b", &["a/b", "a/x/y/b"], &["a/xb"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[^a-c]x", &["dx"], &["ax", "/x"]),
            ("[]x", &["[]x"], &["]x"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("**", &["a", "a/b"], &[]),
        ] {
            let compiled = Pattern::path(pattern);
            for text in yes {
                assert!(compiled.matches(text), "{pattern} {text}");
            }
            for text in no {
                assert!(!compiled.matches(text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        assert!(!Pattern::path(&"*a".repeat(60)).matches(&"a".repeat(50).repeat(20).replace("aa", "ab")));
        assert!(Pattern::shell("*/").matches("/usr/"));
    }
}
