//! Builders of desired states, short enough to be read inside a test.

use std::collections::BTreeMap;

use stack_model::{
    Attachment, Condition, ContainerSpec, Dependency, Desired, Healthcheck, HostPort, ImageReference, LinkOptions,
    Millis, Mount, MountSource, Network, NetworkMode, NetworkName, Origin, PortSpec, Power, Probe, ProjectName,
    Protocol, RestartPolicy, Service, ServiceName, Volume, VolumeName,
};

pub(crate) fn origin(line: u32) -> Origin {
    Origin { file: "compose.yaml".to_owned(), line, column: 5 }
}

/// A project `shop` with these services on the network `default`.
pub(crate) fn shop(services: impl IntoIterator<Item = (&'static str, Service)>) -> Desired {
    let services: BTreeMap<ServiceName, Service> =
        services.into_iter().map(|(name, service)| (ServiceName::new(name), service)).collect();
    let mut desired = Desired {
        project: ProjectName::new("shop"),
        instance: String::new(),
        generation: 1,
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        services,
        discard_volumes: Vec::new(),
        stop_grace: None,
    };
    complete(&mut desired);
    desired
}

/// Declares the networks and volumes that services use.
pub(crate) fn complete(desired: &mut Desired) {
    for service in desired.services.values() {
        if let NetworkMode::Attached(map) = &service.container.network {
            for name in map.keys() {
                desired.networks.entry(name.clone()).or_insert_with(|| network(name.as_str()));
            }
        }
        for mount in &service.container.mounts {
            if let MountSource::Volume { name, .. } = &mount.source {
                let volume = Volume { external: false, labels: BTreeMap::new(), origin: origin(90) };
                desired.volumes.entry(name.clone()).or_insert(volume);
            }
        }
    }
}

pub(crate) fn network(name: &str) -> Network {
    Network {
        name: format!("shop_{name}"),
        external: false,
        internal: false,
        subnet: None,
        gateway: None,
        ip_range: None,
        reserved: BTreeMap::new(),
        bridge: None,
        ipv6: None,
        link: LinkOptions::default(),
        routed: false,
        labels: BTreeMap::new(),
        origin: origin(80),
    }
}

/// A service of the image `app:1` on the network `default`.
pub(crate) fn service() -> Service {
    Service {
        container: spec(),
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
        origin: origin(2),
    }
}

pub(crate) fn spec() -> ContainerSpec {
    ContainerSpec {
        network: NetworkMode::Attached(BTreeMap::from([(NetworkName::new("default"), Attachment::default())])),
        stop_grace: Millis(10_000),
        ..ContainerSpec::new(ImageReference::new("app:1"))
    }
}

pub(crate) fn check() -> Healthcheck {
    Healthcheck {
        probe: Probe::Shell("true".to_owned()),
        interval: Millis(1000),
        timeout: Millis(1000),
        retries: 3,
        start_period: Millis(0),
        start_interval: Millis(1000),
    }
}

pub(crate) fn port(host: HostPort, target: u16) -> PortSpec {
    PortSpec { target, published: host, host_ip: None, protocol: Protocol::Tcp }
}

/// Changes of a service, one word each.
pub(crate) trait Build: Sized {
    fn edit(self, change: impl FnOnce(&mut Service)) -> Self;

    fn image(self, image: &str) -> Self {
        self.edit(|service| service.container.image = ImageReference::new(image))
    }
    fn after(self, name: &str, condition: Condition) -> Self {
        self.depends(name, |dependency| dependency.condition = condition)
    }
    fn depends(self, name: &str, change: impl FnOnce(&mut Dependency)) -> Self {
        let mut dependency =
            Dependency { condition: Condition::Started, restart: false, required: true, origin: origin(31) };
        change(&mut dependency);
        self.edit(|service| drop(service.depends_on.insert(ServiceName::new(name), dependency)))
    }
    fn env(self, name: &str, value: &str) -> Self {
        self.edit(|service| {
            service.container.environment.insert(name.to_owned(), Some(value.to_owned()));
            service.origins.insert(format!("environment.{name}"), origin(14));
        })
    }
    fn healthy(self) -> Self {
        self.edit(|service| service.container.healthcheck = Some(check()))
    }
    fn replicas(self, count: u32) -> Self {
        self.edit(|service| service.replicas = count)
    }
    fn restart(self, policy: RestartPolicy) -> Self {
        self.edit(|service| service.container.restart = policy)
    }
    fn publish(self, host: HostPort, target: u16) -> Self {
        self.edit(|service| service.container.ports.push(port(host, target)))
    }
    fn on(self, networks: &[&str]) -> Self {
        let map = networks.iter().map(|name| (NetworkName::new(*name), Attachment::default())).collect();
        self.edit(|service| service.container.network = NetworkMode::Attached(map))
    }
    fn fixed(self, network: &str, address: &str) -> Self {
        self.edit(|service| {
            if let NetworkMode::Attached(map) = &mut service.container.network {
                map.entry(NetworkName::new(network)).or_default().ipv4 = Some(address.parse().unwrap());
            }
        })
    }
    fn mount(self, volume: &str, target: &str) -> Self {
        let source = MountSource::Volume { name: VolumeName::new(volume), no_copy: false };
        self.edit(|service| {
            service.container.mounts.push(Mount { source, target: target.to_owned(), read_only: false })
        })
    }
    fn off(self) -> Self {
        self.edit(|service| service.power = Power::Off)
    }
}

impl Build for Service {
    fn edit(mut self, change: impl FnOnce(&mut Service)) -> Self {
        change(&mut self);
        self
    }
}
