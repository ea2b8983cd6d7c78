//! What a key is.

use stack_model as model;

use crate::context::Cx;
use crate::project::Project;
use crate::report::Report;
use crate::service::Service;
use crate::shape::{Field, Merge, Shape};
use crate::yaml::Node;

/// One key of a service, with all its phases in order. Its shape says how it is read, merged and shown.
#[derive(Debug)]
pub(crate) struct ServiceKey {
    pub(crate) field: Field,
    /// The long form to the typed field.
    pub(crate) parse: Option<fn(&Node, &mut Service, &mut Cx<'_>)>,
    /// What only shows when all services are known.
    pub(crate) check: Option<fn(&Service, &Project, &mut Report)>,
    /// The field as the engine wants it. A key without it stands in `support.rs`, or is lowered by another one.
    pub(crate) lower: Option<fn(&Lowering<'_>, &mut model::Service)>,
}

/// What a key may look at to lower itself.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    pub(crate) project: &'a Project,
    pub(crate) service: &'a Service,
}

impl ServiceKey {
    /// A key that is read, merged and shown.
    pub(crate) const fn new(name: &'static str, doc: &'static str, shape: &'static Shape) -> Self {
        Self { field: Field::new(name, doc, shape), parse: None, check: None, lower: None }
    }

    pub(crate) const fn merge(self, merge: Merge) -> Self {
        Self { field: self.field.merge(merge), ..self }
    }

    pub(crate) const fn present(self) -> Self {
        Self { field: self.field.present(), ..self }
    }

    pub(crate) const fn always(self) -> Self {
        Self { field: self.field.always(), ..self }
    }

    pub(crate) const fn hidden(self) -> Self {
        Self { field: self.field.hidden(), ..self }
    }

    pub(crate) const fn parse(self, parse: fn(&Node, &mut Service, &mut Cx<'_>)) -> Self {
        Self { parse: Some(parse), ..self }
    }

    pub(crate) const fn check(self, check: fn(&Service, &Project, &mut Report)) -> Self {
        Self { check: Some(check), ..self }
    }

    pub(crate) const fn lower(self, lower: fn(&Lowering<'_>, &mut model::Service)) -> Self {
        Self { lower: Some(lower), ..self }
    }
}
