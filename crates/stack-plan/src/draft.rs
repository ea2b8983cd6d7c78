//! A plan while it is being written: steps by phase, and the gate that holds back what failed a moment ago.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{
    Action, Blocked, Cause, Desired, Effect, Fault, History, Key, Now, Observed, Op, Plan, Stage, Until, VolumeName,
};

/// The four arguments of [`crate::plan`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) history: &'a History,
    pub(crate) now: Now,
}

/// A step of the draft; becomes an index of the plan when the draft is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle(usize);

/// Where a step stands in the plan. Needs always lead to an earlier phase, or back within [`Phase::Start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Pull,
    Stop,
    RemoveAnonymous,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    EnsureNetwork,
    EnsureVolume,
    Create,
    WriteLimits,
    Adjust,
    Publish,
    Start,
}

/// Why a step is taken and what it means.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    pub(crate) effect: Effect,
    pub(crate) cause: Cause,
}

impl Reason {
    pub(crate) fn new(effect: Effect, cause: Cause) -> Self {
        Self { effect, cause }
    }
}

#[derive(Debug)]
pub(crate) struct Draft<'a> {
    frame: Frame<'a>,
    ops: Vec<(Phase, Op)>,
    blocked: Vec<Blocked>,
    warnings: Vec<String>,
    held_back: BTreeSet<Key>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(frame: Frame<'a>) -> Self {
        Self { frame, ops: Vec::new(), blocked: Vec::new(), warnings: Vec::new(), held_back: BTreeSet::new() }
    }

    /// Adds a step, unless something about its key failed and must not be tried again yet.
    pub(crate) fn push(
        &mut self,
        key: Key,
        action: Action,
        reason: Reason,
        needs: impl IntoIterator<Item = Handle>,
    ) -> Option<Handle> {
        let phase = phase(&action);
        self.push_in(
            phase,
            Op { key, action, effect: reason.effect, cause: reason.cause, needs: BTreeSet::new() },
            needs,
        )
    }

    /// Deletes a volume that has no name of its own, before the container that alone knows of it: a crash in between
    /// must not leave a volume that nothing leads to.
    pub(crate) fn push_anonymous(&mut self, name: &VolumeName) -> Option<Handle> {
        let (key, action) = (Key::Volume(name.clone()), Action::RemoveVolume { name: name.clone() });
        let op = Op { key, action, effect: Effect::DataLoss, cause: Cause::NotWanted, needs: BTreeSet::new() };
        self.push_in(Phase::RemoveAnonymous, op, [])
    }

    fn push_in(&mut self, phase: Phase, mut op: Op, needs: impl IntoIterator<Item = Handle>) -> Option<Handle> {
        if self.is_held_back(&op.key, &op.action, op.effect) {
            return None;
        }
        op.needs = needs.into_iter().map(|Handle(need)| need).collect();
        self.ops.push((phase, op));
        Some(Handle(self.ops.len() - 1))
    }

    pub(crate) fn block(&mut self, key: Key, step: &str, effect: Effect, until: Until) {
        self.blocked.push(Blocked { key, step: step.to_owned(), effect, until });
    }

    pub(crate) fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// The plan makes or changes something.
    pub(crate) fn brings(&self) -> bool {
        self.ops.iter().any(|(phase, _)| *phase >= Phase::EnsureNetwork)
    }

    /// The first container or network that the plan touches.
    pub(crate) fn first_key(&self) -> Option<&Key> {
        self.ops.iter().map(|(_, op)| &op.key).find(|key| matches!(key, Key::Container(..) | Key::Network(_)))
    }

    fn is_held_back(&mut self, key: &Key, action: &Action, effect: Effect) -> bool {
        let Some(failed) = self.frame.history.failed.get(key) else { return false };
        // A newer input may have mended it.
        if failed.generation != self.frame.desired.generation || self.frame.now >= failed.not_before {
            return false;
        }
        if self.held_back.insert(key.clone()) {
            let step = step(action);
            if failed.failure.fault != Fault::Transient {
                self.block(key.clone(), step, effect, Until::Failed(failed.failure.clone()));
            }
            // The deadline stands in the plan even beside a failure: it is what wakes the loop.
            let text = format!("retry after: {}", failed.failure);
            self.block(key.clone(), step, effect, Until::Time(failed.not_before, text));
        }
        true
    }

    /// The plan: steps in phase order, needs renumbered.
    pub(crate) fn finish(self) -> Plan {
        let mut order: Vec<usize> = (0..self.ops.len()).collect();
        order.sort_by_key(|&index| (self.ops[index].0, index));
        let mut place = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let mut ops: BTreeMap<usize, Op> = BTreeMap::new();
        for (old, (_, mut op)) in self.ops.into_iter().enumerate() {
            op.needs = op.needs.iter().map(|&need| place[need]).collect();
            ops.insert(place[old], op);
        }
        Plan { ops: ops.into_values().collect(), blocked: self.blocked, warnings: self.warnings }
    }
}

fn phase(action: &Action) -> Phase {
    match action {
        Action::PullImage { .. } => Phase::Pull,
        Action::StopContainer { .. }
        | Action::KillContainer { .. }
        | Action::RunHooks { stage: Stage::PreStop, .. } => Phase::Stop,
        Action::RemoveContainer { .. } => Phase::RemoveContainer,
        Action::RemoveNetwork { .. } => Phase::RemoveNetwork,
        Action::RemoveVolume { .. } => Phase::RemoveVolume,
        Action::EnsureNetwork(_) => Phase::EnsureNetwork,
        Action::EnsureVolume(_) => Phase::EnsureVolume,
        Action::CreateContainer(_) => Phase::Create,
        Action::WriteLimits { .. } => Phase::WriteLimits,
        Action::UpdateRecord(_)
        | Action::AttachContainer { .. }
        | Action::PauseContainer { .. }
        | Action::UnpauseContainer { .. } => Phase::Adjust,
        Action::ApplyRuleset(_) | Action::PublishNames(_) => Phase::Publish,
        Action::StartContainer { .. } | Action::RunHooks { stage: Stage::PostStart, .. } => Phase::Start,
    }
}

/// The step in one word, for a blocked line.
fn step(action: &Action) -> &'static str {
    match action {
        Action::PullImage { .. } => "pull",
        Action::RunHooks { stage: Stage::PostStart, .. } => "post_start",
        Action::RunHooks { stage: Stage::PreStop, .. } => "pre_stop",
        Action::PauseContainer { .. } => "pause",
        Action::UnpauseContainer { .. } => "unpause",
        Action::StopContainer { .. } => "stop",
        Action::KillContainer { .. } => "kill",
        Action::RemoveContainer { .. } | Action::RemoveNetwork { .. } => "remove",
        Action::RemoveVolume { .. } => "delete",
        Action::EnsureNetwork(_) | Action::EnsureVolume(_) => "ensure",
        Action::CreateContainer(_) => "create",
        Action::WriteLimits { .. } => "write limits",
        Action::UpdateRecord(_) => "update",
        Action::AttachContainer { .. } => "attach",
        Action::ApplyRuleset(_) => "apply rules",
        Action::PublishNames(_) => "publish names",
        Action::StartContainer { .. } => "start",
    }
}
