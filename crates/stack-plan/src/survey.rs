//! For each replica: what there is, and what is to become of it.

use std::collections::BTreeMap;

use stack_model::{
    Cause, Container, ContainerId, Desired, Effect, Endpoint, Failure, Fault, ImageFacts, Joint, Key, NetworkName, Now,
    ObservedContainer, Power, PullPolicy, Service, ServiceName, State, Until,
};

use crate::allot::Slot;
use crate::classify::{Change, compare, most_severe};
use crate::draft::Frame;
use crate::graph::Dependencies;
use crate::network::{Segment, Standing};
use crate::resolve;

/// A replica of a service that the input wants.
#[derive(Debug)]
pub(crate) struct Replica<'a> {
    pub(crate) slot: Slot<'a>,
    pub(crate) service: &'a Service,
    /// The container that stands for it.
    pub(crate) current: Option<&'a ObservedContainer>,
    /// Further containers of the same number: half-made ones and duplicates.
    pub(crate) surplus: Vec<&'a ObservedContainer>,
    pub(crate) verdict: Verdict,
    /// What differs and can be changed in place.
    pub(crate) changes: Vec<Change>,
    /// The container that will stand for it, or why there cannot be one yet.
    pub(crate) fresh: Option<Result<Fresh, Until>>,
    /// The record that the current container should have, where it differs, or why it cannot have it.
    pub(crate) record: Option<Result<Box<Container>, Failure>>,
    /// The containers whose network and namespaces it is in.
    pub(crate) leaders: BTreeMap<Joint, Leader>,
}

/// A container that another one has something of.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    pub(crate) key: Key,
    pub(crate) id: ContainerId,
    pub(crate) hostname: String,
    /// When the process that it has now was started.
    pub(crate) started: Option<Now>,
}

/// A container to be created.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) container: Container,
    /// Containers that must let go of an address first.
    pub(crate) holders: Vec<ContainerId>,
}

/// What is to become of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is none and there should be.
    Create,
    /// It stays; live changes aside.
    Keep,
    /// A new container takes its place.
    Replace(Cause),
    /// The process is restarted in the same container.
    Restart(Cause),
    /// It should not run; its container stays.
    Off,
}

/// All replicas and what belongs to none.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    /// By service and number.
    pub(crate) replicas: BTreeMap<Slot<'a>, Replica<'a>>,
    /// Containers that nothing wants.
    pub(crate) unwanted: Vec<&'a ObservedContainer>,
}

impl<'a> Replica<'a> {
    pub(crate) fn key(&self) -> Key {
        Key::Container(self.slot.0.clone(), self.slot.1)
    }

    /// Takes note of whose network and namespaces it is in. They go with their containers, and whoever is in them has to
    /// follow; the namespaces go with the process already, and a network outlives it.
    pub(crate) fn join(&mut self, leaders: BTreeMap<Joint, Leader>) {
        self.leaders = leaders;
        let Some(current) = self.current.filter(|_| !self.is_left_alone()) else { return };
        if !matches!(self.verdict, Verdict::Keep | Verdict::Restart(_)) {
            return;
        }
        let other = self.leaders.iter().find(|(what, leader)| current.container.joins.get(what) != Some(&leader.id));
        if let Some((_, leader)) = other {
            self.verdict = Verdict::Replace(Cause::Follows(leader.key.clone()));
            self.changes.clear();
            return;
        }
        let State::Running { started: own, .. } = current.state else { return };
        let is_anew =
            |(what, leader): &(&Joint, &Leader)| **what != Joint::Network && leader.started.is_some_and(|it| it > own);
        if self.verdict == Verdict::Keep
            && let Some((_, leader)) = self.leaders.iter().find(is_anew)
        {
            self.verdict = Verdict::Restart(Cause::Follows(leader.key.clone()));
        }
    }

    /// The current container goes away or ends, and that may begin now.
    pub(crate) fn is_leaving(&self) -> bool {
        match self.verdict {
            Verdict::Create | Verdict::Keep => self.current.is_some_and(is_stopping),
            Verdict::Replace(_) => self.is_renewed() || self.service.power == Power::Off,
            Verdict::Restart(_) => true,
            Verdict::Off => self.current.is_some_and(ObservedContainer::is_running),
        }
    }

    /// It is replaced or restarted on purpose, and that may begin now.
    pub(crate) fn is_renewed(&self) -> bool {
        match self.verdict {
            Verdict::Create | Verdict::Keep | Verdict::Off => false,
            Verdict::Replace(_) => matches!(self.fresh, Some(Ok(_))),
            Verdict::Restart(_) => self.current.is_some(),
        }
    }

