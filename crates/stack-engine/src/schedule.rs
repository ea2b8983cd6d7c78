//! The steps of one plan in the order that their needs allow. Pure: it knows what may begin, not what a step is.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stack_model::{Action, Key, Op};

/// A plan under execution.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    ops: Vec<Rc<Op>>,
    /// Needs of each step that are not done.
    unmet: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    /// Steps that were taken, or were under way already when the plan was made.
    taken: Vec<bool>,
    ready: BTreeSet<usize>,
    ready_pulls: BTreeSet<usize>,
    busy: BTreeSet<Key>,
    /// Steps that only wait for their key.
    held: BTreeMap<Key, BTreeSet<usize>>,
}

/// Pulls wait for the network and must not keep other steps from running.
pub(crate) fn is_pull(op: &Op) -> bool {
    matches!(op.action, Action::PullImage { .. })
}

impl Schedule {
    /// Schedules `ops`. `flying` are steps under way from before: where the plan has the very same step, it counts as
    /// begun, and its place is in the answer; otherwise what is about its key waits until it has ended.
    pub(crate) fn new<'a>(ops: Vec<Op>, flying: impl Iterator<Item = &'a Op>) -> (Self, Vec<Option<usize>>) {
        let mut schedule = Self {
            unmet: ops.iter().map(|op| op.needs.len()).collect(),
            dependents: vec![Vec::new(); ops.len()],
            taken: vec![false; ops.len()],
            ops: ops.into_iter().map(Rc::new).collect(),
            ..Self::default()
        };
        for (index, op) in schedule.ops.iter().enumerate() {
            for need in &op.needs {
                schedule.dependents[*need].push(index);
            }
        }
        let slots = flying.map(|op| schedule.adopt(op)).collect();
        for index in 0..schedule.ops.len() {
            schedule.offer(index);
        }
        (schedule, slots)
    }

    fn adopt(&mut self, flying: &Op) -> Option<usize> {
        self.busy.insert(flying.key.clone());
        let slot = self.ops.iter().position(|op| op.key == flying.key && op.action == flying.action)?;
        self.taken[slot] = true;
        Some(slot)
    }

    fn offer(&mut self, index: usize) {
        if self.unmet[index] > 0 || self.taken[index] {
            return;
        }
        if is_pull(&self.ops[index]) {
            self.ready_pulls.insert(index)
        } else {
            self.ready.insert(index)
        };
    }

    /// The next step that may begin now; its key is busy from here on.
    pub(crate) fn take(&mut self, pulls: bool) -> Option<(usize, Rc<Op>)> {
        loop {
            let ready = if pulls { &mut self.ready_pulls } else { &mut self.ready };
            let index = ready.pop_first()?;
            let op = Rc::clone(&self.ops[index]);
            if self.busy.contains(&op.key) {
                self.held.entry(op.key.clone()).or_default().insert(index);
                continue;
            }
            self.busy.insert(op.key.clone());
            self.taken[index] = true;
            return Some((index, op));
        }
    }

    /// A step of this plan has ended. What needs a failed one is not begun by this plan, and neither is what else it has
    /// for the key.
    pub(crate) fn finish(&mut self, index: usize, worked: bool) {
        let key = self.ops[index].key.clone();
        self.release(&key, worked);
        if worked {
            for dependent in std::mem::take(&mut self.dependents[index]) {
                self.unmet[dependent] -= 1;
                self.offer(dependent);
            }
        }
    }

    /// A key is free again. What waits for it goes on if the world is as this plan expects it. If not, every step of the
    /// key is dropped, also those that still wait for something else. Tells whether something was dropped.
    pub(crate) fn release(&mut self, key: &Key, as_expected: bool) -> bool {
        self.busy.remove(key);
        let held = self.held.remove(key).unwrap_or_default();
        if as_expected {
            held.into_iter().for_each(|index| self.offer(index));
            return false;
        }
        let mut dropped = false;
        for (index, op) in self.ops.iter().enumerate() {
            if op.key == *key && !self.taken[index] {
                self.taken[index] = true;
                self.ready.remove(&index);
                self.ready_pulls.remove(&index);
                dropped = true;
            }
        }
        dropped
    }

    /// Something could begin if there were room.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.ready_pulls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use stack_model::{Cause, ContainerId, Effect, VolumeName};

    use super::*;

    fn op(key: u32, action: &str, needs: &[usize]) -> Op {
        Op {
            key: Key::Container("web".into(), key),
            action: Action::KillContainer { id: ContainerId::new(action) },
            effect: Effect::New,
            cause: Cause::Missing,
            needs: needs.iter().copied().collect(),
        }
    }

    fn take_all(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| schedule.take(false)).map(|(index, _)| index).collect()
    }

    #[test]
    fn needs_come_first_and_a_key_has_one_step_at_a_time() {
        let ops = vec![op(1, "a", &[]), op(1, "b", &[]), op(2, "c", &[]), op(3, "d", &[0, 2])];
        let (mut schedule, _) = Schedule::new(ops, std::iter::empty());
        assert_eq!(take_all(&mut schedule), [0, 2]);
        schedule.finish(0, true);
        assert_eq!(take_all(&mut schedule), [1]);
        schedule.finish(2, true);
        assert_eq!(take_all(&mut schedule), [3]);
        assert!(!schedule.has_ready());
    }

    #[test]
    fn what_needs_a_failed_step_is_not_begun() {
        let ops = vec![op(1, "a", &[]), op(1, "b", &[]), op(2, "c", &[0]), op(3, "d", &[])];
        let (mut schedule, _) = Schedule::new(ops, std::iter::empty());
        assert_eq!(take_all(&mut schedule), [0, 3]);
        schedule.finish(0, false);
        assert_eq!(take_all(&mut schedule), Vec::<usize>::new());
    }

    #[test]
    fn a_step_under_way_is_not_begun_again() {
        let (flying, other) = (op(1, "a", &[]), op(2, "x", &[]));
        let ops = vec![op(1, "a", &[]), op(2, "b", &[]), op(3, "c", &[0])];
        let (mut schedule, slots) = Schedule::new(ops, [&flying, &other].into_iter());
        assert_eq!(slots, [Some(0), None]);
        assert_eq!(take_all(&mut schedule), Vec::<usize>::new());
        schedule.finish(0, true);
        assert_eq!(take_all(&mut schedule), [2]);
        assert!(schedule.release(&other.key, false), "the plan knows nothing of what ended: it is made anew");
        assert_eq!(take_all(&mut schedule), Vec::<usize>::new());
    }

    #[test]
    fn what_a_plan_did_not_foresee_spoils_the_key_also_for_later() {
        let flying = op(1, "x", &[]);
        let ops = vec![op(2, "a", &[]), op(1, "b", &[0]), op(3, "c", &[0])];
        let (mut schedule, _) = Schedule::new(ops, [&flying].into_iter());
        assert_eq!(take_all(&mut schedule), [0]);
        assert!(schedule.release(&flying.key, false));
        schedule.finish(0, true);
        assert_eq!(take_all(&mut schedule), [2]);
    }

    #[test]
    fn pulls_do_not_stand_in_the_way() {
        let mut pull = op(1, "a", &[]);
        pull.action = Action::PullImage { image: "app:1".into() };
        let mut volume = op(2, "b", &[]);
        volume.action = Action::RemoveVolume { name: VolumeName::new("v") };
        let (mut schedule, _) = Schedule::new(vec![pull, volume], std::iter::empty());
        assert_eq!(take_all(&mut schedule), [1]);
        assert_eq!(schedule.take(true).map(|(index, _)| index), Some(0));
    }
}
