//! Values out of nodes. Each function reports what is wrong and returns `None`, so that all mistakes of a file show at
//! once.

use crate::context::Cx;
use crate::keys::service_key;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::text::Spanned;
use crate::units::{UnitError, octal, parse_bytes, parse_cpus, parse_duration, parse_float};
use crate::yaml::{Kind, Layout, Node, Value};

impl Cx<'_> {
    /// A list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::Sequence(items) => Some(items),
            Kind::Scalar(_) | Kind::Mapping(_) => {
                self.wrong_type(node, what, "a list");
                None
            }
        }
    }

    /// A text. A number or a boolean is refused, with the quotes it needs.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        match node.as_text() {
            Some(text) => Some(Spanned::new(text.to_owned(), node.span)),
            None => {
                self.wrong_type(node, what, "text");
                None
            }
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<Spanned<String>>> {
        let items = self.list(node, what)?;
        let item = format!("an item of {what}");
        Some(items.iter().filter_map(|node| self.text(node, &item)).collect())
    }

    /// A leaf as text, whatever its type; `None` inside is null.
    pub(crate) fn any_text(&mut self, node: &Node, what: &str) -> Option<Option<String>> {
        match node.as_scalar() {
            Some(scalar) if scalar.value == Value::Null => Some(None),
            Some(scalar) => Some(Some(scalar.value.printed(&scalar.text))),
            None => {
                self.wrong_type(node, what, "a single value");
                None
            }
        }
    }

    /// A boolean, also in the words of YAML 1.1 and as text, which interpolation makes.
    pub(crate) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        let scalar = node.as_scalar();
        let value = match scalar.map(|scalar| (scalar.value, scalar.text.to_ascii_lowercase())) {
            Some((Value::Bool(value), _)) => Some(value),
            Some((Value::Text, text)) => match text.as_str() {
                "true" => Some(true),
                "false" => Some(false),
                "y" | "yes" | "on" => Some(self.old_boolean(node, true)),
                "n" | "no" | "off" => Some(self.old_boolean(node, false)),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            self.wrong_type(node, what, "`true` or `false`");
        }
        value
    }

    fn old_boolean(&mut self, node: &Node, value: bool) -> bool {
        let message = format!("`{}` is a boolean of YAML 1.1; YAML 1.2 knows `{value}`", node.as_text().unwrap_or(""));
        let problem = Problem::warning(Code::WrongType, node.span, message);
        self.push(problem.patch(node.span, value.to_string()));
        value
    }

    /// A whole number in a range, also as text, which interpolation makes.
    pub(crate) fn integer(
        &mut self,
        node: &Node,
        what: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<Spanned<i64>> {
        let number = match node.as_scalar().map(|scalar| (scalar.value, scalar)) {
            Some((Value::Int(number), _)) => Some(number),
            Some((Value::Float(number), _)) if number.fract() == 0.0 => format!("{number:.0}").parse().ok(),
            Some((Value::Text, scalar)) => scalar.text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type(node, what, "a whole number");
            return None;
        };
        if !range.contains(&number) {
            let message = format!("{what} must be between {} and {}", range.start(), range.end());
            let message =
                if *range.end() == i64::MAX { format!("{what} must be at least {}", range.start()) } else { message };
            let problem = Problem::error(Code::InvalidValue, node.span, message);
            self.push(problem.help("write a number in this range"));
            return None;
        }
        Some(Spanned::new(number, node.span))
    }

    /// A number of bytes.
    pub(crate) fn bytes(&mut self, node: &Node, what: &str) -> Option<Spanned<u64>> {
        let scalar = node.as_scalar().filter(|scalar| !matches!(scalar.value, Value::Null | Value::Bool(_)));
        let Some(scalar) = scalar else {
            self.wrong_type(node, what, "a size such as `512m`");
            return None;
        };
        let text = scalar.value.printed(&scalar.text);
        match parse_bytes(&text) {
            Ok(bytes) => Some(Spanned::new(bytes, node.span)),
            Err(error) => {
                let problem = Problem::error(Code::InvalidValue, node.span, format!("`{text}` is not a size"));
                let problem = problem.reason(unit_reason(error));
                self.push(problem.help("write a number and one of the units `b`, `k`, `m`, `g`, such as `512m`"));
                None
            }
        }
    }

    /// A duration in nanoseconds.
    pub(crate) fn duration(&mut self, node: &Node, what: &str) -> Option<Spanned<u64>> {
        let scalar = node.as_scalar().filter(|scalar| !matches!(scalar.value, Value::Null | Value::Bool(_)));
        let Some(scalar) = scalar else {
            self.wrong_type(node, what, "a duration such as `30s`");
            return None;
        };
        match parse_duration(&scalar.text) {
            // A bare `0` is a number, and docker compose takes durations as text only.
            Ok(nanos) if scalar.value == Value::Text => Some(Spanned::new(nanos, node.span)),
            Ok(_) => self.duration_problem(node, &scalar.text, UnitError::NoUnit),
            Err(error) => self.duration_problem(node, &scalar.text, error),
        }
    }

    fn duration_problem(&mut self, node: &Node, text: &str, error: UnitError) -> Option<Spanned<u64>> {
        let problem = Problem::error(Code::InvalidValue, node.span, format!("`{text}` is not a duration"));
        let problem = if error == UnitError::NoUnit {
            let mended = format!("{text}s");
            let problem = problem.reason("the unit is missing: `ms`, `s`, `m` or `h`");
            problem.help(format!("write the unit: `{mended}` is in seconds")).patch(node.span, mended)
        } else {
            let problem = problem.reason(unit_reason(error));
            problem.help("write numbers with units `ms`, `s`, `m`, `h`, such as `1m30s`")
        };
        self.push(problem);
        None
    }

    /// Billionths of a processor.
    pub(crate) fn cpus(&mut self, node: &Node, what: &str) -> Option<Spanned<u64>> {
        let scalar = node.as_scalar().filter(|scalar| !matches!(scalar.value, Value::Null | Value::Bool(_)));
        let Some(scalar) = scalar else {
            self.wrong_type(node, what, "a number of processors such as `0.5`");
            return None;
        };
        match parse_cpus(&scalar.value.printed(&scalar.text)) {
            Ok(nano) => Some(Spanned::new(nano, node.span)),
            Err(_) => {
                let message = format!("`{}` is not a number of processors", scalar.text);
                let problem = Problem::error(Code::InvalidValue, node.span, message);
                self.push(problem.help("write a decimal number, such as `0.5` for half a processor"));
                None
            }
        }
    }

    /// A number, also as text.
    pub(crate) fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        let number = match node.as_scalar().map(|scalar| (scalar.value, scalar)) {
            Some((Value::Int(_), scalar)) => scalar.value.printed(&scalar.text).parse().ok(),
            Some((Value::Float(number), _)) => Some(number),
            Some((Value::Text, scalar)) => parse_float(&scalar.text),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.wrong_type(node, what, "a number");
        }
        number
    }

    /// Permission bits in octal.
    pub(crate) fn mode(&mut self, node: &Node, what: &str) -> Option<u32> {
        let mode = octal(node);
        if mode.is_none() {
            self.wrong_type(node, what, "permission bits in octal such as `\"0440\"`");
        }
        mode
    }

    /// Reports that `node` is something else than `wanted`.
    pub(crate) fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) {
        let found = match &node.kind {
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
            Kind::Scalar(scalar) => match scalar.value {
                Value::Null => "empty".to_owned(),
                Value::Bool(value) => format!("the boolean `{value}`"),
                Value::Int(_) | Value::Float(_) => format!("the number `{}`", scalar.text),
                Value::Time => format!("the date `{}`", scalar.text),
                Value::Text => format!("the text `{}`", shorten(&scalar.text)),
            },
        };
        let problem = Problem::error(Code::WrongType, node.span, format!("{what} must be {wanted}, not {found}"));
        self.push(type_help(problem, node, what, wanted));
    }
}