    /// Somebody has asked for a restart of this service and of no other.
    fn is_restarted_alone(&self) -> bool {
        self.service.restart_alone && matches!(&self.verdict, Verdict::Restart(Cause::Requested(_)))
    }

    /// Nothing is changed about it and nothing follows from what happens around it: it is frozen, or runs but once.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.service.power == Power::Paused || self.service.one_off.is_some()
    }

    /// The container stays what it is, also because what should replace it cannot be made.
    pub(crate) fn stays(&self) -> bool {
        match self.verdict {
            Verdict::Create | Verdict::Restart(_) | Verdict::Off => false,
            Verdict::Keep => true,
            Verdict::Replace(_) => !self.is_renewed() && self.service.power != Power::Off,
        }
    }
}

/// It has been asked to stop and has not ended yet.
pub(crate) fn is_stopping(container: &ObservedContainer) -> bool {
    matches!(container.state, State::Running { stopping: Some(_), .. })
}

/// A container that something died over.
pub(crate) fn is_half_made(container: &ObservedContainer) -> bool {
    match container.state {
        State::Creating | State::Removing => true,
        State::Created | State::Running { .. } | State::Exited { .. } => false,
    }
}

/// Sorts the containers and judges each replica.
pub(crate) fn survey<'a>(frame: Frame<'a>, segments: &BTreeMap<&'a NetworkName, Segment<'a>>) -> Survey<'a> {
    let (mut present, unwanted) = sort(frame);
    let mut replicas = BTreeMap::new();
    for (name, service) in &frame.desired.services {
        for index in 1..=service.replicas {
            let mut list = present.remove(&(name, index)).unwrap_or_default();
            let current = take_current(&mut list);
            let mut replica = Replica {
                slot: (name, index),
                service,
                current,
                surplus: list,
                verdict: Verdict::Create,
                changes: Vec::new(),
                fresh: None,
                record: None,
                leaders: BTreeMap::new(),
            };
            judge(frame, segments, &mut replica);
            replicas.insert((name, index), replica);
        }
    }
    let mut survey = Survey { replicas, unwanted };
    precede(&mut survey);
    survey
}

/// What runs before a service runs once more when all of the service was stopped on purpose since, and is to start again.
/// What comes back by its restart policy does not ask for it.
fn precede(survey: &mut Survey<'_>) {
    let mut again = Vec::new();
    for (slot, replica) in &survey.replicas {
        let Some(service) = &replica.service.before else { continue };
        let Some(State::Exited { finished, .. }) = replica.current.map(|current| &current.state) else { continue };
        let mut followers = replicas_of(survey, service).filter_map(|follower| {
            let stopped = match follower.current.map(|current| &current.state) {
                Some(State::Exited { exit, finished, .. }) if exit.requested => Some(*finished),
                Some(_) | None => None,
            };
            (follower.service.power == Power::On).then_some((follower.key(), stopped))
        });
        let Some((key, first)) = followers.next() else { continue };
        let last = followers.fold(first, |last, (_, stopped)| last.zip(stopped).map(|(a, b)| a.max(b)));
        if replica.verdict == Verdict::Keep && last.is_some_and(|last| last > *finished) {
            again.push((*slot, key));
        }
    }
    for (slot, key) in again {
        if let Some(replica) = survey.replicas.get_mut(&slot) {
            replica.verdict = Verdict::Restart(Cause::Follows(key));
        }
    }
}

type Present<'a> = BTreeMap<Slot<'a>, Vec<&'a ObservedContainer>>;

fn sort<'a>(frame: Frame<'a>) -> (Present<'a>, Vec<&'a ObservedContainer>) {
    let (mut present, mut unwanted): (Present<'a>, Vec<_>) = (BTreeMap::new(), Vec::new());
    for container in frame.observed.containers.values() {
        let (name, index) = (&container.container.service, container.container.index);
        match frame.desired.services.get(name) {
            Some(service) if (1..=service.replicas).contains(&index) => {
                present.entry((name, index)).or_default().push(container);
            }
            Some(_) | None => unwanted.push(container),
        }
    }
    // The highest number goes first.
    unwanted.sort_by(|a, b| {
        let slot = |one: &'a ObservedContainer| (&one.container.service, u32::MAX - one.container.index);
        slot(a).cmp(&slot(b))
    });
    (present, unwanted)
}

/// The container that stands for the replica: what runs, before what ran, before what never ran; then the youngest.
fn take_current<'a>(list: &mut Vec<&'a ObservedContainer>) -> Option<&'a ObservedContainer> {
    let rank = |container: &ObservedContainer| match container.state {
        State::Running { .. } => Some(3),
        State::Exited { .. } => Some(2),
        State::Created => Some(1),
        State::Creating | State::Removing => None,
    };
    let best = list
        .iter()
        .enumerate()
        .filter_map(|(place, container)| Some((rank(container)?, container.container.created, place)));
    let (_, _, place) = best.max()?;
    Some(list.remove(place))
}

