//! Interpolation of a whole tree. Keys are left as they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::template::{Expanded, Failure, FailureKind, expand};
use crate::report::{Code, Problem, Report};
use crate::text::{Span, narrow};
use crate::variables::Variables;
use crate::yaml::{Kind, Layout, Node, Piece, Value};

/// Bytes that the values of one load may grow by: an alias bomb can repeat a variable too.
const MAX_TOTAL: usize = 16 << 20;

/// Replaces `${…}` in every text below `node`.
pub(crate) fn interpolate(node: &mut Node, variables: &Variables, report: &mut Report) {
    let mut walk = Walk { variables, report, warned: BTreeSet::new(), total: 0 };
    walk.node(node);
}

struct Walk<'a> {
    variables: &'a Variables,
    report: &'a mut Report,
    /// One warning a variable is enough.
    warned: BTreeSet<String>,
    total: usize,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.kind {
            Kind::Sequence(items) => items.iter_mut().for_each(|item| self.node(item)),
            Kind::Mapping(mapping) => mapping.values_mut().for_each(|entry| self.node(&mut entry.value)),
            Kind::Scalar(scalar) => {
                if scalar.value == Value::Text && scalar.text.contains('$') {
                    self.scalar(node);
                }
            }
        }
    }

    fn scalar(&mut self, node: &mut Node) {
        let template = node.as_text().map(Arc::<str>::from).unwrap_or_default();
        let expanded = match expand(&template, &|name| self.variables.get(name)) {
            Ok(expanded) => expanded,
            Err(failure) => {
                self.report.push(template_problem(&failure, node.part(failure.source.clone())));
                return;
            }
        };
        self.total += expanded.text.len();
        if self.total > MAX_TOTAL {
            if self.total - expanded.text.len() <= MAX_TOTAL {
                let message = format!("the values of the project grow beyond {} MiB by interpolation", MAX_TOTAL >> 20);
                self.report.push(Problem::error(Code::AliasBudget, node.span, message));
            }
            return;
        }
        for unset in &expanded.unset {
            if self.warned.insert(unset.name.clone()) {
                let message = format!("the variable `{}` is not set: it becomes an empty text", unset.name);
                let problem = Problem::warning(Code::UnsetVariable, node.part(unset.source.clone()), message);
                self.report.push(problem.help(format!("set it in `.env`, or write `${{{}:-default}}`", unset.name)));
            }
        }
        replace(node, expanded);
    }
}

fn replace(node: &mut Node, expanded: Expanded) {
    let pieces: Vec<Piece> = expanded
        .pieces
        .iter()
        .map(|stretch| {
            let span = node.part(stretch.source.clone());
            // Where the token has escapes its parts have no places of their own.
            let literal = stretch.literal && (span.end - span.start) as usize == stretch.source.len();
            Piece { end: narrow(stretch.end), span, literal }
        })
        .collect();
    if let Kind::Scalar(scalar) = &mut node.kind {
        scalar.text = expanded.text.into();
        scalar.layout = Layout::Pieces(pieces.into());
    }
}

/// What to say about a template that has no value.
pub(crate) fn template_problem(failure: &Failure, span: Span) -> Problem {
    match &failure.kind {
        FailureKind::Required { name, message } => {
            let said = if message.is_empty() { String::new() } else { format!(": {message}") };
            let problem = Problem::error(
                Code::RequiredVariable,
                span,
                format!("required variable `{name}` is missing a value{said}"),
            );
            problem.help(format!("set it in `.env` or in the environment: `{name}=…`"))
        }
        FailureKind::Unclosed => Problem::error(Code::InterpolationFormat, span, "this `${` is never closed by `}`")
            .help("close it, or write `$$` for a `$` that is meant literally"),
        FailureKind::Format => Problem::error(Code::InterpolationFormat, span, "invalid interpolation format")
            .reason("after `${` comes a name, and then `}` or one of `:-` `-` `:+` `+` `:?` `?`")
            .help("write `$$` for a `$` that is meant literally"),
        FailureKind::Limit => {
            Problem::error(Code::AliasBudget, span, "this value is nested too deep or grows too long by interpolation")
        }
    }
}
