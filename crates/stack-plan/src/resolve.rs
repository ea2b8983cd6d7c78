//! What a new container is: specification and image configuration merged, every choice made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use stack_model::{
    Attachment, Container, ContainerId, ContainerSpec, Endpoint, Failure, Fault, Healthcheck, HostAddress, IfName,
    ImageConfig, ImageFacts, Joint, Key, Mount, MountSource, NetworkMode, NetworkName, Probe, Process, PublishedPort,
    ResolvedMount, ResolvedSource, Service, ServiceName, State, Until, VolumeName, VolumesFrom, short_hex,
};

use crate::RECORD_SCHEMA;
use crate::allot::{Addresses, Ports, Slot};
use crate::draft::Frame;
use crate::graph::Dependencies;
use crate::network::{Segment, Standing, address6};
use crate::survey::{Fresh, Leader, Replica, Survey, Verdict, lacking_image};

/// Where programs are looked for when neither the file nor the image says so; the value is docker's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// SIGTERM, signal(7).
const SIGTERM: i32 = 15;
/// Permission bits of a temporary filesystem's root.
const TMPFS_MODE: u32 = 0o1777;
/// One character tells the interfaces of a container apart on the host's side.
const MOST_NETWORKS: usize = 36;

type Segments<'a> = BTreeMap<&'a NetworkName, Segment<'a>>;

/// Resolves every container that is to be created, and the ports of those whose ports changed.
///
/// What is in a namespace of another container is resolved after that one, and the other one may be in that of a third.
pub(crate) fn resolve_all<'a>(
    frame: Frame<'a>,
    survey: &mut Survey<'a>,
    segments: &Segments<'a>,
    graph: &Dependencies<'a>,
) {
    let mut allot = Allot::new(frame, survey, segments);
    let joins = |service: &Service| service.container.joined().next().is_some();
    for replica in survey.replicas.values_mut().filter(|replica| !joins(replica.service)) {
        resolve_one(frame, replica, segments, &mut allot);
    }
    for &name in graph.order() {
        let service = &frame.desired.services[name];
        if !joins(service) {
            continue;
        }
        let leaders = leaders(survey, service);
        for (_, replica) in survey.replicas.range_mut((name, 0)..=(name, u32::MAX)) {
            let stayed = allot.is_staying(replica);
            replica.join(leaders.clone());
            if stayed && matches!(replica.verdict, Verdict::Replace(_)) {
                allot.release(replica);
            }
            resolve_one(frame, replica, segments, &mut allot);
        }
    }
}

/// The containers that there will be of the services whose network and namespaces a service is in.
fn leaders(survey: &Survey<'_>, service: &Service) -> BTreeMap<Joint, Leader> {
    let leader = |name: &ServiceName| {
        let replica = survey.replicas.get(&(name, 1))?;
        let container = match &replica.fresh {
            Some(Ok(fresh)) => &fresh.container,
            Some(Err(_)) | None => &replica.current?.container,
        };
        let started = replica.current.and_then(|current| match current.state {
            State::Running { started, .. } => Some(started),
            State::Creating | State::Created | State::Exited { .. } | State::Removing => None,
        });
        let (id, hostname) = (container.id.clone(), container.process.hostname.clone());
        Some(Leader { key: replica.key(), id, hostname, started })
    };
    service.container.joined().filter_map(|(what, name)| Some((what, leader(name)?))).collect()
}

fn resolve_one<'a>(frame: Frame<'a>, replica: &mut Replica<'a>, segments: &Segments<'a>, allot: &mut Allot<'a>) {
    let creates = match replica.verdict {
        Verdict::Create => true,
        Verdict::Replace(_) => replica.service.power != stack_model::Power::Off,
        Verdict::Keep | Verdict::Restart(_) | Verdict::Off => false,
    };
    if creates {
        replica.fresh = Some(fresh(frame, replica, segments, allot));
    } else if let Verdict::Keep | Verdict::Restart(_) = replica.verdict {
        replica.record = revise(frame, replica, allot);
        if let Some(Err(_)) = replica.record {
            // A restart that cannot be written down would be asked for again and again.
            replica.verdict = Verdict::Keep;
        }
    }
}

/// What is handed out, and who keeps what.
struct Allot<'a> {
    addresses: Addresses<'a>,
    ports: Ports,
    staying: BTreeSet<&'a ContainerId>,
}

