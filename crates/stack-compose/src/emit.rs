//! YAML as Go's yaml.v3 writes it, which is what docker compose shows: the same quotes, blocks and order of keys.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use crate::yaml::{print_float, resolve};

/// Blanks that a level is set in by.
const STEP: usize = 2;

/// Longer keys are written behind a `?`.
const MAX_KEY: usize = 128;

/// A value as a document, in the order of its keys.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(entries) if !entries.is_empty() => mapping(entries, 0, &mut out),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut out),
        single => {
            out.push_str(&scalar(single, STEP));
            out.push('\n');
        }
    }
    out
}

/// The first key stands where `out` ends, the others at `indent`.
fn mapping(entries: &serde_json::Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            blanks(indent, out);
        }
        let name = text(key, Place::Key);
        let complex = name.len() > MAX_KEY;
        if complex {
            out.push_str("? ");
        }
        out.push_str(&name);
        if complex {
            out.push('\n');
            blanks(indent, out);
        }
        out.push(':');
        match value {
            Value::Object(below) if !below.is_empty() => {
                below_key(complex, indent, out);
                mapping(below, indent + STEP, out);
            }
            Value::Array(items) if !items.is_empty() => {
                below_key(complex, indent, out);
                sequence(items, indent + STEP, out);
            }
            single => {
                let _ = writeln!(out, " {}", scalar(single, indent + STEP));
            }
        }
    }
}

fn below_key(complex: bool, indent: usize, out: &mut String) {
    if complex {
        out.push(' ');
    } else {
        out.push('\n');
        blanks(indent + STEP, out);
    }
}

