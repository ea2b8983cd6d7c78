//! Containers of other projects on bridges that this one has to do with: their addresses are taken, and their names are
//! known there.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{Bridge, IfName, Layout, Neighbour, ObservedNetwork, ProjectName, State};

/// What decides whether anybody else is to be looked for.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// Bridges of the project.
    pub(crate) own: Vec<&'a ObservedNetwork>,
    /// All others.
    pub(crate) others: &'a [Bridge],
    /// Names of networks that the project joins and does not make.
    pub(crate) joined: &'a BTreeSet<String>,
    /// Interfaces of the project's own containers.
    pub(crate) interfaces: BTreeSet<&'a IfName>,
    /// Every port of a bridge, with that bridge.
    pub(crate) ports: &'a BTreeMap<IfName, IfName>,
}

/// Looks at the records of other projects, if somebody of them can be near.
pub(crate) fn find(layout: &Layout, project: &ProjectName, around: &Surroundings<'_>) -> Vec<Neighbour> {
    let joined = around.others.iter().filter(|other| {
        around.joined.contains(&other.name) || around.joined.iter().any(|name| *name == other.bridge.as_str())
    });
    let joined: BTreeSet<&IfName> = joined.map(|bridge| &bridge.bridge).collect();
    let visited = around
        .own
        .iter()
        .map(|network| &network.bridge)
        .filter(|bridge| around.ports.iter().any(|(port, on)| on == *bridge && !around.interfaces.contains(port)));
    let bridges: BTreeSet<&IfName> = visited.chain(joined.iter().copied()).collect();
    if bridges.is_empty() {
        return Vec::new();
    }
    let entries = fs_err::read_dir(layout.projects()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()).map(|name| ProjectName::new(&name));
    let mut found = Vec::new();
    for other in names.filter(|name| name != project) {
        // A project that goes away meanwhile has no containers.
        for (container, state) in stack_runtime::observe_containers(layout, &other).unwrap_or_default() {
            let runs = matches!(state, State::Running { .. });
            for endpoint in container.endpoints.iter().filter(|endpoint| bridges.contains(&endpoint.bridge)) {
                found.push(Neighbour {
                    id: container.id.clone(),
                    bridge: endpoint.bridge.clone(),
                    address: endpoint.address.addr(),
                    address6: endpoint.address6.map(|address| address.addr()),
                    names: endpoint.names.clone(),
                    runs,
                });
            }
        }
    }
    found.sort_by(|a, b| (&a.id, &a.bridge).cmp(&(&b.id, &b.bridge)));
    found
}