impl<'a> Allot<'a> {
    fn new(frame: Frame<'a>, survey: &Survey<'a>, segments: &Segments<'a>) -> Self {
        let mut addresses = Addresses::new(segments, &frame.observed.host.neighbours);
        let mut ports = Ports::new(&frame.observed.host.busy_ports);
        let mut staying = BTreeSet::new();
        for container in frame.observed.containers.values() {
            for endpoint in &container.container.endpoints {
                addresses.hold(&endpoint.network, endpoint.address.addr(), &container.container.id);
            }
        }
        for (slot, replica) in &survey.replicas {
            if let NetworkMode::Attached(map) = &replica.service.container.network {
                let fixed = map.iter().filter_map(|(name, attachment)| Some((name, attachment.ipv4?)));
                fixed.for_each(|(name, address)| addresses.reserve(name, address, *slot));
            }
            let Some(current) = replica.current else { continue };
            if matches!(replica.verdict, Verdict::Keep | Verdict::Restart(_) | Verdict::Off) {
                staying.insert(&current.container.id);
                if !replica.changes.iter().any(|change| change.field == "ports") {
                    let owner = format!("{}/{}", slot.0, slot.1);
                    current.container.ports.iter().for_each(|port| ports.take(port, owner.clone()));
                }
            }
        }
        Self { addresses, ports, staying }
    }

    fn is_staying(&self, replica: &Replica<'_>) -> bool {
        replica.current.is_some_and(|current| self.staying.contains(&current.container.id))
    }

    /// It goes after all.
    fn release(&mut self, replica: &Replica<'_>) {
        if let Some(current) = replica.current {
            self.staying.remove(&current.container.id);
            self.ports.release(&format!("{}/{}", replica.slot.0, replica.slot.1));
        }
    }
}

fn fresh<'a>(
    frame: Frame<'a>,
    replica: &Replica<'a>,
    segments: &Segments<'a>,
    allot: &mut Allot<'a>,
) -> Result<Fresh, Until> {
    let spec = &replica.service.container;
    let Some(facts) = frame.observed.images.get(&spec.image) else { return Err(lacking_image(replica.service)) };
    check_volumes(frame, replica.slot, spec)?;
    let mounts = mounts(frame, replica.slot, spec, &facts.config)?;
    let id = new_id(frame, replica.slot);
    let mut process = process(spec, &facts.config, &id).map_err(Until::Failed)?;
    let (endpoints, holders) = endpoints(replica, &id, container_name(frame, replica).as_str(), segments, allot)?;
    if let Some((_, name)) = spec.joined().find(|(what, _)| !replica.leaders.contains_key(what)) {
        return Err(Until::Done(Key::Container(name.clone(), 1)));
    }
    if let Some(leader) = replica.leaders.get(&Joint::Network).filter(|_| spec.hostname.is_none()) {
        process.hostname.clone_from(&leader.hostname);
    }
    let joins = replica.leaders.iter().map(|(what, leader)| (*what, leader.id.clone())).collect();
    process.extra_hosts = extra_hosts(spec, &endpoints, segments);
    let previous = replica.current.map(|current| &current.container.ports).cloned().unwrap_or_default();
    let ports = decide_ports(spec, replica.slot, &endpoints, &previous, &mut allot.ports).map_err(Until::Failed)?;
    let container = Container {
        schema: RECORD_SCHEMA,
        name: container_name(frame, replica),
        service: replica.slot.0.clone(),
        index: replica.slot.1,
        spec: spec.clone(),
        restart_request: replica.service.restart_request,
        recreate_request: replica.service.recreate_request,
        renew_request: replica.service.renew_request,
        one_off: replica.service.one_off.clone(),
        image: facts.id.clone(),
        layers: facts.layers.clone(),
        process,
        healthcheck: healthcheck(spec, Some(facts)),
        mounts,
        joins,
        endpoints,
        ports,
        created: frame.now,
        id,
    };
    Ok(Fresh { container, holders })
}

/// The name that people use.
fn container_name(frame: Frame<'_>, replica: &Replica<'_>) -> String {
    let (service, index) = replica.slot;
    let own = replica.service.container.container_name.clone();
    own.unwrap_or_else(|| format!("{}-{service}-{index}", frame.desired.project))
}

/// An identifier that no container of the project has or had: the sequence grows with every container created.
fn new_id(frame: Frame<'_>, (service, index): Slot<'_>) -> ContainerId {
    let (index, mut sequence) = (index.to_string(), frame.history.sequence);
    loop {
        let number = sequence.to_string();
        let parts = [&frame.desired.instance, frame.desired.project.as_str(), service.as_str(), &index, &number];
        let id = ContainerId::new(short_hex(&parts, 16));
        if !frame.observed.containers.contains_key(&id) {
            return id;
        }
        // A lost journal begins to count anew while containers of before are still there.
        sequence = sequence.wrapping_add(1);
    }
}