fn sequence(items: &[Value], indent: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            blanks(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(below) if !below.is_empty() => mapping(below, indent + STEP, out),
            Value::Array(below) if !below.is_empty() => sequence(below, indent + STEP, out),
            single => {
                out.push_str(&scalar(single, indent + STEP));
                out.push('\n');
            }
        }
    }
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// What fits on a line, or a block whose lines stand at `indent`; without the last line's end.
fn scalar(value: &Value, indent: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => self::number(number),
        Value::String(value) => text(value, Place::Value { indent }),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

fn number(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => print_float(float),
        None => number.to_string(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Key,
    Value { indent: usize },
}

fn text(value: &str, place: Place) -> String {
    let allowed = Allowed::of(value);
    if value.contains('\n') {
        return match place {
            Place::Value { indent } if allowed.block => block(value, indent),
            Place::Value { .. } | Place::Key => quoted(value),
        };
    }
    if is_something_else(value) {
        return quoted(value);
    }
    match (allowed.plain, allowed.single) {
        (true, _) => value.to_owned(),
        (false, true) => format!("'{}'", value.replace('\'', "''")),
        (false, false) => quoted(value),
    }
}

/// Without quotes it would be read as no text: now, or by the rules of YAML 1.1.
fn is_something_else(value: &str) -> bool {
    const OLD_BOOLEANS: [&str; 16] =
        ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];
    resolve(value) != crate::yaml::Value::Text || OLD_BOOLEANS.contains(&value) || is_base_60(value)
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn is_base_60(value: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let unsigned = value.strip_prefix(['-', '+']).unwrap_or(value);
    let mut parts = unsigned.split(':');
    let first = parts.next().is_some_and(|first| first.starts_with(|c: char| c.is_ascii_digit()) && digits(first));
    let mut rest: Vec<&str> = parts.collect();
    if let Some((whole, fraction)) = rest.last().and_then(|last| last.split_once('.'))
        && digits(fraction)
    {
        rest.pop();
        rest.push(whole);
    }
    let minute = |part: &&str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    first && !rest.is_empty() && rest.iter().all(minute)
}

/// In which ways a text can be written.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    plain: bool,
    single: bool,
    block: bool,
}

impl Allowed {
    fn of(value: &str) -> Self {
        let mut indicator = value.starts_with("---") || value.starts_with("...");
        let (mut special, mut tab, mut space_break, mut break_space, mut broken) = (false, false, false, false, false);
        let mut before: Option<char> = None;
        let mut chars = value.chars().peekable();
        while let Some(c) = chars.next() {
            let then_blank = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
            let after_blank = before.is_none_or(|before| before.is_ascii_whitespace());
            indicator |= match (before, c) {
                (
                    None,
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`',
                ) => true,
                (None, '?' | '-') | (_, ':') => then_blank,
                (_, '#') => after_blank,
                _ => false,
            };
            special |= c != '\t' && !is_printable(c);
            tab |= c == '\t';
            broken |= is_break(c);
            space_break |= is_break(c) && before == Some(' ');
            break_space |= c == ' ' && before.is_some_and(is_break);
            before = Some(c);
        }
        let edge = |c: char| c == ' ' || is_break(c);
        let at_edge = value.starts_with(edge) || value.ends_with(edge);
        let single = !(break_space || space_break || tab || special);
        Self {
            plain: single && !at_edge && !broken && !indicator && !value.is_empty(),
            single,
            block: !value.ends_with(' ') && !space_break && !special,
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{ffff}')
        && !matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn quoted(value: &str) -> String {
    let mut out = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_printable(c) && !is_break(c) => out.push(c),
            c => out.push_str(&escaped(c)),
        }
    }
    out.push('"');
    out
}

fn escaped(c: char) -> String {
    const SHORT: [(char, char); 13] = [
        ('\0', '0'),
        ('\u{7}', 'a'),
        ('\u{8}', 'b'),
        ('\t', 't'),
        ('\n', 'n'),
        ('\u{b}', 'v'),
        ('\u{c}', 'f'),
        ('\r', 'r'),
        ('\u{1b}', 'e'),
        ('\u{85}', 'N'),
        ('\u{a0}', '_'),
        ('\u{2028}', 'L'),
        ('\u{2029}', 'P'),
    ];
    let code = u32::from(c);
    match SHORT.iter().find(|(other, _)| *other == c) {
        Some((_, letter)) => format!("\\{letter}"),
        None if code <= 0xff => format!("\\x{code:02X}"),
        None if code <= 0xffff => format!("\\u{code:04X}"),
        None => format!("\\U{code:08X}"),
    }
}

/// `|`, with what has to be said about the first and the last line.
fn block(value: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if value.starts_with([' ', '\n']) {
        let _ = write!(out, "{STEP}");
    }
    if !value.ends_with('\n') {
        out.push('-');
    } else if value.len() == 1 || value.ends_with("\n\n") {
        out.push('+');
    }
    for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            blanks(indent, &mut out);
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::emit;

    #[test]
    fn texts_have_the_quotes_of_docker_compose() {
        for (value, written) in [
            ("a b", "a b"),
            ("8.8.8.8", "8.8.8.8"),
            (".", "."),
            ("8080", "\"8080\""),
            ("22:22", "\"22:22\""),
            ("12:75", "12:75"),
            ("no", "\"no\""),
            ("n", "\"n\""),
            ("", "\"\""),
            ("~", "\"~\""),
            ("2024-01-31", "\"2024-01-31\""),
            ("a: b", "'a: b'"),
            ("a/b:", "'a/b:'"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("-", "'-'"),
            ("-a", "-a"),
            ("*a", "'*a'"),
            ("it's", "it's"),
            ("'", "''''"),
            ("[a]", "'[a]'"),
            (" lead", "' lead'"),
            ("a\tb", "\"a\\tb\""),
            ("\u{7}", "\"\\a\""),
            ("<<", "<<"),
            ("🙂", "\"\\U0001F642\""),
            ("=", "="),
            ("é", "é"),
        ] {
            assert_eq!(emit(&json!({ "k": value })), format!("k: {written}\n"));
        }
    }

    #[test]
    fn lines_are_blocks_and_lists_are_set_in() {
        let value = json!({
            "a": ["x\ny\n", ["b"], {"c": 1, "d": []}],
            "e": {"f": " g\nh", "i": "\n", "k": "l \nm", "n": null, "o": {}},
            "p": 2.0,
            "no": "q\n\n",
        });
        let text = "a:\n  - |\n    x\n    y\n  - - b\n  - c: 1\n    d: []\ne:\n  f: |2-\n     g\n    h\n  i: |2+\n\n  k: \"l \
                    \\nm\"\n  \"n\": null\n  o: {}\np: 2\n\"no\": |+\n  q\n\n";
        assert_eq!(emit(&value), text);
    }
}