/// `image nginx`, where a colon is missing.
fn without_colon(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(key, _)| service_key(key).is_some())
}

/// What to do about a value of the wrong type.
fn type_help(problem: Problem, node: &Node, what: &str, wanted: &str) -> Problem {
    let Some(scalar) = node.as_scalar() else { return collection_help(problem, node, what, wanted) };
    if scalar.value == Value::Null {
        return problem.help("give it a value or remove the key");
    }
    if matches!(scalar.layout, Layout::Pieces(_)) {
        return problem
            .reason("the value comes from a variable")
            .help("`stack config --explain VARIABLE` tells where it has it from");
    }
    let text = &scalar.text;
    if scalar.value == Value::Time {
        return problem.help("put it in quotes").patch(node.span, format!("\"{text}\""));
    }
    match wanted {
        "text" if what == "`restart`" && scalar.value == Value::Bool(false) => {
            problem.help("never restarting is the text `no`").patch(node.span, "\"no\"")
        }
        "text" => problem.help("put it in quotes").patch(node.span, format!("\"{text}\"")),
        "a list" if text.starts_with('-') => problem.help("write a blank after each `-`"),
        "a list" => problem.help("write it as an item of a list").patch(node.span, format!("[\"{text}\"]")),
        "a mapping or a list of `KEY=VALUE`" if text.matches('=').count() > 1 => {
            problem.help("begin each line with `- `, or write each as `KEY: VALUE`")
        }
        "a list or a mapping" | "a mapping or a list of `KEY=VALUE`" => {
            problem.help("write it as an item of a list").patch(node.span, format!("[\"{text}\"]"))
        }
        "a project" => problem.help("write `services:` and the services below it"),
        "a mapping" if own_key(what) => problem.help(OWN_KEY),
        "a mapping" if what == "`healthcheck`" => {
            problem.help("write the command as `test`").patch(node.span, format!("{{test: {text}}}"))
        }
        "a mapping" if what.ends_with(" of `depends_on`") => {
            let condition =
                nearest(text, CONDITIONS).or_else(|| CONDITIONS.into_iter().find(|it| it.ends_with(&**text)));
            let condition = condition.unwrap_or("service_started");
            problem.help("write what to wait for").patch(node.span, format!("{{condition: {condition}}}"))
        }
        "a mapping" if what.starts_with("service ") => match without_colon(text) {
            Some((key, value)) => {
                problem.reason(format!("there is no colon behind `{key}`")).patch(node.span, format!("{key}: {value}"))
            }
            None => problem.help("write the image below the name").patch(node.span, format!("{{image: {text}}}")),
        },
        "a mapping" => problem.help("write its keys below it, indented"),
        "`true` or `false`" => problem.help("write `true` or `false`, without quotes"),
        "a whole number" => problem.help("write digits only, such as `3`"),
        "a number" => problem.help("write a decimal number, such as `0.5`"),
        "permission bits in octal such as `\"0440\"`" => {
            problem.help("write the digits that chmod(1) takes, in quotes")
        }
        _ => problem.help(format!("write {wanted}")),
    }
}