fn check_volumes(frame: Frame<'_>, (service, index): Slot<'_>, spec: &ContainerSpec) -> Result<(), Until> {
    for name in spec.named_volumes() {
        let external = frame.desired.volumes.get(name).is_some_and(|volume| volume.external);
        if external && !frame.observed.volumes.contains(name) {
            let text = format!("{service}/{index}: volume {name} is external and does not exist");
            return Err(Until::Failed(Failure::new(Fault::Missing, text).hint("make the volume, or drop `external`")));
        }
    }
    Ok(())
}

/// What a container runs: docker's rules of merging a specification with an image configuration.
pub(crate) fn process(spec: &ContainerSpec, image: &ImageConfig, id: &ContainerId) -> Result<Process, Failure> {
    let mut argv = spec.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone());
    match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => argv.extend(command.iter().cloned()),
        (None, None) => argv.extend(image.cmd.iter().cloned()),
        // The image's arguments belong to the image's program.
        (None, Some(_)) => {}
    }
    if argv.is_empty() {
        let text = format!("image {} has no program and none is given", spec.image);
        return Err(Failure::new(Fault::User, text).hint("add a `command`"));
    }
    let hostname = spec.hostname.clone().unwrap_or_else(|| id.short().to_owned());
    let image_cwd = Some(&image.working_dir).filter(|path| !path.is_empty()).cloned();
    Ok(Process {
        argv,
        env: environment(spec, image, &hostname),
        cwd: spec.working_dir.clone().or(image_cwd).unwrap_or_else(|| "/".to_owned()),
        user: spec.user.clone().unwrap_or_else(|| image.user.clone()),
        hostname,
        domainname: spec.domainname.clone(),
        // On which address the host is depends on the networks.
        extra_hosts: Vec::new(),
        stop_signal: stop_signal(spec, Some(image)),
    })
}

fn stop_signal(spec: &ContainerSpec, image: Option<&ImageConfig>) -> i32 {
    spec.stop_signal.or_else(|| image.and_then(|image| image.stop_signal)).unwrap_or(SIGTERM)
}

/// Variables in order: docker's own, the image's, the file's. A later value takes the place of an earlier one.
fn environment(spec: &ContainerSpec, image: &ImageConfig, hostname: &str) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::with_capacity(image.env.len() + spec.environment.len() + 3);
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut set = |name: &str, value: &str| match places.get(name) {
        Some(&place) => value.clone_into(&mut list[place].1),
        None => {
            places.insert(name.to_owned(), list.len());
            list.push((name.to_owned(), value.to_owned()));
        }
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", hostname);
    if spec.tty {
        set("TERM", "xterm");
    }
    image.env.iter().for_each(|(name, value)| set(name, value));
    for (name, value) in &spec.environment {
        if let Some(value) = value {
            set(name, value);
        }
    }
    list.retain(|(name, _)| !matches!(spec.environment.get(name), Some(None)));
    list
}

/// The health check in force.
fn healthcheck(spec: &ContainerSpec, facts: Option<&ImageFacts>) -> Option<Healthcheck> {
    let check = spec.healthcheck.as_ref().or_else(|| facts.and_then(|facts| facts.config.healthcheck.as_ref()));
    check.filter(|check| check.probe != Probe::None).cloned()
}

/// Mounts with every name resolved, parents before what lies below them.
///
/// # Errors
/// What is waited for: the image of a service whose volumes it shares is not there.
fn mounts(
    frame: Frame<'_>,
    slot: Slot<'_>,
    spec: &ContainerSpec,
    image: &ImageConfig,
) -> Result<Vec<ResolvedMount>, Until> {
    let mut mounts = own_mounts(frame, slot, spec, image)?;
    let (mut open, mut seen) = (spec.volumes_from.iter().rev().collect::<Vec<_>>(), BTreeSet::from([slot.0]));
    while let Some(VolumesFrom { service: name, read_only }) = open.pop() {
        let Some((name, service)) = frame.desired.services.get_key_value(name).filter(|(name, _)| seen.insert(name))
        else {
            continue;
        };
        let facts = frame.observed.images.get(&service.container.image).ok_or_else(|| lacking_image(service))?;
        for theirs in own_mounts(frame, (name, 1), &service.container, &facts.config)? {
            let is_memory = matches!(theirs.source, ResolvedSource::Tmpfs { .. });
            if !is_memory && !mounts.iter().any(|mount| normal(&mount.target) == normal(&theirs.target)) {
                mounts.push(ResolvedMount { read_only: theirs.read_only || *read_only, ..theirs });
            }
        }
        open.extend(service.container.volumes_from.iter().rev());
    }
    mounts.sort_by_key(|mount| normal(&mount.target).split('/').count());
    Ok(mounts)
}

