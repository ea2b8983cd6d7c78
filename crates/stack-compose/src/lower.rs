//! A project to what the engine wants: no front-end words, no defaults to look up.

use std::collections::BTreeMap;

use stack_model::{
    ContainerSpec, Desired, ImageReference, Network, NetworkName, Power, Service, ServiceName, Volume, VolumeName,
};

use crate::keys::{BRIDGE, Lowering, SERVICE_KEYS};
use crate::project::Project;

impl Project {
    /// The desired state at generation 0. `instance` tells projects of one name under different run directories apart
    /// (`stack_model::Layout::instance`).
    pub fn lower(&self, instance: &str) -> Desired {
        let services = self.services.values().map(|service| {
            let name = ServiceName::new(&service.name);
            (name, self.lower_service(service))
        });
        let mut desired = Desired {
            project: self.name.clone(),
            instance: instance.to_owned(),
            generation: 0,
            networks: self.lower_networks(),
            volumes: self.lower_volumes(),
            services: services.collect(),
            discard_volumes: Vec::new(),
            stop_grace: None,
        };
        self.lower_steps(&mut desired);
        desired
    }

    /// The real name of a volume of the file.
    pub(crate) fn volume_name(&self, key: &str) -> VolumeName {
        VolumeName::new(self.volumes.get(key).map_or(key, |volume| &volume.name))
    }

    fn lower_service(&self, service: &crate::service::Service) -> Service {
        let mut lowered = Service {
            container: ContainerSpec::new(ImageReference::new("")),
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
            attach: true,
            one_off: None,
            before: None,
            origins: service.origins.iter().map(|(path, span)| (path.clone(), self.names.origin(*span))).collect(),
            origin: self.names.origin(service.span),
        };
        let from = Lowering { project: self, service };
        for lower in SERVICE_KEYS.iter().filter_map(|key| key.lower) {
            lower(&from, &mut lowered);
        }
        lowered
    }

    fn lower_networks(&self) -> BTreeMap<NetworkName, Network> {
        let used = self.used_networks();
        let networks = self.networks.iter().filter(|(key, _)| used.contains(key.as_str()));
        let bridge = used.contains(BRIDGE) && !self.networks.contains_key(BRIDGE);
        let bridge = bridge.then(|| crate::project::Network {
            name: format!("{}_{BRIDGE}", self.name),
            ..crate::project::Network::default()
        });
        let lower = |network: &crate::project::Network| Network {
            name: network.name.clone(),
            external: network.external,
            internal: network.internal.unwrap_or(false),
            subnet: network.subnet.as_ref().map(|subnet| subnet.value),
            gateway: network.gateway.as_ref().map(|gateway| gateway.value),
            ip_range: network.ip_range,
            reserved: network.reserved.clone(),
            ipv6: network.ipv6.then(|| stack_model::Ipv6Wish {
                subnet: network.subnet6.as_ref().map(|subnet| subnet.value),
                gateway: network.gateway6,
            }),
            bridge: network.bridge.as_ref().map(stack_model::IfName::new),
            link: network.link,
            routed: network.routed,
            labels: network.labels.clone().into_iter().collect(),
            origin: self.names.origin(network.span),
        };
        let own = bridge.iter().map(|network| (NetworkName::new(BRIDGE), lower(network)));
        networks.map(|(key, network)| (NetworkName::new(key), lower(network))).chain(own).collect()
    }

    fn lower_volumes(&self) -> BTreeMap<VolumeName, Volume> {
        let used = self.used_volumes();
        // What is mounted from elsewhere is none of the store's.
        let volumes = self.volumes.iter().filter(|(key, it)| used.contains(key.as_str()) && it.mounted.is_none());
        let lower = |volume: &crate::project::Volume| Volume {
            external: volume.external,
            labels: volume.labels.clone().into_iter().collect(),
            origin: self.names.origin(volume.span),
        };
        volumes.map(|(_, volume)| (VolumeName::new(&volume.name), lower(volume))).collect()
    }
}
