//! A plan on its way: which steps may begin, which are under way, which are done.

use std::collections::BTreeSet;

use stack_model::{Key, Op};

/// A plan being executed. Steps under way belong to the engine; this knows only their numbers.
#[derive(Debug, Default)]
pub(crate) struct Dag {
    steps: Vec<Step>,
    /// Numbers of steps that may begin, the smallest first.
    ready: BTreeSet<usize>,
    /// Steps that were left out because something of their key was under way, with all that need them.
    pub(crate) held_back: bool,
}

#[derive(Debug)]
struct Step {
    op: Op,
    /// Needs that are not done yet.
    missing: usize,
    /// Who needs this one.
    needed_by: Vec<usize>,
    held_back: bool,
}

impl Dag {
    /// Prepares a plan's steps; those of `busy` keys and what needs them wait for the next plan.
    pub(crate) fn new(ops: Vec<Op>, busy: impl Fn(&Key) -> bool) -> Self {
        let mut steps: Vec<Step> = Vec::with_capacity(ops.len());
        let mut dag = Self::default();
        for (number, op) in ops.into_iter().enumerate() {
            let held_back =
                busy(&op.key) || op.needs.iter().any(|need| steps.get(*need).is_none_or(|step| step.held_back));
            dag.held_back |= held_back;
            for need in &op.needs {
                if let Some(step) = steps.get_mut(*need) {
                    step.needed_by.push(number);
                }
            }
            let missing = op.needs.len();
            if missing == 0 && !held_back {
                dag.ready.insert(number);
            }
            steps.push(Step { op, missing, needed_by: Vec::new(), held_back });
        }
        dag.steps = steps;
        dag
    }

    /// The next step that may begin and whose key is not busy.
    pub(crate) fn begin(&mut self, busy: impl Fn(&Key) -> bool) -> Option<(usize, Op)> {
        let number = self.ready.iter().copied().find(|number| !busy(&self.steps[*number].op.key))?;
        self.ready.remove(&number);
        Some((number, self.steps[number].op.clone()))
    }

    /// Notes that a step is done; what needs it may begin.
    pub(crate) fn finish(&mut self, number: usize) {
        let Some(step) = self.steps.get_mut(number) else { return };
        for next in std::mem::take(&mut step.needed_by) {
            let next_step = &mut self.steps[next];
            next_step.missing -= 1;
            if next_step.missing == 0 && !next_step.held_back {
                self.ready.insert(next);
            }
        }
    }

    /// Nothing may begin now.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use stack_model::{Action, Cause, Effect, ImageReference, NetworkName};

    use super::*;

    fn op(key: Key, needs: &[usize]) -> Op {
        let action = Action::PullImage { image: ImageReference::new("a") };
        Op { key, action, effect: Effect::New, cause: Cause::Missing, needs: needs.iter().copied().collect() }
    }

    fn network(name: &str) -> Key {
        Key::Network(NetworkName::new(name))
    }

    #[test]
    fn a_step_begins_after_all_that_it_needs() {
        let ops = vec![op(network("a"), &[]), op(network("b"), &[]), op(network("c"), &[0, 1])];
        let mut dag = Dag::new(ops, |_| false);
        assert_eq!(dag.begin(|_| false).unwrap().0, 0);
        assert_eq!(dag.begin(|_| false).unwrap().0, 1);
        assert!(dag.begin(|_| false).is_none());
        dag.finish(0);
        assert!(dag.is_idle());
        dag.finish(1);
        assert_eq!(dag.begin(|_| false).unwrap().0, 2);
    }

    #[test]
    fn what_is_under_way_holds_back_itself_and_what_needs_it() {
        let ops = vec![op(network("a"), &[]), op(network("b"), &[0]), op(network("c"), &[])];
        let mut dag = Dag::new(ops, |key| *key == network("a"));
        assert!(dag.held_back);
        assert_eq!(dag.begin(|_| false).unwrap().0, 2);
        assert!(dag.is_idle());
    }
}
