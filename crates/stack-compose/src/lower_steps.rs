//! `pre_start`: what runs to its end before a service starts is a service of its own, which the other one waits for.

use std::collections::BTreeMap;

use stack_model::{
    Attachment, Condition, ContainerSpec, Dependency, Desired, Healthcheck, ImageReference, Millis, MountSource,
    NetworkMode, Probe, RestartPolicy, Service, ServiceName, VolumesFrom,
};

use crate::project::Project;
use crate::service::Step;

impl Project {
    /// Adds the containers that run before services.
    pub(crate) fn lower_steps(&self, desired: &mut Desired) {
        for service in self.services.values().filter(|service| !service.pre_start.is_empty()) {
            let name = ServiceName::new(&service.name);
            let Some(mut follower) = desired.services.remove(&name) else { continue };
            let mut before = follower.depends_on.clone();
            for (index, step) in service.pre_start.iter().enumerate() {
                let step_name = ServiceName::new(format!("{name}-pre_start-{index}"));
                let lowered = self.lower_step(&name, &follower, (index, step), before);
                let waits = Dependency {
                    condition: Condition::CompletedSuccessfully,
                    restart: false,
                    required: true,
                    origin: lowered.origin.clone(),
                };
                before = BTreeMap::from([(step_name.clone(), waits.clone())]);
                desired.services.insert(step_name.clone(), lowered);
                follower.depends_on.insert(step_name, waits);
            }
            desired.services.insert(name, follower);
        }
    }

    /// It is what the service is, on the same networks and with the same volumes, without what there can be only one of.
    fn lower_step(
        &self,
        name: &ServiceName,
        follower: &Service,
        (index, step): (usize, &Step),
        depends_on: BTreeMap<ServiceName, Dependency>,
    ) -> Service {
        let mut container = ContainerSpec {
            container_name: Some(format!("{}-{name}-pre_start-{index}", self.name)),
            hostname: None,
            ports: Vec::new(),
            restart: RestartPolicy::No,
            post_start: Vec::new(),
            pre_stop: Vec::new(),
            tty: false,
            stdin_open: false,
            healthcheck: Some(NO_CHECK),
            ..follower.container.clone()
        };
        // Volumes without a name are those of the first container, and not some of its own.
        container.mounts.retain(|mount| mount.source != MountSource::Anonymous);
        container.volumes_from.insert(0, VolumesFrom { service: name.clone(), read_only: false });
        let own_image = step.image.as_ref();
        if let Some(image) = own_image {
            container.image = ImageReference::new(image);
        }
        if !step.hook.command.is_empty() {
            container.command = Some(step.hook.command.clone());
        }
        container.privileged |= step.hook.privileged;
        container.user = step.hook.user.clone().or(container.user);
        container.working_dir = step.hook.working_dir.clone().or(container.working_dir);
        let variables = step.hook.environment.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        container.environment.extend(variables);
        if let NetworkMode::Attached(networks) = &mut container.network {
            for attachment in networks.values_mut() {
                *attachment = Attachment { gateway_priority: attachment.gateway_priority, ..Attachment::default() };
            }
        }
        Service {
            container,
            build: follower.build.clone().filter(|_| own_image.is_none()),
            replicas: follower.replicas.min(1),
            depends_on,
            restart_request: 0,
            restart_alone: false,
            start_request: stack_model::StartRequest::default(),
            recreate_request: 0,
            renew_request: 0,
            keep: false,
            before: Some(name.clone()),
            origins: BTreeMap::new(),
            origin: self.names.origin(step.span),
            ..follower.clone()
        }
    }
}

const NO_CHECK: Healthcheck = Healthcheck {
    probe: Probe::None,
    interval: Millis(0),
    timeout: Millis(0),
    retries: 0,
    start_period: Millis(0),
    start_interval: Millis(0),
};

#[cfg(test)]
mod tests {
    use stack_model::Condition;

    use crate::testing::{Files, errors};

    #[test]
    fn each_step_is_a_service_that_waits_for_the_one_before() {
        let text = "services:\n  db: {image: i}\n  web:\n    image: w\n    depends_on: [db]\n    ports: ['80:80']\n    \
                    environment: {A: '1'}\n    pre_start:\n      - command: [migrate]\n        environment: {B: '2'}\n      \
                    - {image: other, command: check it, user: nobody}\n";
        let desired = Files::new(text).desired();
        let (first, second) = (&desired.services["web-pre_start-0"], &desired.services["web-pre_start-1"]);
        assert_eq!(first.container.command.as_deref(), Some(["migrate".to_owned()].as_slice()));
        assert_eq!(first.container.image.as_str(), "w");
        assert_eq!(first.container.environment.keys().collect::<Vec<_>>(), ["A", "B"]);
        assert!(first.container.ports.is_empty() && first.depends_on.contains_key("db"));
        assert_eq!(first.before.as_ref().map(|name| name.as_str()), Some("web"));
        assert_eq!(second.container.image.as_str(), "other");
        assert_eq!(second.container.user.as_deref(), Some("nobody"));
        assert_eq!(second.depends_on["web-pre_start-0"].condition, Condition::CompletedSuccessfully);
        assert!(desired.services["web"].depends_on.contains_key("web-pre_start-1"));
        assert_eq!(second.origin.to_string(), "compose.yaml:11:9");
    }

    #[test]
    fn once_for_each_container_is_refused() {
        assert_eq!(
            errors("pre_start: [{command: [a], per_replica: true}]"),
            ["4:32 `per_replica: true` of `pre_start` is not supported yet; remove it, if the program runs without it"]
        );
    }
}
