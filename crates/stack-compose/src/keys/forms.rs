//! Forms that several keys share.

use indexmap::IndexMap;

use crate::context::Cx;
use crate::decode::not_yet;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::shape::{At, check_name};
use crate::text::{Span, Spanned};
use crate::words::{NoCommand, split};
use crate::yaml::{Entry, Kind, Mapping, Node, Tag, Value};

/// `KEY=VALUE` and `KEY` items to a mapping; a mapping stays. A key without value becomes null.
pub(crate) fn key_values(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let items = match node.kind {
        Kind::Mapping(_) => return Some(node),
        Kind::Sequence(items) => items,
        Kind::Scalar(_) if cx.is_template(&node) => return Some(node),
        Kind::Scalar(_) => {
            cx.wrong_type(&node, &at.to_string(), "a mapping or a list of `KEY=VALUE`");
            return None;
        }
    };
    let mut mapping = Mapping::new();
    for item in &items {
        let Some(text) = item.as_text() else {
            key_value_problem(item, at, cx);
            continue;
        };
        let (key, value) = match text.split_once('=') {
            Some((key, _)) => (key, item.slice(key.len() + 1..text.len())),
            None => (text, Node::null(item.span)),
        };
        mapping.insert(key.into(), Entry { key: item.part(0..key.len()), value });
    }
    Some(Node { kind: Kind::Mapping(mapping), span: node.span, tag: node.tag })
}

/// The same for variables. `A = 1` in a list is a slip: the name would end in a blank.
pub(crate) fn variables(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    if let Kind::Sequence(items) = &node.kind {
        for item in items {
            let Some((name, value)) = item.as_text().and_then(|text| text.split_once('=')) else { continue };
            if name.ends_with(char::is_whitespace) {
                let message = format!("the name of the variable `{}` ends in a blank", name.trim_end());
                let problem = Problem::error(Code::InvalidName, item.part(0..name.len()), message);
                let mended = format!("{}={}", name.trim_end(), value.trim_start());
                cx.push(problem.help(format!("write `{mended}`")));
            }
        }
    }
    key_values(node, at, cx)
}

/// `- KEY: value` is a mapping inside a list.
fn key_value_problem(item: &Node, at: &At<'_>, cx: &mut Cx<'_>) {
    let pair = item.as_mapping().filter(|fields| fields.len() == 1).and_then(|fields| fields.first());
    let Some((key, entry)) = pair else { return cx.wrong_type(item, &at.item().to_string(), "text") };
    let value = entry.value.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    let problem = Problem::error(Code::WrongType, item.span, format!("{} must be text, not a mapping", at.item()));
    let span = Span { end: entry.value.span.end.max(entry.key.end), ..entry.key };
    let mended = format!("{key}={value}");
    let one_line = entry.value.span.line == entry.key.line;
    let problem = problem
        .help(format!("a list takes `- {mended}`; or write all of it as a mapping, `{key}: {value}`, without any `-`"));
    cx.push(if one_line { problem.patch(span, mended) } else { problem });
}

/// A text to a list of one; a list stays.
pub(crate) fn one_or_list(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    match &node.kind {
        Kind::Sequence(_) => Some(node),
        Kind::Scalar(scalar) if scalar.value == Value::Text => {
            let (span, tag) = (node.span, node.tag);
            Some(Node { tag, ..Node::sequence(vec![Node { tag: Tag::None, ..node }], span) })
        }
        Kind::Scalar(_) | Kind::Mapping(_) => {
            cx.wrong_type(&node, &at.to_string(), "text or a list of texts");
            None
        }
    }
}

/// Names of a project's networks or services: in a mapping they are checked, in a list only looked up.
pub(crate) fn references(node: Node, at: &At<'_>, cx: &mut Cx<'_>, make: fn(Span) -> Node) -> Option<Node> {
    if !cx.lenient {
        for (name, entry) in node.as_mapping().into_iter().flatten() {
            check_name(name, entry.key, at, cx);
        }
    }
    names_to_keys(node, at, cx, make)
}