fn judge<'a>(frame: Frame<'a>, segments: &BTreeMap<&'a NetworkName, Segment<'a>>, replica: &mut Replica<'a>) {
    let service = replica.service;
    let Some(current) = replica.current else {
        if matches!(service.power, Power::Off | Power::Paused) {
            replica.verdict = Verdict::Off;
        }
        return;
    };
    if replica.is_left_alone() {
        replica.verdict = if service.power == Power::Off { Verdict::Off } else { Verdict::Keep };
        return;
    }
    let container = &current.container;
    let facts = frame.observed.images.get(&service.container.image);
    let mut changes = compare(&container.spec, &service.container);
    soften(&mut changes, container, service, facts);
    let severe =
        most_severe(&changes).filter(|change| change.effect >= Effect::Replace).map(|change| cause(service, change));
    let differs = severe.or_else(|| facts.and_then(|facts| moved_tag(service, container, facts)));
    if service.keep {
        // Its record goes on saying what it is.
        changes.clear();
    }
    let cause = differs
        .filter(|_| !service.keep)
        .or_else(|| is_renewal_asked(service, container).then(|| Cause::Requested("recreate".to_owned())))
        .or_else(|| stale_network(segments, &container.endpoints))
        .or_else(|| shared_address(frame, container))
        .or_else(|| other_volumes(frame, replica.slot, service, container));
    replica.verdict = match cause {
        Some(cause @ Cause::Follows(_)) if service.power == Power::Off => Verdict::Replace(cause),
        // What is off is changed when it is turned on.
        _ if service.power == Power::Off => Verdict::Off,
        Some(cause) => Verdict::Replace(cause),
        None => {
            replica.changes = changes;
            if service.restart_request > container.restart_request && current.state != State::Created {
                Verdict::Restart(Cause::Requested("restart".to_owned()))
            } else {
                Verdict::Keep
            }
        }
    };
}

/// Somebody has asked for another container since this one was made.
fn is_renewal_asked(service: &Service, container: &Container) -> bool {
    service.recreate_request > container.recreate_request || service.renew_request > container.renew_request
}

/// The cause that a change of a field is.
pub(crate) fn cause(service: &Service, change: &Change) -> Cause {
    let Change { field, effect: _, old, new } = change;
    Cause::Changed {
        origin: service.origin_of(field).clone(),
        field: field.clone(),
        old: old.clone(),
        new: new.clone(),
    }
}

/// Fields that only lead to the same process in other words need no new container.
fn soften(changes: &mut [Change], container: &Container, service: &Service, facts: Option<&ImageFacts>) {
    let Some(facts) = facts.filter(|facts| facts.id == container.image) else { return };
    let is_process = |field: &str| {
        field.starts_with("environment.")
            || ["command", "entrypoint", "working_dir", "user", "hostname", "image"].contains(&field)
    };
    if !changes.iter().any(|change| change.effect == Effect::Replace && is_process(&change.field)) {
        return;
    }
    let Ok(mut process) = resolve::process(&service.container, &facts.config, &container.id) else { return };
    process.stop_signal = container.process.stop_signal;
    process.domainname.clone_from(&container.process.domainname);
    process.extra_hosts.clone_from(&container.process.extra_hosts);
    if process == container.process {
        for change in changes.iter_mut().filter(|change| is_process(&change.field)) {
            change.effect = Effect::Live;
        }
    }
}

/// The reference is the same and the image behind it is not, and was not when the input was accepted: a build or pull
/// since then waits for the next one.
fn moved_tag(service: &Service, container: &Container, facts: &ImageFacts) -> Option<Cause> {
    if facts.id == container.image || service.accepted_image.as_ref() == Some(&container.image) {
        return None;
    }
    let digest = |id: &stack_model::ImageId| {
        let hex = id.as_str().strip_prefix("sha256:").unwrap_or(id.as_str());
        hex.chars().take(12).collect::<String>()
    };
    let name = &service.container.image;
    Some(Cause::Changed {
        origin: service.origin_of("image").clone(),
        field: "image".to_owned(),
        old: format!("{name} ({})", digest(&container.image)),
        new: format!("{name} ({})", digest(&facts.id)),
    })
}

fn stale_network(segments: &BTreeMap<&NetworkName, Segment<'_>>, endpoints: &[Endpoint]) -> Option<Cause> {
    let stale =
        endpoints.iter().find(|endpoint| segments.get(&endpoint.network).is_some_and(|it| it.is_stale(endpoint)))?;
    Some(Cause::Follows(Key::Network(stale.network.clone())))
}

