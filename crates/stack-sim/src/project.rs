//! Projects for the simulation: by hand with [`Draft`], or by chance.

use std::collections::BTreeMap;

use stack_model::{
    Attachment, Bytes, Condition, ContainerSpec, Dependency, Desired, Healthcheck, LinkOptions, Millis, Mount,
    MountSource, Network, NetworkMode, Origin, Power, Probe, ProjectName, RestartPolicy, Service, ServiceName, Volume,
};

use crate::{Behaviour, Random};

/// A project that is being written down.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What the file says.
    pub desired: Desired,
    /// What the processes do.
    pub behaviours: BTreeMap<ServiceName, Behaviour>,
}

impl Draft {
    /// A project without services.
    pub fn new(name: &str) -> Self {
        let desired = Desired {
            project: ProjectName::new(name),
            instance: String::new(),
            generation: 0,
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            services: BTreeMap::new(),
            discard_volumes: Vec::new(),
            stop_grace: None,
        };
        Self { desired, behaviours: BTreeMap::new() }
    }

    /// Adds a service that does as told.
    #[must_use]
    pub fn with(mut self, name: &str, behaviour: Behaviour, shape: impl FnOnce(&mut Service)) -> Self {
        let mut service = service();
        shape(&mut service);
        self.desired.services.insert(name.into(), service);
        self.behaviours.insert(name.into(), behaviour);
        self.declare();
        self
    }

    /// Declares the networks and volumes that services use, and only those.
    pub fn declare(&mut self) {
        let Desired { services, networks, volumes, .. } = &mut self.desired;
        (*networks, *volumes) = (BTreeMap::new(), BTreeMap::new());
        for service in services.values() {
            if let NetworkMode::Attached(attached) = &service.container.network {
                networks.extend(attached.keys().map(|name| (name.clone(), network(name.as_str()))));
            }
            for mount in &service.container.mounts {
                if let MountSource::Volume { name, .. } = &mount.source {
                    let volume = Volume { external: false, labels: BTreeMap::new(), origin: Origin::default() };
                    volumes.insert(name.clone(), volume);
                }
            }
        }
    }

    /// Changes one thing by chance: an environment (a new container), a limit (in place), the number of containers, or
    /// a service goes.
    pub fn edit(&mut self, random: &mut Random) {
        let names: Vec<ServiceName> = self.desired.services.keys().cloned().collect();
        let Some(name) = random.pick(&names) else { return };
        let Some(service) = self.desired.services.get_mut(name) else { return };
        match random.below(5) {
            0 | 1 => {
                let value = random.below(100).to_string();
                service.container.environment.insert("EDIT".to_owned(), Some(value));
            }
            2 => service.container.limits.memory = Some(Bytes((1 + random.below(64)) << 20)),
            3 => service.replicas = u32::try_from(random.below(4)).unwrap_or(1),
            _ if names.len() > 1 => {
                self.desired.services.remove(name);
                for service in self.desired.services.values_mut() {
                    service.depends_on.remove(name);
                }
            }
            _ => {}
        }
        self.declare();
    }
}

/// A project by chance: up to six services in a graph without cycles. It can always come up.
pub fn project(random: &mut Random) -> Draft {
    let mut draft = Draft::new("sim");
    let count = 1 + random.below(6);
    let mut earlier: Vec<(ServiceName, Condition)> = Vec::new();
    for number in 0..count {
        let name = format!("s{number}");
        let (behaviour, restart, checked) = kind(random);
        let depends_on: BTreeMap<ServiceName, Dependency> = earlier
            .iter()
            .filter(|_| random.chance(400))
            .map(|(name, strongest)| (name.clone(), *strongest))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(name, strongest)| {
                let condition = if random.chance(500) { strongest } else { Condition::Started };
                (name, depends(condition, random.chance(200)))
            })
            .collect();
        let replicas = 1 + u32::try_from(random.below(3)).unwrap_or(0);
        let (network, volume) = (random.below(3), random.chance(300));
        draft = draft.with(&name, behaviour, |service| {
            service.container.restart = restart;
            service.container.healthcheck = checked.then(healthcheck);
            service.container.stop_grace = Millis(1_000);
            service.depends_on = depends_on;
            service.replicas = replicas;
            let mut names = vec!["default"];
            if network == 1 {
                names.push("back");
            }
            service.container.network = on(&names);
            if volume {
                service.container.mounts.push(mount(&format!("sim_{name}")));
            }
        });
        let strongest = match (behaviour.exit, checked) {
            (Some((_, 0)), _) => Condition::CompletedSuccessfully,
            (_, true) => Condition::Healthy,
            (_, false) => Condition::Started,
        };
        earlier.push((name.as_str().into(), strongest));
    }
    draft
}

/// What a process does, the policy that goes with it, and whether it has a health check.
fn kind(random: &mut Random) -> (Behaviour, RestartPolicy, bool) {
    let ready_after = Millis(random.below(300));
    let server = Behaviour { ready_after, ..Behaviour::default() };
    match random.below(6) {
        0 => (Behaviour { exit: Some((ready_after, 0)), ..server }, RestartPolicy::No, false),
        1 => {
            let crashes = u32::try_from(1 + random.below(4)).unwrap_or(1);
            (Behaviour { crashes, ..server }, RestartPolicy::OnFailure(None), false)
        }
        2 => (Behaviour { stops_in: None, ..server }, RestartPolicy::Always, true),
        3 => (Behaviour { sick: true, ..server }, RestartPolicy::UnlessStopped, true),
        4 => (server, RestartPolicy::No, true),
        _ => (server, RestartPolicy::No, false),
    }
}

/// A dependency; `restart` says whether the dependent is restarted with it.
pub fn depends(condition: Condition, restart: bool) -> Dependency {
    Dependency { condition, restart, required: true, origin: Origin::default() }
}

/// On these networks.
pub fn on(names: &[&str]) -> NetworkMode {
    NetworkMode::Attached(names.iter().map(|name| ((*name).into(), Attachment::default())).collect())
}

/// A named volume at `/data`.
pub fn mount(volume: &str) -> Mount {
    let source = MountSource::Volume { name: volume.into(), no_copy: true };
    Mount { source, target: "/data".to_owned(), read_only: false }
}

/// A health check.
pub fn healthcheck() -> Healthcheck {
    Healthcheck {
        probe: Probe::Exec(vec!["/probe".to_owned()]),
        interval: Millis(1_000),
        timeout: Millis(1_000),
        retries: 3,
        start_period: Millis(0),
        start_interval: Millis(0),
    }
}

fn network(name: &str) -> Network {
    Network {
        name: format!("sim_{name}"),
        external: false,
        internal: name == "back",
        subnet: None,
        gateway: None,
        ip_range: None,
        reserved: BTreeMap::new(),
        bridge: None,
        ipv6: None,
        link: LinkOptions::default(),
        routed: false,
        labels: BTreeMap::new(),
        origin: Origin::default(),
    }
}

fn service() -> Service {
    let container = ContainerSpec {
        command: Some(vec!["/app".to_owned()]),
        network: on(&["default"]),
        stop_grace: Millis(10_000),
        ..ContainerSpec::new("app:1".into())
    };
    Service {
        container,
        replicas: 1,
        depends_on: BTreeMap::new(),
        power: Power::On,
        build: None,
        accepted_image: None,
        restart_request: 0,
        restart_alone: false,
        start_request: stack_model::StartRequest::default(),
        recreate_request: 0,
        renew_request: 0,
        keep: false,
        one_off: None,
        before: None,
        attach: true,
        origins: BTreeMap::new(),
        origin: Origin::default(),
    }
}