/// Each name of a list as a key with the value that `make` gives it; a mapping stays.
pub(crate) fn names_to_keys(node: Node, at: &At<'_>, cx: &mut Cx<'_>, make: fn(Span) -> Node) -> Option<Node> {
    let items = match node.kind {
        Kind::Mapping(_) => return Some(node),
        Kind::Sequence(items) => items,
        Kind::Scalar(_) => {
            cx.wrong_type(&node, &at.to_string(), "a list or a mapping");
            return None;
        }
    };
    let mut mapping = Mapping::new();
    for item in &items {
        if let Some(name) = cx.text(item, &at.item().to_string()) {
            let entry = Entry { key: item.span, value: make(item.span) };
            if let Some(first) = mapping.insert(name.value.as_str().into(), entry) {
                let message = format!("{at} has `{}` twice", name.value);
                let problem = Problem::error(Code::RepeatedItem, item.span, message);
                cx.push(problem.also(first.key, "first written here").help("remove one of them"));
            }
        }
    }
    Some(Node { kind: Kind::Mapping(mapping), span: node.span, tag: node.tag })
}

/// A command: null, a text that is split as a shell would split it, or a list.
pub(crate) fn command_words(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let text = match &node.kind {
        Kind::Sequence(_) => return Some(node),
        Kind::Scalar(scalar) => match scalar.value {
            Value::Null => return Some(node),
            Value::Text => scalar.text.to_string(),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Time => {
                cx.wrong_type(&node, &at.to_string(), "text");
                return None;
            }
        },
        Kind::Mapping(_) => {
            cx.wrong_type(&node, &at.to_string(), "text or a list of texts");
            return None;
        }
    };
    if cx.is_template(&node) {
        return Some(node);
    }
    match split(&text) {
        Ok(words) => {
            if let Some(end) = words.ends {
                warn_of_operator(&node, &text, end, cx);
            }
            let words = words.list.into_iter().map(|word| Node::text(word, node.span)).collect();
            Some(Node { tag: node.tag, ..Node::sequence(words, node.span) })
        }
        Err(mistake) => {
            let (what, help) = match mistake {
                NoCommand::Open => ("a quote that is never closed", "close it"),
                NoCommand::Parenthesis => ("a parenthesis outside of quotes", "put it in quotes"),
            };
            let problem = Problem::error(Code::InvalidValue, node.span, format!("{at} has {what}"));
            cx.push(problem.help(format!("{help}, or write a list: `[program, argument]`")));
            None
        }
    }
}

/// People write `a && b` and get `a`.
fn warn_of_operator(node: &Node, text: &str, end: usize, cx: &mut Cx<'_>) {
    let rest = &text[end..];
    let width = rest.find(|c: char| !";&|<>".contains(c)).unwrap_or(rest.len());
    let message = format!("the command ends before `{}`", &rest[..width]);
    let problem = Problem::warning(Code::InvalidValue, node.part(end..end + width), message);
    let problem = problem.reason("no shell runs it, and docker compose drops what follows as well");
    cx.push(problem.help("write `sh -c '…'` around the whole line"));
}

/// The words of a canonical command; `None` for null.
pub(super) fn parse_words(node: &Node, what: &str, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    if node.is_null() {
        return None;
    }
    cx.texts(node, what).map(|words| words.into_iter().map(|word| word.value).collect())
}

/// A canonical mapping of labels; null is the empty text.
pub(crate) fn labels_of(node: &Node, what: &str, cx: &mut Cx<'_>) -> IndexMap<String, String> {
    let mut labels = IndexMap::new();
    let Some(mapping) = node.as_mapping() else { return labels };
    for (key, entry) in mapping {
        let value = cx.any_text(&entry.value, &format!("`{key}` of {what}"));
        labels.insert(key.to_string(), value.flatten().unwrap_or_default());
    }
    labels
}

/// A list of texts without empty ones, which variables make that are not set.
pub(super) fn texts(node: &Node, what: &str, cx: &mut Cx<'_>) -> Vec<String> {
    let texts = cx.texts(node, what).unwrap_or_default();
    texts.into_iter().map(|text| text.value).filter(|text| !text.is_empty()).collect()
}

/// A list of texts, each kept once.
pub(super) fn unique_texts(node: &Node, what: &str, cx: &mut Cx<'_>) -> Vec<Spanned<String>> {
    let mut unique: Vec<Spanned<String>> = Vec::new();
    for text in cx.texts(node, what).unwrap_or_default() {
        if !unique.iter().any(|other| other.value == text.value) {
            unique.push(text);
        }
    }
    unique
}

