//! The grammar of one value:
//!
//! ```text
//! template := (text | '$$' | '$' NAME | '${' NAME '}' | '${' NAME OP template '}')*
//! NAME     := [_a-zA-Z][_a-zA-Z0-9]*
//! OP       := ':-' | '-' | ':+' | '+' | ':?' | '?'
//! ```

use std::ops::Range;

/// Templates inside templates; each level is a recursion.
const MAX_DEPTH: usize = 32;
/// Bytes that one value may grow to.
const MAX_EXPANDED: usize = 1 << 20;

/// A value after interpolation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Stretches of `text` in order.
    pub(crate) pieces: Vec<Stretch>,
    /// Variables that were replaced by nothing because they have no value.
    pub(crate) unset: Vec<Unset>,
}

/// A stretch of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Where it ends in the result.
    pub(crate) end: usize,
    /// Where it comes from in the template.
    pub(crate) source: Range<usize>,
    /// The characters are those of the template.
    pub(crate) literal: bool,
}

/// A variable without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unset {
    pub(crate) name: String,
    pub(crate) source: Range<usize>,
}

/// Why a template has no value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The stretch of the template.
    pub(crate) source: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// `${` without a `}`.
    Unclosed,
    /// Something else than a name and an operator between the braces.
    Format,
    /// `${NAME:?message}`.
    Required { name: String, message: String },
    /// Nested too deep or grown too long.
    Limit,
}

/// A way to look variables up.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every expression of `template`.
pub(crate) fn expand(template: &str, lookup: Lookup<'_>) -> Result<Expanded, Failure> {
    let mut expander = Expander { lookup, unset: Vec::new() };
    let (text, pieces) = expander.template(template, 0, 0)?;
    Ok(Expanded { text, pieces, unset: expander.unset })
}

/// A use of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) name: String,
    /// `-`, `+` or `?`.
    pub(crate) sign: Option<char>,
    /// What stands behind the operator, as it is written.
    pub(crate) operand: String,
}

/// Every variable of a template, also those inside operands.
pub(crate) fn expressions(template: &str) -> Vec<Expression> {
    let mut found = Vec::new();
    collect(template, 0, &mut found);
    found
}

fn collect(template: &str, depth: usize, found: &mut Vec<Expression>) {
    let mut rest = template;
    while let Some(after) = rest.find('$').map(|dollar| &rest[dollar + 1..]).filter(|_| depth <= MAX_DEPTH) {
        rest = match after.as_bytes().first() {
            Some(b'$') => &after[1..],
            Some(b'{') => match closing_brace(after) {
                Some(end) => {
                    collect_braced(&after[1..end], depth, found);
                    &after[end + 1..]
                }
                None => return,
            },
            Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
                let (name, next) = after.split_at(name_length(after));
                found.push(Expression { name: name.to_owned(), sign: None, operand: String::new() });
                next
            }
            _ => after,
        };
    }
}

fn collect_braced(inner: &str, depth: usize, found: &mut Vec<Expression>) {
    let (name, rest) = inner.split_at(name_length(inner));
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    let sign = operator.chars().next().filter(|sign| matches!(sign, '-' | '+' | '?'));
    let operand = operator.get(1..).filter(|_| sign.is_some()).unwrap_or_default();
    if !name.is_empty() {
        found.push(Expression { name: name.to_owned(), sign, operand: operand.to_owned() });
    }
    collect(operand, depth + 1, found);
}

struct Expander<'a> {
    lookup: Lookup<'a>,
    unset: Vec<Unset>,
}

impl Expander<'_> {
    /// `base` is where `template` begins in the whole value.
    fn template(&mut self, template: &str, base: usize, depth: usize) -> Result<(String, Vec<Stretch>), Failure> {
        let whole = base..base + template.len();
        if depth > MAX_DEPTH {
            return Err(Failure { kind: FailureKind::Limit, source: whole });
        }
        let mut text = String::new();
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(dollar) = template[at..].find('$').map(|offset| at + offset) {
            let rest = &template[dollar + 1..];
            let (value, end) = match rest.as_bytes().first() {
                Some(b'$') => ("$".to_owned(), dollar + 2),
                Some(b'{') => self.braced(template, dollar, base, depth)?,
                Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
                    let end = dollar + 1 + name_length(rest);
                    (self.value(&template[dollar + 1..end], base + dollar..base + end), end)
                }
                // A `$` before anything else is itself.
                _ => {
                    text.push_str(&template[at..=dollar]);
                    pieces.push(Stretch { end: text.len(), source: base + at..base + dollar + 1, literal: true });
                    at = dollar + 1;
                    continue;
                }
            };
            if dollar > at {
                text.push_str(&template[at..dollar]);
                pieces.push(Stretch { end: text.len(), source: base + at..base + dollar, literal: true });
            }
            text.push_str(&value);
            if text.len() > MAX_EXPANDED {
                return Err(Failure { kind: FailureKind::Limit, source: whole });
            }
            pieces.push(Stretch { end: text.len(), source: base + dollar..base + end, literal: false });
            at = end;
        }
        if at < template.len() {
            text.push_str(&template[at..]);
            pieces.push(Stretch { end: text.len(), source: base + at..whole.end, literal: true });
        }
        Ok((text, pieces))
    }

    fn braced(&mut self, template: &str, dollar: usize, base: usize, depth: usize) -> Result<(String, usize), Failure> {
        let Some(length) = closing_brace(&template[dollar + 1..]) else {
            return Err(Failure { kind: FailureKind::Unclosed, source: base + dollar..base + template.len() });
        };
        let end = dollar + 1 + length + 1;
        let source = base + dollar..base + end;
        let inner = &template[dollar + 2..end - 1];
        let (name, rest) = inner.split_at(name_length(inner));
        // An expression stands on one line.
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || inner.contains('\n') {
            return Err(Failure { kind: FailureKind::Format, source });
        }
        if rest.is_empty() {
            return Ok((self.value(name, source), end));
        }
        let (empty_counts_as_unset, operator) = match rest.strip_prefix(':') {
            Some(operator) => (true, operator),
            None => (false, rest),
        };
        let Some(sign) = operator.chars().next().filter(|sign| matches!(sign, '-' | '+' | '?')) else {
            return Err(Failure { kind: FailureKind::Format, source });
        };
        let operand = &operator[1..];
        let operand_at = base + end - 1 - operand.len();
        let value = (self.lookup)(name).filter(|value| !(empty_counts_as_unset && value.is_empty()));
        // Also one that is not needed: docker compose reads it first, and refuses what is wrong in it.
        let (operand, _) = self.template(operand, operand_at, depth + 1)?;
        match (sign, value) {
            ('-' | '?', Some(value)) => Ok((value, end)),
            ('+', None) => Ok((String::new(), end)),
            ('?', None) => {
                let kind = FailureKind::Required { name: name.to_owned(), message: operand };
                Err(Failure { kind, source })
            }
            _ => Ok((operand, end)),
        }
    }

    fn value(&mut self, name: &str, source: Range<usize>) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.unset.push(Unset { name: name.to_owned(), source });
            String::new()
        })
    }
}

