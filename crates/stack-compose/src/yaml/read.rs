//! Parser events to [`Node`]s, with limits: whatever the text says, time and memory stay bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, StrInput};
use indexmap::map::Entry as Slot;

use super::node::{Entry, Kind, Layout, Mapping, Node, Scalar, Tag, Value};
use super::scalar::resolve;
use super::syntax::syntax_problem;
use crate::report::{Code, Problem, Report};
use crate::text::{FileId, Span, narrow};

/// Nodes of one file after aliases are expanded; docker compose has the same limit.
const MAX_NODES: usize = 100_000;
/// Nesting of one file, also through aliases: every walk over the tree is recursive.
const MAX_DEPTH: usize = 100;

/// All documents of a text. What cannot be read is reported; what stands before it is returned.
pub(crate) fn read(text: &str, file: FileId, report: &mut Report) -> Vec<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = MAX_DEPTH;
    options.flow_nesting_limit = MAX_DEPTH;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { text, file, parser, anchors: HashMap::new(), nodes: 0, report };
    let mut documents = Vec::new();
    while let Ok(Some((event, span))) = reader.next() {
        match event {
            Event::DocumentStart(..) => reader.anchors.clear(),
            Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            node => match reader.node(node, span, 0) {
                Ok(node) => documents.push(node),
                Err(Halt) => break,
            },
        }
    }
    documents
}

/// Reading this file ends; the reason is in the report.
struct Halt;