/// Whether a namespace is the host's; `own` are words for one of its own.
pub(super) fn host_namespace(node: &Node, key: &str, own: &[&str], cx: &mut Cx<'_>) -> bool {
    let text = if node.is_null() { None } else { cx.text(node, &format!("`{key}`")) };
    let Some(text) = text.filter(|text| !text.value.is_empty() && !own.contains(&text.value.as_str())) else {
        return false;
    };
    let word = text.value.as_str();
    if word != "host" {
        let known = word == "none" || word.starts_with("service:") || word.starts_with("container:");
        cx.push(if known {
            not_yet(text.span, &format!("`{key}: {word}`")).help("write `host`, or remove it")
        } else {
            let problem = Problem::error(Code::InvalidValue, text.span, format!("`{word}` is no value of `{key}`"));
            problem.nearest(text.span, nearest(word, own.iter().copied().chain(["host"])))
        });
    }
    word == "host"
}

/// Six bytes in hexadecimal; an empty text is none.
pub(super) fn mac_address(node: &Node, cx: &mut Cx<'_>) -> Option<[u8; 6]> {
    let text = cx.text(node, "`mac_address`").filter(|text| !text.value.is_empty())?;
    let bytes: Vec<Option<u8>> = text
        .value
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    let address = bytes.into_iter().collect::<Option<Vec<u8>>>().and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    // The lowest bit of the first byte marks a group.
    if address.is_none_or(|address| address[0] & 1 == 1) {
        let message = format!("`{}` is not the hardware address of an interface", text.value);
        let problem = Problem::error(Code::InvalidValue, text.span, message);
        cx.push(problem.help("write six bytes of which the first is even: `02:42:ac:11:65:43`"));
        return None;
    }
    address
}

/// A number where zero and less are the same as none.
pub(super) fn above_zero(number: Option<&Spanned<i64>>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number.value).ok()).filter(|number| *number > 0)
}

/// Identity of `KEY=VALUE` in a list.
pub(crate) fn before_equals(node: &Node) -> Option<String> {
    node.as_text().map(|text| text.split('=').next().unwrap_or(text).to_owned())
}

/// Identity of a text or a number in a list.
pub(super) fn printed(node: &Node) -> Option<String> {
    node.as_scalar().map(|scalar| scalar.value.printed(&scalar.text))
}

/// Identity of a text in a list.
pub(crate) fn itself(node: &Node) -> Option<String> {
    node.as_text().map(str::to_owned)
}

/// Permission bits: a number as YAML reads it, or a text in octal.
pub(super) fn octal_mode(node: &Node, what: &str, cx: &mut Cx<'_>) -> Option<u32> {
    let mode = cx.mode(node, what)?;
    let decimal = node.as_scalar().filter(|scalar| scalar.value != Value::Text && !scalar.text.starts_with('0'));
    if let Some(scalar) = decimal.filter(|_| mode > 0) {
        let message = format!("{what} is the decimal number {mode}, which is {mode:#o} in octal");
        let problem = Problem::warning(Code::UnitHint, node.span, message);
        let octal = scalar.text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let problem = problem.help("write the bits as chmod(1) takes them, in quotes: `\"0440\"`");
        cx.push(if octal { problem.patch(node.span, format!("\"0{}\"", scalar.text)) } else { problem });
    }
    Some(mode)
}

/// Names of volumes, networks, secrets, configs and services: `^[a-zA-Z0-9._-]+$`.
pub(crate) fn file_name_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The name and its spelling with the prefix taken away: `CAP_NET_ADMIN` to `NET_ADMIN`.
pub(super) fn capabilities(node: &Node, what: &str, cx: &mut Cx<'_>) -> Vec<Spanned<String>> {
    let names = unique_texts(node, what, cx);
    for name in &names {
        let plain = plain_capability(&name.value);
        if plain != "ALL" && !CAPABILITIES.contains(&plain.as_str()) {
            let near = nearest(&plain, CAPABILITIES.iter().copied());
            let message = format!("there is no capability `{}`", name.value);
            let problem = Problem::error(Code::InvalidValue, name.span, message).nearest(name.span, near);
            cx.push(problem.reason("capabilities(7) lists them"));
        }
    }
    names
}

/// A capability as the model names it.
pub(super) fn plain_capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned)
}

/// capabilities(7), in the order of their numbers.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
