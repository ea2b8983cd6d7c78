//! What the project shows to its network as a whole, rendered from all containers that run or are about to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use stack_model::{
    Action, Cause, Container, Effect, Hosts, Key, Names, NetworkName, NetworkRules, PublishedPort, Ruleset, State, View,
};

use crate::allot::{Slot, addresses_overlap};
use crate::arrive::Arrivals;
use crate::draft::{Draft, Frame, Handle, Reason};
use crate::leave::Departures;
use crate::network::{Segment, Standing};
use crate::survey::Survey;

/// A container that is there when the plan is done, and whether it runs now.
struct Present<'p> {
    container: &'p Container,
    runs: bool,
}

pub(crate) struct Surface<'d, 'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) survey: &'d Survey<'a>,
    pub(crate) segments: &'d BTreeMap<&'a NetworkName, Segment<'a>>,
    pub(crate) departures: &'d Departures<'a>,
    pub(crate) arrivals: &'d Arrivals<'a>,
    pub(crate) expected: BTreeSet<Slot<'a>>,
}

impl<'a> Surface<'_, 'a> {
    pub(crate) fn publish(&self, draft: &mut Draft<'a>) {
        if self.may_wait(draft) {
            return;
        }
        let present = self.present();
        self.publish_rules(draft, &present);
        self.publish_names(draft, &present);
    }

    /// Nothing comes and something still goes: what is shown loses a little with every end, and each loss would cost a
    /// rendering of the whole. The plan after the last end shows what is left.
    fn may_wait(&self, draft: &Draft<'a>) -> bool {
        let observed = self.frame.observed;
        observed.ruleset.is_some() && observed.names.is_some() && self.departures.is_ending() && !draft.brings()
    }

    fn present(&self) -> Vec<Present<'_>> {
        let mut present = Vec::with_capacity(self.frame.observed.containers.len());
        for (slot, replica) in &self.survey.replicas {
            match (&replica.fresh, replica.current) {
                (Some(Ok(fresh)), _) if self.arrivals.created.contains_key(slot) => {
                    present.push(Present { container: &fresh.container, runs: false });
                }
                (_, Some(current)) if current.is_running() || self.expected.contains(slot) => {
                    let renewed = match &replica.record {
                        Some(Ok(record)) if self.arrivals.updated.contains_key(slot) => Some(&**record),
                        Some(Ok(_) | Err(_)) | None => None,
                    };
                    let container = renewed.unwrap_or(&current.container);
                    present.push(Present { container, runs: current.is_running() });
                }
                (Some(Ok(_) | Err(_)) | None, Some(_) | None) => {}
            }
        }
        let others = self.survey.replicas.values().flat_map(|replica| &replica.surplus).chain(&self.survey.unwanted);
        let running = others.filter(|container| matches!(container.state, State::Running { .. }));
        present.extend(running.map(|container| Present { container: &container.container, runs: true }));
        present.retain(|it| !self.departures.removed.contains_key(&it.container.id));
        // The order of addresses must not depend on which list a container is in.
        present.sort_by_key(|it| (&it.container.service, it.container.index, &it.container.id));
        present
    }

    fn publish_rules(&self, draft: &mut Draft<'a>, present: &[Present<'_>]) {
        let mut needs: Vec<Handle> = Vec::new();
        let mut rules = Ruleset::default();
        // The rules of a network that someone else makes are that one's.
        for (name, segment) in self.segments.iter().filter(|(_, segment)| !segment.wanted.external) {
            if let (Some(handle), false) =
                (self.arrivals.networks.get(name), matches!(segment.standing, Standing::Refused(_) | Standing::Held))
            {
                needs.extend(handle);
                let plan = &segment.plan;
                let (bridge, subnet) = (plan.bridge.clone(), plan.gateway.trunc());
                let (internal, routed) = (plan.internal, plan.routed && !plan.internal);
                let subnet6 = plan.gateway6.map(|gateway| gateway.trunc());
                rules.networks.insert((*name).clone(), NetworkRules { bridge, subnet, subnet6, internal, routed });
            }
        }
        let seen = self.frame.observed.ruleset.as_ref();
        for name in self.frame.observed.networks.keys() {
            // What is about to go, or cannot change yet, keeps its rules: something may still talk on it.
            if !rules.networks.contains_key(name) && !self.arrivals.removed_networks.contains(name) {
                let old = seen.and_then(|seen| seen.networks.get(name)).cloned();
                rules.networks.extend(old.map(|old| (name.clone(), old)));
            }
        }
        rules.ports = ports(present);
        let presence = Presence {
            was: seen.is_some_and(|seen| !seen.is_empty()),
            is: !rules.is_empty(),
            needed: present.iter().any(|it| it.runs),
        };
        let reason = reason(draft, &presence);
        match seen {
            Some(seen) if *seen == rules => {}
            None if rules.is_empty() => {}
            Some(_) | None => drop(draft.push(Key::Ruleset, Action::ApplyRuleset(rules), reason, needs)),
        }
    }

    fn publish_names(&self, draft: &mut Draft<'a>, present: &[Present<'_>]) {
        let with_network: Vec<&Container> =
            present.iter().map(|it| it.container).filter(|container| !container.endpoints.is_empty()).collect();
        let names = Names {
            networks: self.with_neighbours(by_network(&with_network)),
            views: with_network
                .iter()
                .map(|container| (container.id.clone(), view(container, &with_network)))
                .collect(),
        };
        let seen = self.frame.observed.names.as_ref();
        if seen.map_or(names.views.is_empty(), |seen| *seen == names) {
            return;
        }
        let presence = Presence {
            was: seen.is_some_and(|seen| !seen.views.is_empty()),
            is: !names.views.is_empty(),
            needed: present.iter().any(|it| it.runs),
        };
        let reason = reason(draft, &presence);
        draft.push(Key::Names, Action::PublishNames(names), reason, []);
    }
}