struct Anchor {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Reader<'a> {
    text: &'a str,
    file: FileId,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchor>,
    nodes: usize,
    report: &'a mut Report,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Halt> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.span(span)))),
            Some(Err(error)) => {
                self.report.push(syntax_problem(&error, self.text, self.file));
                Err(Halt)
            }
        }
    }

    fn expect(&mut self) -> Result<(Event<'a>, Span), Halt> {
        self.next()?.ok_or(Halt)
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let start = span.start.byte_offset().unwrap_or(0);
        let end = span.end.byte_offset().unwrap_or(start).max(start);
        let (line, column) = (narrow(span.start.line()), narrow(span.start.col() + 1));
        Span { file: self.file, start: narrow(start), end: narrow(end), line, column }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Halt> {
        if depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            self.report.push(Problem::error(Code::YamlSyntax, span, message));
            return Err(Halt);
        }
        self.spend(1, span)?;
        let before = self.nodes - 1;
        let (node, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let (tag, core) = self.tag(tag.as_deref(), span);
                self.warn_of_quote(&text, style, span);
                (self.scalar(text, style, core, tag, span), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let (tag, _) = self.tag(tag.as_deref(), span);
                let kind = Kind::Sequence(self.sequence(depth)?);
                (Node { kind, span: first_token(span, self.text), tag }, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                let (tag, _) = self.tag(tag.as_deref(), span);
                let mapping = self.mapping(depth)?;
                let first = mapping.values().next().map(|entry| entry.key);
                let span = first.filter(|first| first.start == span.start).unwrap_or(first_token(span, self.text));
                (Node { kind: Kind::Mapping(mapping), span, tag }, anchor)
            }
            _ => return Err(Halt),
        };
        if anchor > 0 {
            let anchored = Anchor { nodes: self.nodes - before, height: height(&node), node: node.clone() };
            self.anchors.insert(anchor, anchored);
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<Node, Halt> {
        let Some(anchor) = self.anchors.get(&id) else {
            // The parser knows the anchor and its node is not finished: it is one of our parents.
            let problem = Problem::error(Code::YamlSyntax, span, "an alias refers to the value it stands in");
            self.report.push(problem.reason("expanding it would never end"));
            return Err(Halt);
        };
        if depth + anchor.height > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep through aliases");
            self.report.push(Problem::error(Code::AliasBudget, span, message));
            return Err(Halt);
        }
        let (node, nodes) = (anchor.node.clone(), anchor.nodes);
        self.spend(nodes, span)?;
        Ok(node)
    }

    fn spend(&mut self, nodes: usize, span: Span) -> Result<(), Halt> {
        self.nodes += nodes;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("more than {MAX_NODES} values, counting every use of an alias");
        self.report.push(Problem::error(Code::AliasBudget, span, message).help("split the file or use fewer aliases"));
        Err(Halt)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Halt> {
        let mut items = Vec::new();
        loop {
            match self.expect()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Mapping, Halt> {
        let mut mapping = Mapping::new();
        let (mut merges, mut merged) = (Vec::new(), None);
        loop {
            let (event, key_span) = self.expect()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = is_merge_key(&event);
            let key = self.node(event, key_span, depth + 1)?;
            let (event, value_span) = self.expect()?;
            let mut value = self.node(event, value_span, depth + 1)?;
            if value.span.start == value.span.end && value.is_null() {
                // Nothing is written: the key is the only place to point at.
                value.span = key_span;
            }
            if is_merge {
                if let Some(first) = merged {
                    let problem = Problem::error(Code::DuplicateKey, key.span, "the key `<<` stands here twice");
                    let problem = problem.also(first, "first written here");
                    self.report.push(problem.help("merge several mappings with a list: `<<: [*a, *b]`"));
                }
                merged = Some(key.span);
                merges.push(value);
            } else if let Some(name) = self.key_text(&key) {
                self.insert(&mut mapping, name, Entry { key: key.span, value });
            }
        }
        for value in merges {
            self.merge(&mut mapping, value);
        }
        Ok(mapping)
    }

    fn key_text(&mut self, key: &Node) -> Option<Arc<str>> {
        match key.as_scalar() {
            Some(scalar) if scalar.value == Value::Text => Some(Arc::clone(&scalar.text)),
            Some(scalar) => {
                let quoted = format!("\"{}\"", scalar.text);
                let message = format!("the key `{}` is not text", scalar.text);
                let problem = Problem::error(Code::WrongType, key.span, message);
                self.report.push(problem.help("put it in quotes").patch(key.span, quoted));
                None
            }
            None => {
                self.report.push(Problem::error(Code::WrongType, key.span, "a key must be text, not a collection"));
                None
            }
        }
    }

    fn insert(&mut self, mapping: &mut Mapping, name: Arc<str>, entry: Entry) {
        match mapping.entry(name) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(slot) => {
                let message = format!("the key `{}` stands here twice", slot.key());
                let problem = Problem::error(Code::DuplicateKey, entry.key, message);
                let problem = problem.also(slot.get().key, "first written here");
                self.report.push(problem.help("keep one of them, or merge what stands under both"));
            }
        }
    }

    /// `<<`: what is written in the mapping itself wins, then the first of a list.
    fn merge(&mut self, mapping: &mut Mapping, value: Node) {
        match value.kind {
            Kind::Mapping(from) => {
                for (name, entry) in from {
                    match mapping.entry(name) {
                        Slot::Vacant(slot) => {
                            slot.insert(entry);
                        }
                        // `!reset` takes the mapping's own key away, so that of `<<` is left. What earlier files say is
                        // gone all the same.
                        Slot::Occupied(mut slot) if slot.get().value.tag == Tag::Reset => {
                            let value = Node { tag: Tag::Override, ..entry.value };
                            slot.insert(Entry { value, ..entry });
                        }
                        Slot::Occupied(_) => {}
                    }
                }
            }
            Kind::Sequence(list) => {
                for item in list {
                    match item.kind {
                        Kind::Mapping(_) => self.merge(mapping, item),
                        Kind::Scalar(_) | Kind::Sequence(_) => self.merge_problem(item.span),
                    }
                }
            }
            Kind::Scalar(_) => self.merge_problem(value.span),
        }
    }

    fn merge_problem(&mut self, span: Span) {
        let problem = Problem::error(Code::WrongType, span, "`<<` takes a mapping or a list of mappings");
        self.report.push(problem.help("write `<<: *name` where `&name` marks a mapping"));
    }

    /// The merge instruction and the core type of a tag.
    fn tag<'t>(&mut self, tag: Option<&'t granit_parser::Tag>, span: Span) -> (Tag, Option<&'t str>) {
        let Some(tag) = tag else { return (Tag::None, None) };
        match (tag.core_suffix(), tag.parts()) {
            (Some(core), _) => (Tag::None, Some(core)),
            (None, ("tag:yaml.org,2002:", "merge")) => (Tag::None, Some("str")),
            (None, ("!", "reset")) => (Tag::Reset, None),
            (None, ("!", "override")) => (Tag::Override, None),
            // A lone `!` only says "not plain".
            (None, ("!", "") | ("", "!")) => (Tag::None, Some("str")),
            _ => {
                let message = format!("the tag `{}` has no meaning here and is ignored", tag.original());
                let problem = Problem::warning(Code::CustomTag, span, message);
                self.report.push(problem.help("`!reset` and `!override` are the tags of the Compose language"));
                (Tag::None, None)
            }
        }
    }

    /// What a word processor makes of a quote is an ordinary letter to YAML.
    fn warn_of_quote(&mut self, text: &str, style: ScalarStyle, span: Span) {
        let Some(quote) = text.chars().next().filter(|first| "“”„‘’".contains(*first)) else { return };
        if style == ScalarStyle::Plain {
            let message = format!("`{quote}` is not a quote of YAML, but a part of the value");
            let problem = Problem::warning(Code::TypographicQuote, span, message);
            self.report.push(problem.help("write plain quotes: `\"` or `'`"));
        }
    }

    fn scalar(&self, text: Cow<'a, str>, style: ScalarStyle, core: Option<&str>, tag: Tag, span: Span) -> Node {
        let source = self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
        let plain = style == ScalarStyle::Plain;
        // The parser gives `~` for a value that is not there.
        let text = if plain && source.is_empty() { Cow::Borrowed("") } else { text };
        let value = match core {
            Some("str") => Value::Text,
            Some(_) => resolve(&text),
            None if plain => resolve(&text),
            None => Value::Text,
        };
        let inner = source.get(1..source.len().saturating_sub(1));
        let layout = if source == text {
            Layout::Verbatim(span.start)
        } else if inner == Some(&text) {
            Layout::Verbatim(span.start + 1)
        } else {
            Layout::Opaque
        };
        Node { kind: Kind::Scalar(Scalar { value, text: text.into(), layout }), span, tag }
    }
}

/// `<<` written plainly, or with the tag that says so.
fn is_merge_key(event: &Event<'_>) -> bool {
    match event {
        Event::Scalar(text, style, _, tag) if text == "<<" => match tag {
            None => *style == ScalarStyle::Plain,
            Some(tag) => tag.parts() == ("tag:yaml.org,2002:", "merge"),
        },
        _ => false,
    }
}

/// The event of a block collection is empty and stands on its first character.
fn first_token(span: Span, text: &str) -> Span {
    let rest = text.get(span.start as usize..).unwrap_or_default();
    let width = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    Span { end: span.start + narrow(width), ..span }
}

fn height(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar(_) => 0,
        Kind::Sequence(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Kind::Mapping(mapping) => 1 + mapping.values().map(|entry| height(&entry.value)).max().unwrap_or(0),
    }
}