/// The services whose volumes a container shares have others by now.
pub(crate) fn has_other_mounts(frame: Frame<'_>, slot: Slot<'_>, service: &Service, container: &Container) -> bool {
    let spec = &service.container;
    let Some(facts) = frame.observed.images.get(&spec.image) else { return false };
    !spec.volumes_from.is_empty()
        && mounts(frame, slot, spec, &facts.config).is_ok_and(|mounts| mounts != container.mounts)
}

/// The volumes that a replica alone knows of, by the name that follows from it.
pub(crate) fn is_own(frame: Frame<'_>, container: &Container, mount: &ResolvedMount, name: &VolumeName) -> bool {
    let slot = (&container.service, container.index);
    is_anonymous(name) && *name == anonymous_name(frame, slot, container.renew_request, normal(&mount.target))
}

fn own_mounts(
    frame: Frame<'_>,
    slot: Slot<'_>,
    spec: &ContainerSpec,
    image: &ImageConfig,
) -> Result<Vec<ResolvedMount>, Until> {
    let renewal = frame.desired.services.get(slot.0).map_or(0, |service| service.renew_request);
    let anonymous =
        |target: &str| ResolvedSource::Volume { name: anonymous_name(frame, slot, renewal, target), copy: true };
    let resolved = spec.mounts.iter().map(|mount| resolve_mount(frame, mount, anonymous));
    let mut mounts = resolved.collect::<Result<Vec<ResolvedMount>, Until>>()?;
    for target in &image.volumes {
        let target = normal(target);
        let covered = spec.mounts.iter().any(|mount| normal(&mount.target) == target);
        if !covered && !mounts.iter().any(|mount| mount.target == target) {
            let source = anonymous(target);
            mounts.push(ResolvedMount { source, target: target.to_owned(), read_only: false });
        }
    }
    Ok(mounts)
}

fn resolve_mount(
    frame: Frame<'_>,
    mount: &Mount,
    anonymous: impl Fn(&str) -> ResolvedSource,
) -> Result<ResolvedMount, Until> {
    let source = match &mount.source {
        MountSource::Volume { name, no_copy } => ResolvedSource::Volume { name: name.clone(), copy: !no_copy },
        MountSource::Anonymous => anonymous(normal(&mount.target)),
        MountSource::Subpath { name, path } => ResolvedSource::Subpath { name: name.clone(), path: path.clone() },
        MountSource::Bind { path, create, below } => {
            ResolvedSource::Bind { path: path.clone(), create: *create, below: *below }
        }
        MountSource::Mounted { filesystem, source, options } => {
            let (filesystem, source, options) = (filesystem.clone(), source.clone(), options.clone());
            ResolvedSource::Mounted { filesystem, source, options }
        }
        MountSource::Tmpfs { size, mode } => ResolvedSource::Tmpfs { size: *size, mode: mode.unwrap_or(TMPFS_MODE) },
        MountSource::Image { image, path } => {
            let facts = frame.observed.images.get(image).ok_or_else(|| Until::Image(image.clone()))?;
            ResolvedSource::Image { id: facts.id.clone(), layers: facts.layers.clone(), path: path.clone() }
        }
    };
    Ok(ResolvedMount { source, target: mount.target.clone(), read_only: mount.read_only })
}

fn normal(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }
}

/// The name of a volume without one. It follows from the replica and not from the container, so that the next container
/// of the replica finds what the last one wrote, unless new ones were asked for since.
fn anonymous_name(frame: Frame<'_>, (service, index): Slot<'_>, renewal: u64, target: &str) -> VolumeName {
    let (index, renewal) = (index.to_string(), (renewal > 0).then(|| renewal.to_string()));
    let Frame { desired, .. } = frame;
    let part = |salt: &str| {
        let mut parts = vec![&*desired.instance, desired.project.as_str(), service.as_str(), &*index, target, salt];
        parts.extend(renewal.as_deref());
        short_hex(&parts, 16)
    };
    VolumeName::new([part("a"), part("b"), part("c"), part("d")].concat())
}

