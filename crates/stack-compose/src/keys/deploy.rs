//! `deploy`: replicas and limits. They say the same as `scale`, `cpus`, `mem_limit`, `mem_reservation` and
//! `pids_limit`, must agree with them, and are lowered by them.

use super::ServiceKey;
use super::scale::replicas;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Deploy, Service};
use crate::shape::common::{ANY_TEXTS, COUNT, DURATION, INT, LABELS, NUMBER, TEXT};
use crate::shape::{Field, Leaf, List, Object, Shape};
use crate::text::{Span, Spanned};
use crate::yaml::Node;
use stack_model::RestartPolicy;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("deploy", "Replicas, limits and how to roll out.", &DEPLOY).parse(parse).check(check);

const DEPLOY: Shape = Shape::Nullable(&Shape::Object(&Object::new(&[
    Field::new("mode", "How replicas are spread: `replicated` or `global`.", &TEXT),
    Field::new("replicas", "How many containers.", &COUNT).present(),
    Field::new("labels", "Labels of the service, not of its containers.", &LABELS),
    Field::new("update_config", "How to roll out a change.", &ROLLOUT),
    Field::new("rollback_config", "How to roll back a change.", &ROLLOUT),
    Field::new("resources", "Limits and reservations.", &RESOURCES).always(),
    Field::new("restart_policy", "When to start a container again after it ended.", &RESTART_POLICY),
    Field::new("placement", "Where containers may run.", &PLACEMENT).always(),
    Field::new("endpoint_mode", "How the service is reached: `vip` or `dnsrr`.", &TEXT),
])));
const ROLLOUT: Shape = Shape::Object(&Object::new(&[
    Field::new("parallelism", "Containers at a time.", &COUNT).present(),
    Field::new("delay", "Time between them.", &DURATION),
    Field::new("failure_action", "What to do when it fails.", &TEXT),
    Field::new("monitor", "How long to watch each container.", &DURATION),
    Field::new("max_failure_ratio", "Failures to put up with, 0 to 1.", &NUMBER),
    Field::new("order", "Start the new one first, or stop the old one first.", &ORDER),
]));
const ORDER: Shape = Shape::Leaf(Leaf::Choice(&["start-first", "stop-first"]));
const RESOURCES: Shape = Shape::Object(&Object::new(&[
    Field::new("limits", "What containers may use.", &LIMITS),
    Field::new("reservations", "What is kept for containers.", &RESERVATIONS),
]));
const QUOTED_BYTES: Shape = Shape::Leaf(Leaf::QuotedBytes);
const LIMITS: Shape = Shape::Object(&Object::new(&[
    Field::new("cpus", "Processors.", &NUMBER),
    Field::new("memory", "Memory, such as `512m`.", &QUOTED_BYTES),
    Field::new("pids", "Processes and threads.", &INT),
]));
const RESERVATIONS: Shape = Shape::Object(&Object::new(&[
    Field::new("cpus", "Processors.", &NUMBER),
    Field::new("memory", "Memory, such as `512m`.", &QUOTED_BYTES),
    Field::new("devices", "Devices, such as GPUs.", &super::gpus::REQUESTS),
    Field::new("generic_resources", "Resources with names of your own.", &GENERIC_RESOURCES),
]));
const GENERIC_RESOURCES: Shape = Shape::List(List { item: &GENERIC_RESOURCE, unique: false });
const GENERIC_RESOURCE: Shape = Shape::Object(&Object::new(&[Field::new(
    "discrete_resource_spec",
    "A number of one kind.",
    &Shape::Object(&Object::new(&[
        Field::new("kind", "The kind.", &TEXT).present(),
        Field::new("value", "How many.", &INT).present(),
    ])),
)]));
const RESTART_POLICY: Shape = Shape::Object(&Object::new(&[
    Field::new("condition", "`none`, `on-failure` or `any`.", &TEXT),
    Field::new("delay", "Time before a restart.", &DURATION).present(),
    Field::new("max_attempts", "Restarts before giving up.", &COUNT).present(),
    Field::new("window", "How long a container must run to count as started.", &DURATION).present(),
]));
const PLACEMENT: Shape = Shape::Object(&Object::new(&[
    Field::new("constraints", "Conditions on nodes.", &ANY_TEXTS),
    Field::new("preferences", "Preferences among nodes.", &PREFERENCES),
    Field::new("max_replicas_per_node", "Most containers on one node.", &COUNT),
]));
const PREFERENCES: Shape = Shape::List(List {
    item: &Shape::Object(&Object::new(&[Field::new("spread", "Spread over values of this node label.", &TEXT)])),
    unique: false,
});

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    if node.is_null() {
        return;
    }
    let Some(fields) = node.as_mapping() else { return };
    let mut deploy = Deploy::default();
    if let Some(entry) = fields.get("replicas") {
        deploy.replicas = replicas(&entry.value, "`replicas`", cx);
    }
    let mode = fields.get("mode").map(|entry| &entry.value);
    deploy.one_each = mode.filter(|mode| mode.as_text() == Some("global")).map(|mode| mode.span);
    let resources = fields.get("resources").filter(|entry| !entry.value.is_null());
    if let Some(resources) = resources.and_then(|entry| entry.value.as_mapping()) {
        let there = |key: &str| resources.get(key).map(|entry| &entry.value).filter(|node| !node.is_null());
        let place = |key: &str| there(key).and_then(|_| resources.get(key)).map(|entry| entry.key);
        (deploy.limits, deploy.reservations) = (place("limits"), place("reservations"));
        if let Some(limits) = there("limits").and_then(|node| node.as_mapping()) {
            deploy.limit_cpus = limits.get("cpus").and_then(|entry| cx.cpus(&entry.value, "`cpus`"));
            deploy.limit_memory = limits.get("memory").and_then(|entry| cx.bytes(&entry.value, "`memory`"));
            deploy.limit_pids = limits.get("pids").and_then(|entry| cx.integer(&entry.value, "`pids`", -1..=i64::MAX));
        }
        if let Some(kept) = there("reservations").and_then(|node| node.as_mapping()) {
            deploy.reserved_memory = kept.get("memory").and_then(|entry| cx.bytes(&entry.value, "`memory`"));
        }
    }
    if let Some(policy) = fields.get("restart_policy").and_then(|entry| entry.value.as_mapping()) {
        let time = |key: &str, cx: &mut Cx<'_>| cx.duration(&policy.get(key)?.value, &format!("`{key}`"));
        deploy.restart_delay = time("delay", cx).map(|time| time.value);
        deploy.restart_window = time("window", cx).map(|time| time.value);
    }
    deploy.restart = fields.get("restart_policy").and_then(|entry| parse_restart(&entry.value, cx));
    service.deploy = Some(Box::new(deploy));
}