impl Surface<'_, '_> {
    /// The names of other projects' containers are known on the networks that they share with this one.
    fn with_neighbours(&self, mut by_network: BTreeMap<NetworkName, Hosts>) -> BTreeMap<NetworkName, Hosts> {
        for (network, hosts) in &mut by_network {
            let Some(bridge) = self.segments.get(network).map(|segment| &segment.plan.bridge) else { continue };
            let near = self.frame.observed.host.neighbours.iter().filter(|it| it.runs && it.bridge == *bridge);
            for neighbour in near {
                for name in &neighbour.names {
                    let known = hosts.entry(name.to_ascii_lowercase()).or_default();
                    known.push(neighbour.address.into());
                    known.extend(neighbour.address6.map(IpAddr::V6));
                }
            }
        }
        by_network
    }
}

/// Whether there was something before, and whether there is to be something.
struct Presence {
    was: bool,
    is: bool,
    /// A container runs that needs it.
    needed: bool,
}

fn reason(draft: &Draft<'_>, Presence { was, is, needed }: &Presence) -> Reason {
    match (was, is) {
        (_, false) => Reason::new(Effect::Remove, Cause::NotWanted),
        (false, true) if !needed => Reason::new(Effect::New, Cause::Missing),
        (false | true, true) => {
            let cause = match draft.first_key() {
                Some(key) => Cause::Follows(key.clone()),
                None if *was => Cause::Drift("a container has started or ended".to_owned()),
                None => Cause::Drift("lost".to_owned()),
            };
            Reason::new(Effect::Live, cause)
        }
    }
}

/// Ports without clashes: where an old container still holds what a new one will have, the one that runs goes first.
fn ports(present: &[Present<'_>]) -> BTreeSet<PublishedPort> {
    let mut list: Vec<_> =
        present.iter().flat_map(|it| it.container.ports.iter().map(|port| (!it.runs, port))).collect();
    list.sort();
    let mut taken: BTreeMap<_, Vec<&PublishedPort>> = BTreeMap::new();
    for (_, port) in list {
        let same = taken.entry((port.protocol, port.host_port)).or_default();
        if !same.iter().any(|other| addresses_overlap(other.host_ip, port.host_ip)) {
            same.push(port);
        }
    }
    taken.into_values().flatten().cloned().collect()
}

fn by_network(containers: &[&Container]) -> BTreeMap<NetworkName, Hosts> {
    let mut by_network: BTreeMap<NetworkName, Hosts> = BTreeMap::new();
    for container in containers {
        for endpoint in &container.endpoints {
            let hosts = by_network.entry(endpoint.network.clone()).or_default();
            let names: BTreeSet<String> = endpoint.names.iter().map(|name| name.to_ascii_lowercase()).collect();
            for name in names {
                hosts.entry(name).or_default().extend(endpoint.addresses());
            }
        }
    }
    by_network
}

fn view(container: &Container, all: &[&Container]) -> View {
    View {
        networks: container.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect(),
        forward: container.endpoints.iter().any(|endpoint| !endpoint.internal),
        servers: container.spec.dns.servers.clone(),
        links: links(container, all),
    }
}

/// The addresses of linked services on the networks that the container shares with them.
fn links(container: &Container, all: &[&Container]) -> Hosts {
    let mut hosts = Hosts::new();
    let is_shared = |network: &NetworkName| container.endpoints.iter().any(|endpoint| endpoint.network == *network);
    for (alias, service) in &container.spec.links {
        let others = all.iter().filter(|other| other.service == *service).flat_map(|other| &other.endpoints);
        let addresses =
            others.filter(|endpoint| is_shared(&endpoint.network)).flat_map(stack_model::Endpoint::addresses);
        hosts.insert(alias.to_ascii_lowercase(), addresses.collect());
    }
    hosts
}