/// A name that [`anonymous_name`] may have given: 64 hexadecimal digits.
pub(crate) fn is_anonymous(name: &VolumeName) -> bool {
    let text = name.as_str();
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

type Attached = (Vec<Endpoint>, Vec<ContainerId>);

fn endpoints<'a>(
    replica: &Replica<'a>,
    id: &ContainerId,
    name: &str,
    segments: &Segments<'a>,
    allot: &mut Allot<'a>,
) -> Result<Attached, Until> {
    let NetworkMode::Attached(attachments) = &replica.service.container.network else { return Ok(Attached::default()) };
    let (service, index) = replica.slot;
    if attachments.len() > MOST_NETWORKS {
        let text = format!("{service}/{index} is on more than {MOST_NETWORKS} networks");
        return Err(Until::Failed(Failure::new(Fault::User, text)));
    }
    let (mut endpoints, mut holders): Attached = (Vec::with_capacity(attachments.len()), Vec::new());
    let (way_out, way_out6) = (way_out(attachments, segments, |_| true), way_out(attachments, segments, has_ipv6));
    let ordered = in_order(attachments);
    for (place, (network, attachment)) in ordered.iter().copied().enumerate() {
        let Some(segment) = segments.get(network) else {
            let text = format!("{service}/{index}: network {network} is not declared");
            return Err(Until::Failed(Failure::new(Fault::User, text).hint("declare it under `networks`")));
        };
        if let Standing::Refused(_) = segment.standing {
            return Err(Until::Done(Key::Network(network.clone())));
        }
        let before = replica.current.or(replica.surplus.first().copied()).map(|before| &before.container);
        let previous = before.and_then(|before| before.endpoints.iter().find(|endpoint| endpoint.network == *network));
        let granted = match attachment.ipv4 {
            Some(fixed) => {
                let before = before.map(|before| &before.id);
                allot.addresses.fixed(network, fixed, replica.slot, before, &allot.staying)
            }
            None => allot.addresses.any(network, replica.slot, previous.map(|endpoint| endpoint.address.addr())),
        };
        let granted = granted.map_err(Until::Failed)?;
        holders.extend(granted.holder);
        let leads_out = way_out == Some(network);
        let address6 = segment.plan.gateway6.and_then(|it| address6(it, attachment.ipv6, granted.address));
        let [a, b, c, d] = granted.address.addr().octets();
        endpoints.push(Endpoint {
            network: network.clone(),
            bridge: segment.plan.bridge.clone(),
            host_interface: host_interface(id, place),
            interface: interface(&ordered, attachment, place),
            address: granted.address,
            address6,
            gateway6: (way_out6 == Some(network)).then(|| segment.plan.gateway6.map(|it| it.addr())).flatten(),
            gateway: leads_out.then(|| segment.plan.gateway.addr()),
            mac: attachment.mac.unwrap_or([0x02, 0x42, a, b, c, d]),
            names: names(replica.slot.0.as_str(), name, id, attachment),
            internal: segment.plan.internal,
            link_local: attachment.link_local.clone(),
            link: segment.plan.link,
        });
    }
    Ok((endpoints, holders))
}

/// The network that leads out: of those that do, the first one with the highest priority.
fn way_out<'n>(
    attachments: &'n BTreeMap<NetworkName, Attachment>,
    segments: &Segments<'_>,
    may: impl Fn(&Segment<'_>) -> bool,
) -> Option<&'n NetworkName> {
    let leads = |segment: &Segment<'_>| !segment.plan.internal && may(segment);
    let leading = attachments.iter().filter(|(name, _)| segments.get(name).is_some_and(leads));
    // Of equal ones `max_by_key` takes the last.
    leading.rev().max_by_key(|(_, attachment)| attachment.gateway_priority).map(|(name, _)| name)
}

fn has_ipv6(segment: &Segment<'_>) -> bool {
    segment.plan.gateway6.is_some()
}

/// The networks in the order of their interfaces: those with a higher priority first, then by name.
fn in_order(attachments: &BTreeMap<NetworkName, Attachment>) -> Vec<(&NetworkName, &Attachment)> {
    let mut list: Vec<_> = attachments.iter().collect();
    list.sort_by_key(|(_, attachment)| std::cmp::Reverse(attachment.priority));
    list
}

