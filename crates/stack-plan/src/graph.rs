//! Which service depends on which.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graphmap::DiGraphMap;
use stack_model::{Desired, Service, ServiceName};

/// These services, what they depend on, what that depends on. Those that are `alone` bring nothing along.
pub fn with_dependencies<'a, 'n>(
    desired: &'a Desired,
    services: impl IntoIterator<Item = &'n ServiceName>,
    alone: impl Fn(&ServiceName) -> bool,
) -> BTreeSet<&'a ServiceName> {
    let needs = |name: &ServiceName, service: &'a Service| {
        if alone(name) { Vec::new() } else { service.depends_on.keys().collect() }
    };
    closure(desired, services, needs)
}

/// These services, what they need, what that needs.
pub(crate) fn closure<'a, 'n>(
    desired: &'a Desired,
    services: impl IntoIterator<Item = &'n ServiceName>,
    needs: impl Fn(&ServiceName, &'a Service) -> Vec<&'a ServiceName>,
) -> BTreeSet<&'a ServiceName> {
    let find = |name: &ServiceName| desired.services.get_key_value(name);
    let mut open: Vec<_> = services.into_iter().filter_map(find).collect();
    let mut found = BTreeSet::new();
    while let Some((name, service)) = open.pop() {
        if found.insert(name) {
            open.extend(needs(name, service).into_iter().filter_map(find));
        }
    }
    found
}

/// The dependency graph without its cycles. An edge leads from a dependency to what depends on it.
#[derive(Debug)]
pub(crate) struct Dependencies<'a> {
    graph: DiGraphMap<&'a ServiceName, ()>,
    order: Vec<&'a ServiceName>,
    cycles: Vec<String>,
}

impl<'a> Dependencies<'a> {
    pub(crate) fn new(desired: &'a Desired) -> Self {
        let mut graph = DiGraphMap::with_capacity(desired.services.len(), desired.services.len());
        // The topological sort turns the order of independent nodes around; backwards in, they come out by name.
        for name in desired.services.keys().rev() {
            graph.add_node(name);
        }
        for (name, service) in desired.services.iter().rev() {
            for dependency in service.depends_on.keys() {
                if let Some((dependency, _)) = desired.services.get_key_value(dependency) {
                    graph.add_edge(dependency, name, ());
                }
            }
        }
        let cycles = break_cycles(&mut graph);
        // Without a cycle a topological order exists; by name is a harmless answer to the impossible.
        let order = toposort(&graph, None).unwrap_or_else(|_| desired.services.keys().collect());
        Self { graph, order, cycles }
    }

    /// All services, dependencies first, otherwise by name.
    pub(crate) fn order(&self) -> &[&'a ServiceName] {
        &self.order
    }

    /// What was found going round in circles. The loader refuses such input; these edges are left out.
    pub(crate) fn cycles(&self) -> &[String] {
        &self.cycles
    }

    /// `dependent` waits for `dependency`. Not so for edges of a cycle.
    pub(crate) fn holds(&self, dependency: &'a ServiceName, dependent: &'a ServiceName) -> bool {
        self.graph.contains_edge(dependency, dependent)
    }

    /// What depends on `service` directly.
    pub(crate) fn dependents(&self, service: &'a ServiceName) -> impl Iterator<Item = &'a ServiceName> {
        self.graph.neighbors_directed(service, Direction::Outgoing)
    }
}

fn break_cycles(graph: &mut DiGraphMap<&ServiceName, ()>) -> Vec<String> {
    let mut cycles = Vec::new();
    for component in tarjan_scc(&*graph) {
        let inner: Vec<_> = component
            .iter()
            .flat_map(|&from| component.iter().map(move |&to| (from, to)))
            .filter(|&(from, to)| graph.contains_edge(from, to))
            .collect();
        if inner.is_empty() {
            continue;
        }
        let mut names: Vec<&str> = component.iter().map(|name| name.as_str()).collect();
        names.sort_unstable();
        cycles.push(format!("depends_on goes round in a circle and is ignored between: {}", names.join(", ")));
        for (from, to) in inner {
            graph.remove_edge(from, to);
        }
    }
    cycles.sort();
    cycles
}
