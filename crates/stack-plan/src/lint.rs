//! Rules that every plan keeps. Checked in debug builds and by the tests; a finding is a mistake of this crate.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{Action, ContainerId, Key, Observed, Op, Plan, State};

/// What is wrong with a plan made from `observed`; empty when nothing is.
pub fn lint(plan: &Plan, observed: &Observed) -> Vec<String> {
    let mut findings = Vec::new();
    lint_needs(plan, &mut findings);
    lint_creates(plan, observed, &mut findings);
    for (index, op) in plan.ops.iter().enumerate() {
        if let Some(text) = forbidden(op, plan, observed) {
            findings.push(format!("#{}: {text}", index + 1));
        }
    }
    findings
}

/// Needs lead back, so there is no cycle; steps of one key follow each other.
fn lint_needs(plan: &Plan, findings: &mut Vec<String>) {
    for (index, op) in plan.ops.iter().enumerate() {
        if op.needs.iter().any(|need| *need >= index) {
            findings.push(format!("#{} needs a step that does not come before it", index + 1));
        }
    }
}

fn lint_creates(plan: &Plan, observed: &Observed, findings: &mut Vec<String>) {
    let (mut keys, mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let removed: BTreeSet<&ContainerId> = plan
        .ops
        .iter()
        .filter_map(|op| match &op.action {
            Action::RemoveContainer { id } => Some(id),
            _ => None,
        })
        .collect();
    for container in observed.containers.values().map(|it| &it.container).filter(|it| !removed.contains(&it.id)) {
        for endpoint in &container.endpoints {
            addresses.insert((&endpoint.network, endpoint.address.addr()), &container.id);
        }
    }
    for op in &plan.ops {
        let Action::CreateContainer(container) = &op.action else { continue };
        if !keys.insert(&op.key) {
            findings.push(format!("{} is created twice", op.key));
        }
        if !ids.insert(&container.id) || observed.containers.contains_key(&container.id) {
            findings.push(format!("identifier {} is used twice", container.id));
        }
        for endpoint in &container.endpoints {
            let address = endpoint.address.addr();
            if let Some(other) = addresses.insert((&endpoint.network, address), &container.id) {
                findings.push(format!("{address} belongs to {} and {}", other.short(), container.id.short()));
            }
            if endpoint.host_interface.as_str().len() > 15 {
                findings.push(format!("interface name {} is too long", endpoint.host_interface));
            }
        }
    }
}

/// Why a step does not fit the state of its container.
fn forbidden(op: &Op, plan: &Plan, observed: &Observed) -> Option<String> {
    let state = |id: &ContainerId| observed.containers.get(id).map(|container| &container.state);
    let is_created = |id: &ContainerId| {
        op.needs.iter().filter_map(|need| plan.ops.get(*need)).any(|other| match &other.action {
            Action::CreateContainer(container) => container.id == *id,
            _ => false,
        })
    };
    let (id, allowed) = match &op.action {
        Action::StartContainer { id } => {
            (id, is_created(id) || matches!(state(id), Some(State::Created | State::Exited { .. })))
        }
        Action::StopContainer { id, .. } => (id, matches!(state(id), Some(State::Running { stopping: None, .. }))),
        Action::PauseContainer { id }
        | Action::RunHooks { id, .. }
        | Action::UnpauseContainer { id }
        | Action::KillContainer { id }
        | Action::WriteLimits { id, .. }
        | Action::AttachContainer { id } => (id, matches!(state(id), Some(State::Running { .. }))),
        Action::RemoveContainer { id } => (id, !matches!(state(id), None | Some(State::Running { .. }))),
        Action::UpdateRecord(container) => {
            let is_whole = !matches!(state(&container.id), None | Some(State::Creating | State::Removing));
            (&container.id, is_whole)
        }
        Action::CreateContainer(container) => (&container.id, runs_nowhere_else(op, observed)),
        Action::PullImage { .. }
        | Action::EnsureNetwork(_)
        | Action::RemoveNetwork { .. }
        | Action::EnsureVolume(_)
        | Action::RemoveVolume { .. }
        | Action::ApplyRuleset(_)
        | Action::PublishNames(_) => return None,
    };
    (!allowed).then(|| format!("{} does not fit {id} as it is", op.action))
}

/// No other container of the key runs while a new one is made.
fn runs_nowhere_else(op: &Op, observed: &Observed) -> bool {
    let Key::Container(service, index) = &op.key else { return false };
    let mut others = observed.containers.values();
    !others.any(|it| it.container.service == *service && it.container.index == *index && it.is_running())
}