/// The name inside: the file's, else `eth` and a number that the file has given to no other.
fn interface(ordered: &[(&NetworkName, &Attachment)], own: &Attachment, place: usize) -> IfName {
    if let Some(name) = &own.interface {
        return IfName::new(name.clone());
    }
    let given = |name: &String| ordered.iter().any(|(_, other)| other.interface.as_ref() == Some(name));
    let mut free = (0..).map(|number: usize| format!("eth{number}")).filter(|name| !given(name));
    let before = ordered.iter().take(place).filter(|(_, other)| other.interface.is_none()).count();
    IfName::new(free.nth(before).unwrap_or_else(|| format!("eth{place}")))
}

/// `stkv`, ten digits of the identifier and one that counts: 15 bytes, as many as the kernel takes.
fn host_interface(id: &ContainerId, place: usize) -> IfName {
    let digits = id.as_str().get(..10).unwrap_or(id.as_str());
    let place = u32::try_from(place).ok().and_then(|place| char::from_digit(place, 36)).unwrap_or('z');
    IfName::new(format!("stkv{digits}{place}"))
}

fn names(service: &str, name: &str, id: &ContainerId, attachment: &Attachment) -> BTreeSet<String> {
    let own = [service, name, id.short()].into_iter().map(str::to_owned);
    own.chain(attachment.aliases.iter().cloned()).collect()
}

/// Further names of hosts. The host itself is the bridge of the network with the way out, else that of any network, else
/// it is at home.
fn extra_hosts(spec: &ContainerSpec, endpoints: &[Endpoint], segments: &Segments<'_>) -> Vec<(String, IpAddr)> {
    let out = endpoints.iter().find_map(|endpoint| endpoint.gateway);
    let bridge = || Some(segments.get(&endpoints.first()?.network)?.plan.gateway.addr());
    let host = IpAddr::V4(out.or_else(bridge).unwrap_or(Ipv4Addr::LOCALHOST));
    let address = |host_address: HostAddress| match host_address {
        HostAddress::Ip(address) => address,
        HostAddress::Gateway => host,
    };
    spec.extra_hosts.iter().map(|extra| (extra.name.clone(), address(extra.address))).collect()
}

/// The address that published ports lead to: on the network with the way out, as docker has it.
fn published_address(endpoints: &[Endpoint]) -> Option<Ipv4Addr> {
    endpoints.iter().find(|endpoint| endpoint.gateway.is_some()).map(|endpoint| endpoint.address.addr())
}

fn decide_ports(
    spec: &ContainerSpec,
    slot: Slot<'_>,
    endpoints: &[Endpoint],
    previous: &BTreeSet<PublishedPort>,
    ports: &mut Ports,
) -> Result<BTreeSet<PublishedPort>, Failure> {
    match published_address(endpoints) {
        Some(address) => ports.decide(&spec.ports, slot, address, previous),
        None => Ok(BTreeSet::new()),
    }
}

/// The record that a container should have which stays: the new specification and what follows from its live fields.
fn revise<'a>(
    frame: Frame<'a>,
    replica: &Replica<'a>,
    allot: &mut Allot<'a>,
) -> Option<Result<Box<Container>, Failure>> {
    let current = &replica.current?.container;
    let service = replica.service;
    if replica.is_left_alone() {
        return None;
    }
    let restarted = service.restart_request > current.restart_request;
    if replica.changes.is_empty() && !restarted {
        return None;
    }
    let spec = &service.container;
    let facts = frame.observed.images.get(&spec.image);
    let mut record = Box::new(current.clone());
    record.spec = spec.clone();
    record.restart_request = service.restart_request.max(current.restart_request);
    if spec.stop_signal != current.spec.stop_signal {
        record.process.stop_signal = stop_signal(spec, facts.map(|facts| &facts.config));
    }
    if spec.healthcheck != current.spec.healthcheck {
        record.healthcheck = healthcheck(spec, facts);
    }
    if let NetworkMode::Attached(attachments) = &spec.network {
        for endpoint in &mut record.endpoints {
            if let Some(attachment) = attachments.get(&endpoint.network) {
                endpoint.names = names(replica.slot.0.as_str(), &current.name, &current.id, attachment);
            }
        }
    }
    if replica.changes.iter().any(|change| change.field == "ports") {
        match decide_ports(spec, replica.slot, &record.endpoints, &current.ports, &mut allot.ports) {
            Ok(ports) => record.ports = ports,
            Err(failure) => {
                let owner = format!("{}/{}", replica.slot.0, replica.slot.1);
                current.ports.iter().for_each(|port| allot.ports.take(port, owner.clone()));
                return Some(Err(failure));
            }
        }
    }
    Some(Ok(record))
}