fn name_length(text: &str) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// The offset of the brace that closes the one `text` begins with.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open = open.saturating_sub(1);
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("a$b".to_owned()),
            _ => None,
        }
    }

    fn text(template: &str) -> String {
        expand(template, &lookup).unwrap().text
    }

    #[test]
    fn every_operator_means_what_the_specification_says() {
        for (template, expected) in [
            ("plain", "plain"),
            ("$SET ${SET}", "value value"),
            ("$$SET $$$$", "$SET $$"),
            ("${SET:-d} ${SET-d} ${EMPTY:-d} ${EMPTY-d} ${NO:-d} ${NO-d}", "value value d  d d"),
            ("${SET:+r} ${SET+r} [${EMPTY:+r}] ${EMPTY+r} [${NO:+r}] [${NO+r}]", "r r [] r [] []"),
            ("${SET:?m} ${SET?m} [${EMPTY?m}]", "value value []"),
            ("${NO:-${NO2:-$SET}}", "value"),
            ("${NO-a:-b}", "a:-b"),
            ("${NO:-{\"a\": 1}}", "{\"a\": 1}"),
            ("$SET-bar", "value-bar"),
            ("$1 $} $ a$", "$1 $} $ a$"),
            ("$DOLLAR", "a$b"),
            ("${NO:-$$x}", "$x"),
            ("${SET:-${BROKEN}", "value"),
            ("${NO:+${EMPTY?m}}", ""),
        ] {
            let expected = if template == "${SET:-${BROKEN}" { None } else { Some(expected) };
            assert_eq!(expand(template, &lookup).ok().map(|expanded| expanded.text).as_deref(), expected, "{template}");
        }
        assert_eq!(text("[$NO]"), "[]");
    }

    #[test]
    fn failures_name_the_expression() {
        let failure = |template: &str| expand(template, &lookup).unwrap_err();
        for template in ["a${}", "a${ V}", "a${V!}", "a${V }", "a${1}", "a${V/a/b}", "a${!V}"] {
            assert_eq!(failure(template), Failure { kind: FailureKind::Format, source: 1..template.len() });
        }
        assert_eq!(failure("a${V"), Failure { kind: FailureKind::Unclosed, source: 1..4 });
        let required = FailureKind::Required { name: "NO".to_owned(), message: "say value".to_owned() };
        assert_eq!(failure("x ${NO:?say $SET} y"), Failure { kind: required, source: 2..17 });
        // Also inside an operand that is not needed.
        let inner = FailureKind::Required { name: "NO".to_owned(), message: "m".to_owned() };
        for template in ["${SET:-${NO?m}}", "${SET:?${NO?m}}", "${OTHER:+${NO?m}}"] {
            assert_eq!(failure(template).kind, inner, "{template}");
        }
    }

    #[test]
    fn unset_variables_are_noted_where_they_stand() {
        let expanded = expand("a $NO ${NO2:-$NO3}", &lookup).unwrap();
        let names: Vec<_> = expanded.unset.iter().map(|unset| (unset.name.as_str(), unset.source.clone())).collect();
        assert_eq!(names, [("NO", 2..5), ("NO3", 13..17)]);
    }

    #[test]
    fn nesting_and_growth_are_bounded() {
        let deep = format!("{}x{}", "${A:-".repeat(1000), "}".repeat(1000));
        assert_eq!(expand(&deep, &lookup).unwrap_err().kind, FailureKind::Limit);
        let long = "x".repeat(1 << 16);
        let grow = |_: &str| Some(long.clone());
        assert_eq!(expand(&"$A".repeat(64), &grow).unwrap_err().kind, FailureKind::Limit);
    }
}