/// Wins over `restart`, as docker compose has it.
fn parse_restart(node: &Node, cx: &mut Cx<'_>) -> Option<RestartPolicy> {
    let fields = node.as_mapping()?;
    let attempts =
        fields.get("max_attempts").and_then(|entry| cx.integer(&entry.value, "`max_attempts`", 0..=MAX_ATTEMPTS));
    let attempts = attempts.and_then(|attempts| u32::try_from(attempts.value).ok()).filter(|attempts| *attempts > 0);
    let Some(condition) = fields.get("condition").map(|entry| &entry.value) else { return Some(RestartPolicy::Always) };
    match condition.as_text().unwrap_or_default() {
        "none" | "no" => Some(RestartPolicy::No),
        "on-failure" => Some(RestartPolicy::OnFailure(attempts)),
        "unless-stopped" => Some(RestartPolicy::UnlessStopped),
        "any" | "always" | "" => Some(RestartPolicy::Always),
        other => {
            let near = nearest(other, ["none", "on-failure", "any"]);
            let message = format!("`{other}` is not a condition for a restart");
            let problem = Problem::error(Code::InvalidValue, condition.span, message);
            cx.push(problem.reason("the conditions are `none`, `on-failure` and `any`").nearest(condition.span, near));
            None
        }
    }
}

/// Attempts are counted in 32 bits.
const MAX_ATTEMPTS: i64 = u32::MAX as i64;

fn check(service: &Service, _: &Project, report: &mut Report) {
    let Some(deploy) = &service.deploy else { return };
    let several = service.replicas();
    if let Some(mode) = deploy.one_each.filter(|_| several.value > 1) {
        let message = format!("`mode: global` is one container on each machine, and there are to be {}", several.value);
        let problem = Problem::error(Code::ConflictingKeys, mode, message).also(several.span, "so many");
        report.push(problem.help("remove one of them").when_run());
    }
    let (limits, reservations) = (deploy.limits, deploy.reservations);
    agree(("cpus", &service.cpus), ("limits", limits, "cpus", &deploy.limit_cpus), report);
    agree(("mem_limit", &service.mem_limit), ("limits", limits, "memory", &deploy.limit_memory), report);
    let kept = ("reservations", reservations, "memory", &deploy.reserved_memory);
    agree(("mem_reservation", &service.mem_reservation), kept, report);
    agree(("pids_limit", &service.pids_limit), ("limits", limits, "pids", &deploy.limit_pids), report);
}

/// Where both are given they must be equal, and what is not given under `deploy` is zero.
fn agree<T: PartialEq + Default>(
    (key, old): (&str, &Option<Spanned<T>>),
    (section, place, field, new): (&str, Option<Span>, &str, &Option<Spanned<T>>),
    report: &mut Report,
) {
    let Some((old, place)) = old.as_ref().zip(place).filter(|(old, _)| old.value != T::default()) else { return };
    let problem = match new {
        Some(new) if new.value == old.value => return,
        Some(new) => {
            let message = format!("`{key}` and `deploy.resources.{section}.{field}` say different things");
            let problem = Problem::error(Code::ConflictingKeys, old.span, message).also(new.span, "and here");
            problem.help("remove one of them")
        }
        None => {
            let message = format!("`{key}` is given, and `deploy.resources.{section}` does not have it");
            let problem = Problem::error(Code::ConflictingKeys, old.span, message).also(place, "this counts as none");
            problem.help(format!("write it there, as `{field}`"))
        }
    };
    report.push(problem);
}