/// What dependencies wait for.
const CONDITIONS: [&str; 3] = ["service_started", "service_healthy", "service_completed_successfully"];

const OWN_KEY: &str = "this is a key of a service: indent it further, below the name of the service";

/// A key of a service stands where the name of one is wanted.
fn own_key(what: &str) -> bool {
    let name = what.strip_prefix("service `").and_then(|name| name.strip_suffix('`'));
    name.is_some_and(|name| service_key(name).is_some())
}

fn collection_help(problem: Problem, node: &Node, what: &str, wanted: &str) -> Problem {
    let is_list = matches!(node.kind, Kind::Sequence(_));
    match (wanted, is_list) {
        ("a mapping", _) if own_key(what) => problem.help(OWN_KEY),
        ("text", false) if what == "an item of `depends_on`" => problem
            .reason("conditions stand in a mapping, names alone in a list")
            .help("leave the `- ` away in front of each service, and write `condition:` below its name"),
        ("a list", _) => problem.help("begin each item with `- `: a list, not keys with values"),
        ("a mapping" | "a project", true) => problem.help("remove the `- ` in front: keys with values, not a list"),
        ("a single value", _) => problem.help("write one text or number; several values need several names"),
        ("text" | "text or a list of texts", false) => problem.help("write a text, in quotes if it has `: ` in it"),
        _ => problem.help(format!("write {wanted}")),
    }
}

/// An error about something that Compose has and `stack` does not have yet.
pub(crate) fn not_yet(span: crate::text::Span, subject: &str) -> Problem {
    let problem = Problem::error(Code::NotYetSupported, span, format!("{subject} is not supported yet"));
    problem.reason("it is a part of the Compose specification, and ignoring it would change what the file means")
}

/// The longest value that a message quotes in full, in characters.
const MAX_QUOTED: usize = 40;

/// A value for a message.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.len() => format!("{line}…"),
        None => line.to_owned(),
    }
}

fn unit_reason(error: UnitError) -> &'static str {
    match error {
        UnitError::NotANumber => "it does not begin with a number",
        UnitError::NoUnit => "it has no unit",
        UnitError::UnknownUnit => "the unit is not known",
        UnitError::TooLarge => "the number is too large",
    }
}