fn other_volumes(frame: Frame<'_>, slot: Slot<'_>, service: &Service, container: &Container) -> Option<Cause> {
    let from = &service.container.volumes_from.first()?.service;
    let other = resolve::has_other_mounts(frame, slot, service, container);
    other.then(|| Cause::Follows(Key::Container(from.clone(), 1)))
}

/// Two projects have given one address of a network that they share at the same time: the greater identifier gives in.
fn shared_address(frame: Frame<'_>, container: &Container) -> Option<Cause> {
    let neighbours = &frame.observed.host.neighbours;
    let clashes = |endpoint: &&Endpoint| {
        let same = neighbours.iter().find(|it| it.bridge == endpoint.bridge && it.address == endpoint.address.addr());
        same.is_some_and(|other| other.id < container.id)
    };
    let endpoint = container.endpoints.iter().find(clashes)?;
    Some(Cause::Follows(Key::Network(endpoint.network.clone())))
}

/// Restarts what asks to be restarted together with a dependency. Dependencies first, so that it reaches far.
pub(crate) fn follow<'a>(survey: &mut Survey<'a>, desired: &'a Desired, graph: &Dependencies<'a>) {
    for &name in graph.order() {
        let service = &desired.services[name];
        let restarting = service.depends_on.iter().filter(|(_, dependency)| dependency.restart);
        let leader = restarting
            .filter_map(|(dependency, _)| desired.services.get_key_value(dependency))
            .filter(|(dependency, _)| graph.holds(dependency, name))
            .find_map(|(dependency, _)| {
                let replicas = survey.replicas.range((dependency, 0)..=(dependency, u32::MAX));
                let mut replicas = replicas.map(|(_, replica)| replica);
                replicas.find(|replica| replica.is_renewed() && !replica.is_restarted_alone()).map(Replica::key)
            });
        let Some(leader) = leader else { continue };
        for (_, replica) in survey.replicas.range_mut((name, 0)..=(name, u32::MAX)) {
            let runs = replica.current.is_some_and(ObservedContainer::is_running);
            if runs && replica.stays() && !replica.is_left_alone() {
                replica.verdict = Verdict::Restart(Cause::Follows(leader.clone()));
                replica.fresh = None;
            }
        }
    }
}

/// A network whose subnet changes goes away and comes back, so everything on it must be replaceable at once; a bad image
/// of one container must not leave the others without their network.
pub(crate) fn hold_networks(survey: &mut Survey<'_>, segments: &mut BTreeMap<&NetworkName, Segment<'_>>) {
    loop {
        let is_stuck = |name: &NetworkName, replica: &Replica<'_>| {
            let current = replica.current.is_some_and(|current| is_on(&current.container, name));
            current && matches!(replica.verdict, Verdict::Replace(_)) && matches!(replica.fresh, Some(Err(_)))
        };
        let stuck = segments.iter_mut().find(|(name, segment)| {
            segment.standing == Standing::Outdated && survey.replicas.values().any(|replica| is_stuck(name, replica))
        });
        let Some((name, segment)) = stuck else { return };
        segment.standing = Standing::Held;
        for replica in survey.replicas.values_mut() {
            if matches!(&replica.fresh, Some(Ok(fresh)) if is_on(&fresh.container, name)) {
                replica.fresh = Some(Err(Until::Done(Key::Network((*name).clone()))));
            }
        }
    }
}

fn is_on(container: &Container, network: &NetworkName) -> bool {
    container.endpoints.iter().any(|endpoint| endpoint.network == *network)
}

/// Why an image that is not in the store keeps a container from being made.
pub(crate) fn lacking_image(service: &Service) -> Until {
    let image = &service.container.image;
    if let Some(build) = &service.build {
        let text = format!("image {image} has not been built yet from {}", build.context.display());
        return Until::Failed(Failure::new(Fault::Missing, text).hint("run `stack up`, which builds it"));
    }
    match service.container.pull_policy {
        // Without `build` in the file there is nothing to build it from: docker compose fetches it, too.
        PullPolicy::Missing | PullPolicy::Always | PullPolicy::Every(_) | PullPolicy::Build => {
            Until::Image(image.clone())
        }
        PullPolicy::Never => Until::Failed(
            Failure::new(Fault::Missing, format!("image {image} is not in the store and `pull_policy` is `never`"))
                .hint("run `stack load`, or change `pull_policy`"),
        ),
    }
}

/// The replicas of one service, by number.
pub(crate) fn replicas_of<'s, 'a>(
    survey: &'s Survey<'a>,
    service: &'a ServiceName,
) -> impl Iterator<Item = &'s Replica<'a>> {
    survey.replicas.range((service, 0)..=(service, u32::MAX)).map(|(_, replica)| replica)
}
