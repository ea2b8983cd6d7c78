//! `deploy`: replicas and limits. They say the same as `scale`, `cpus`, `mem_limit`, `mem_reservation` and
//! `pids_limit`, must agree with them, and are lowered by them.

use serde_json::{Map, Value, json};

use super::ServiceKey;
use super::cpus::number;
use super::scale::replicas;
use crate::context::Cx;
use crate::decode::Keys;
use crate::project::Project;
use crate::report::{Code, Problem, Report};
use crate::service::{Deploy, Service};
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("deploy", parse, render).nullable().check(check);

const KEYS: Keys = Keys {
    known: &["replicas", "resources"],
    not_yet: &["mode", "endpoint_mode", "labels", "rollback_config", "update_config", "restart_policy", "placement"],
    extensions: true,
};
const RESOURCES: Keys = Keys { known: &["limits", "reservations"], not_yet: &[], extensions: true };
const LIMITS: Keys = Keys { known: &["cpus", "memory", "pids"], not_yet: &[], extensions: true };
const RESERVATIONS: Keys =
    Keys { known: &["memory"], not_yet: &["cpus", "devices", "generic_resources"], extensions: true };

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    if node.is_null() {
        return;
    }
    let Some(fields) = cx.object(node, "`deploy`", &KEYS) else { return };
    let mut deploy = Deploy::default();
    if let Some(entry) = fields.get("replicas") {
        deploy.replicas = replicas(&entry.value, "`replicas`", cx);
    }
    let resources = fields.get("resources").filter(|entry| !entry.value.is_null());
    if let Some(resources) = resources.and_then(|entry| cx.object(&entry.value, "`resources`", &RESOURCES)) {
        let there = |key: &str| resources.get(key).map(|entry| &entry.value).filter(|node| !node.is_null());
        if let Some(limits) = there("limits").and_then(|node| cx.object(node, "`limits`", &LIMITS)) {
            deploy.limit_cpus = limits.get("cpus").and_then(|entry| cx.cpus(&entry.value, "`cpus`"));
            deploy.limit_memory = limits.get("memory").and_then(|entry| cx.bytes(&entry.value, "`memory`"));
            deploy.limit_pids = limits.get("pids").and_then(|entry| cx.integer(&entry.value, "`pids`", -1..=i64::MAX));
        }
        if let Some(kept) = there("reservations").and_then(|node| cx.object(node, "`reservations`", &RESERVATIONS)) {
            deploy.reserved_memory = kept.get("memory").and_then(|entry| cx.bytes(&entry.value, "`memory`"));
        }
    }
    service.deploy = Some(deploy);
}

fn check(service: &Service, _: &Project, report: &mut Report) {
    let Some(deploy) = &service.deploy else { return };
    agree(("cpus", service.cpus.as_ref()), ("limits.cpus", deploy.limit_cpus.as_ref()), report);
    agree(("mem_limit", service.mem_limit.as_ref()), ("limits.memory", deploy.limit_memory.as_ref()), report);
    let reservation = ("mem_reservation", service.mem_reservation.as_ref());
    agree(reservation, ("reservations.memory", deploy.reserved_memory.as_ref()), report);
    agree(("pids_limit", service.pids_limit.as_ref()), ("limits.pids", deploy.limit_pids.as_ref()), report);
}

fn agree<T: PartialEq>(
    (key, old): (&str, Option<&Spanned<T>>),
    (path, new): (&str, Option<&Spanned<T>>),
    report: &mut Report,
) {
    let Some((old, new)) = old.zip(new).filter(|(old, new)| old.value != new.value) else { return };
    let message = format!("`{key}` and `deploy.resources.{path}` say different things");
    let problem = Problem::error(Code::ConflictingKeys, old.span, message).also(new.span, "and here");
    report.push(problem.help("remove one of them"));
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

fn render(service: &Service) -> Option<Value> {
    let deploy = service.deploy.as_ref()?;
    let mut limits = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            limits.insert(key.to_owned(), value);
        }
    };
    put("cpus", deploy.limit_cpus.as_ref().map(|cpus| number(cpus.value)));
    put("memory", deploy.limit_memory.as_ref().map(|bytes| Value::from(bytes.value.to_string())));
    put("pids", deploy.limit_pids.as_ref().map(|pids| Value::from(pids.value)));
    let mut resources = Map::new();
    if !limits.is_empty() {
        resources.insert("limits".to_owned(), Value::Object(limits));
    }
    if let Some(bytes) = &deploy.reserved_memory {
        resources.insert("reservations".to_owned(), json!({ "memory": bytes.value.to_string() }));
    }
    let mut value = json!({ "placement": {}, "resources": resources });
    if let Some(replicas) = &deploy.replicas {
        value["replicas"] = Value::from(replicas.value);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use stack_model::{Bytes, NanoCpus};

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
    fn they_agree_with_the_short_keys() {
        assert_eq!(
            errors("mem_limit: 32m\ndeploy: {resources: {limits: {memory: 64m}}}"),
            ["4:16 `mem_limit` and `deploy.resources.limits.memory` say different things; remove one of them"]
        );
    }

    #[test]
    fn the_rest_is_refused() {
        assert_eq!(
            errors("deploy: {mode: global, replica: 1}"),
            [
                "4:14 the key `mode` of `deploy` is not supported yet",
                "4:28 unknown key `replica` in `deploy`; did you mean `replicas`?",
            ]
        );
    }
}