impl Service {
    /// The memory limit in bytes, wherever it stands; zero is none.
    pub(super) fn memory_limit(&self) -> Option<Spanned<u64>> {
        self.limit(&self.mem_limit, |deploy| &deploy.limit_memory).filter(|limit| limit.value > 0)
    }

    /// The kept memory in bytes.
    pub(super) fn memory_reservation(&self) -> Option<Spanned<u64>> {
        self.limit(&self.mem_reservation, |deploy| &deploy.reserved_memory).filter(|limit| limit.value > 0)
    }

    /// Billionths of a processor.
    pub(super) fn cpu_limit(&self) -> Option<Spanned<u64>> {
        self.limit(&self.cpus, |deploy| &deploy.limit_cpus).filter(|limit| limit.value > 0)
    }

    /// Processes; zero is "not given", as docker has it.
    pub(super) fn process_limit(&self) -> Option<Spanned<i64>> {
        self.limit(&self.pids_limit, |deploy| &deploy.limit_pids).filter(|limit| limit.value != 0)
    }

    fn limit<T: Clone>(
        &self,
        short: &Option<Spanned<T>>,
        long: impl Fn(&Deploy) -> &Option<Spanned<T>>,
    ) -> Option<Spanned<T>> {
        self.deploy.as_ref().and_then(|deploy| long(deploy).clone()).or_else(|| short.clone())
    }
}

#[cfg(test)]
mod tests {
    use stack_model::{Bytes, Millis, NanoCpus, RestartPolicy};

    use crate::testing::{errors, service};

    #[test]
    fn limits_are_lowered_and_know_their_place() {
        let service = service(
            "deploy:\n  resources:\n    limits: {cpus: '0.5', memory: 64m, pids: 10}\n    reservations: {memory: 32m}",
        );
        let limits = &service.container.limits;
        assert_eq!((limits.cpus, limits.memory), (Some(NanoCpus(500_000_000)), Some(Bytes(64 << 20))));
        assert_eq!((limits.pids, limits.memory_reservation), (Some(10), Some(Bytes(32 << 20))));
        assert_eq!(service.origin_of("mem_limit").to_string(), "compose.yaml:6:39");
        assert_eq!(service.origin_of("deploy.resources.limits.memory").to_string(), "compose.yaml:6:39");
    }

    #[test]
    fn the_restart_policy_wins_over_the_short_key() {
        let policy =
            |text: &str| service(&format!("restart: always\ndeploy: {{restart_policy: {{{text}}}}}")).container.restart;
        assert_eq!(policy("condition: on-failure, max_attempts: 3"), RestartPolicy::OnFailure(Some(3)));
        assert_eq!(policy("condition: none"), RestartPolicy::No);
        assert_eq!(policy("condition: any"), RestartPolicy::Always);
        assert_eq!(
            errors("deploy: {restart_policy: {condition: on_failure}}"),
            ["4:42 `on_failure` is not a condition for a restart; did you mean `on-failure`?"]
        );
    }

    #[test]
    fn waits_and_windows_are_lowered_and_zero_is_the_default() {
        let times = |text: &str| {
            let container = service(&format!("deploy: {{restart_policy: {{{text}}}}}")).container;
            (container.restart_delay, container.restart_window)
        };
        assert_eq!(times("delay: 1.5s, window: 2m"), (Some(Millis(1_500)), Some(Millis(120_000))));
        assert_eq!(times("delay: 0s, window: 0s"), (None, None));
    }

    #[test]
    fn they_agree_with_the_short_keys() {
        assert_eq!(
            errors("mem_limit: 32m\ndeploy: {resources: {limits: {memory: 64m}}}"),
            ["4:16 `mem_limit` and `deploy.resources.limits.memory` say different things; remove one of them"]
        );
        assert_eq!(
            errors("mem_limit: 32m\ndeploy: {resources: {limits: {cpus: 1}}}"),
            ["4:16 `mem_limit` is given, and `deploy.resources.limits` does not have it; write it there, as `memory`"]
        );
        let both = service("mem_limit: 32m\ndeploy: {resources: {limits: {memory: 32m}, reservations: {memory: 1m}}}");
        assert_eq!(both.container.limits.memory, Some(Bytes(32 << 20)));
    }

    #[test]
    fn global_is_one_container_on_this_machine() {
        assert_eq!(service("deploy: {mode: global}").replicas, 1);
        assert_eq!(
            errors("deploy: {mode: global, replicas: 2}"),
            ["4:20 `mode: global` is one container on each machine, and there are to be 2; remove one of them"]
        );
    }

    #[test]
    fn the_rest_is_refused() {
        assert_eq!(
            errors("deploy: {mode: global-job, replica: 1}"),
            [
                "4:14 `mode: global-job` of `deploy` is not supported yet; remove it, if the program runs without it",
                "4:32 unknown key `replica` in `deploy`; did you mean `replicas`?",
            ]
        );
    }
}
