//! What a key is.

use serde_json::Value;
use stack_model as model;

use crate::context::Cx;
use crate::project::Project;
use crate::report::Report;
use crate::service::Service;
use crate::yaml::Node;

/// How what two files say under one path becomes one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Merge {
    /// Mappings key by key, lists one after the other, leaves replaced.
    Deep,
    /// The later one replaces the earlier one.
    Replace,
    /// Lists one after the other; a later item replaces an earlier one of the same identity.
    Unique(fn(&Node) -> Option<String>),
    /// A mapping whose values have rules of their own; others merge deeply.
    Fields(&'static [(&'static str, Merge)]),
    /// A mapping with the same rule under every key.
    Each(&'static Merge),
}

/// One key of a service, with all its phases in order.
#[derive(Debug)]
pub(crate) struct ServiceKey {
    pub(crate) name: &'static str,
    /// Short forms to the long one; `None` after a problem was reported.
    pub(crate) canonical: fn(Node, &mut Cx<'_>) -> Option<Node>,
    pub(crate) merge: Merge,
    /// Null has a meaning.
    pub(crate) nullable: bool,
    /// The long form to the typed field.
    pub(crate) parse: fn(&Node, &mut Service, &mut Cx<'_>),
    /// What only shows when all services are known.
    pub(crate) check: fn(&Service, &Project, &mut Report),
    /// The field as `config` shows it.
    pub(crate) render: fn(&Service) -> Option<Value>,
    /// The field as the engine wants it.
    pub(crate) lower: fn(&Lowering<'_>, &mut model::Service),
}

/// What a key may look at to lower itself.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    pub(crate) project: &'a Project,
    pub(crate) service: &'a Service,
}

impl ServiceKey {
    /// A key with one form, which does nothing but being parsed and shown.
    pub(crate) const fn new(
        name: &'static str,
        parse: fn(&Node, &mut Service, &mut Cx<'_>),
        render: fn(&Service) -> Option<Value>,
    ) -> Self {
        Self {
            name,
            canonical: |node, _| Some(node),
            merge: Merge::Deep,
            nullable: false,
            parse,
            check: |_, _, _| {},
            render,
            lower: |_, _| {},
        }
    }

    pub(crate) const fn canonical(self, canonical: fn(Node, &mut Cx<'_>) -> Option<Node>) -> Self {
        Self { canonical, ..self }
    }

    pub(crate) const fn merge(self, merge: Merge) -> Self {
        Self { merge, ..self }
    }

    pub(crate) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    pub(crate) const fn check(self, check: fn(&Service, &Project, &mut Report)) -> Self {
        Self { check, ..self }
    }

    pub(crate) const fn lower(self, lower: fn(&Lowering<'_>, &mut model::Service)) -> Self {
        Self { lower, ..self }
    }
}
