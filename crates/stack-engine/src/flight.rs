//! Steps under way.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use stack_model::{Action, Failure, Fault, Health, Hooks, Observed, ObservedContainer, Op, State};
use tokio::time::Instant;

use crate::host::Applying;
use crate::schedule::is_pull;

/// Pulls at the same time. Each fetches several layers at once.
const PULLS_MAX: usize = 4;

/// A step under way.
#[derive(Debug)]
pub(crate) struct Flying {
    pub(crate) op: Rc<Op>,
    /// Its place in the current schedule; `None` when that knows nothing of it.
    pub(crate) slot: Option<usize>,
    /// The generation it was planned for.
    pub(crate) generation: u64,
    /// What it was planned from.
    pub(crate) basis: Rc<Observed>,
}

/// A step that has ended.
#[derive(Debug)]
pub(crate) struct Landed {
    number: u64,
    pub(crate) worked: Result<(), Failure>,
    pub(crate) micros: u64,
}

/// All steps under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    futures: FuturesUnordered<Pin<Box<dyn Future<Output = Landed>>>>,
    flying: BTreeMap<u64, Flying>,
    next: u64,
    pulls: usize,
}

impl Flight {
    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// There is room for one more; for a step that is no pull, beside at most `steps_max` others.
    pub(crate) fn has_room(&self, pull: bool, steps_max: usize) -> bool {
        if pull { self.pulls < PULLS_MAX } else { self.flying.len() - self.pulls < steps_max }
    }

    /// The steps under way, in the order in which they began.
    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.flying.values().map(|flying| &*flying.op)
    }

    /// Gives each step its place in a new schedule; in the order of [`Flight::ops`].
    pub(crate) fn place(&mut self, slots: Vec<Option<usize>>) {
        for (flying, slot) in self.flying.values_mut().zip(slots) {
            flying.slot = slot;
        }
    }

    /// Begins a step. `begin` may panic, and so may what it returns: that is the step's failure, not the engine's.
    pub(crate) fn launch(&mut self, flying: Flying, begin: impl FnOnce(&Op) -> Applying) {
        let number = self.next;
        self.next += 1;
        self.pulls += usize::from(is_pull(&flying.op));
        let started = Instant::now();
        let applying = std::panic::catch_unwind(AssertUnwindSafe(|| begin(&flying.op)));
        self.flying.insert(number, flying);
        self.futures.push(Box::pin(async move {
            let ended = match applying {
                Ok(applying) => AssertUnwindSafe(applying).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let worked = match ended {
                Ok(result) => result.map(|_| ()),
                Err(panic) => Err(panicked(&*panic)),
            };
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            Landed { number, worked, micros }
        }));
    }

    /// The next step that ends; never when none is under way. Cancel-safe.
    pub(crate) async fn land(&mut self) -> Landed {
        match self.futures.next().await {
            Some(landed) => landed,
            None => std::future::pending().await,
        }
    }

    /// Strikes a step that has ended off the list.
    pub(crate) fn retire(&mut self, landed: &Landed) -> Option<Flying> {
        let flying = self.flying.remove(&landed.number)?;
        self.pulls -= usize::from(is_pull(&flying.op));
        Some(flying)
    }

    /// Shows containers that are being made as if they were there. Otherwise a plan that is made meanwhile would give
    /// their addresses away and leave their names out.
    pub(crate) fn foresee(&self, observed: &mut Observed) {
        for op in self.ops() {
            let Action::CreateContainer(container) = &op.action else { continue };
            let seen = observed.containers.entry(container.id.clone()).or_insert_with(|| ObservedContainer {
                container: (**container).clone(),
                state: State::Created,
                health: Health::None,
                attached: true,
                paused: false,
                hooks: Hooks::default(),
            });
            if seen.state == State::Creating {
                seen.state = State::Created;
            }
        }
    }
}

/// The state that a plan was made for has come about with the end of this step, although the plan does not have it:
/// see [`Flight::foresee`].
pub(crate) fn is_foreseen(op: &Op) -> bool {
    matches!(op.action, Action::CreateContainer(_))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::new(Fault::Bug, format!("the step panicked: {}", text.unwrap_or("no message")))
        .hint("this is a mistake in `stack`; please report it")
}
