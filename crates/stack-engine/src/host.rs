//! What the engine needs from the world. `stack-host` implements it for the real machine, `stack-sim` in memory.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use stack_model::{Desired, Failure, Layout, Now, Observed, Op, ProjectName};

/// Whether an operation found something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It did something.
    Yes,
    /// It was so already.
    No,
}

/// A running operation. It owns what it needs, so that several run while the host answers other calls.
pub type Applying = Pin<Box<dyn Future<Output = Result<Changed, Failure>>>>;

/// The world of one project.
pub trait Host {
    /// Steps it works on at the same time, pulls aside. What it would only keep in a queue is better chosen later, from a
    /// newer plan, and the time of a step is then the time that it works.
    fn steps_max(&self) -> usize;

    /// Looks at everything of the project, and at the images `desired` names. Cheap enough to be asked after every
    /// wake-up: it may answer from what its watches keep current, and looks again at all of it when `fresh` is set.
    fn observe(&mut self, desired: &Desired, fresh: bool) -> impl Future<Output = Observed>;

    /// Begins one operation. Idempotent: what is already so succeeds with [`Changed::No`].
    fn apply(&mut self, op: &Op) -> Applying;

    /// Ends when something of the project may have changed: a process ended, a link went away, a probe gave a
    /// verdict. Carries no authority: a lost wake-up costs one resync. Must be cancel-safe.
    fn wait(&mut self) -> impl Future<Output = Wake>;

    /// Nothing is left to do for now: the time to give back what only work needs.
    fn rest(&mut self) {}
}

/// What a wake-up says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Something may have changed; what the watches keep is current.
    Dirty,
    /// Watches may have lost something: look at everything again.
    Resync,
    /// Something to tell, without a change of state.
    Tell(stack_model::Event),
}

/// Time, so that the simulation can make its own.
pub trait Clock {
    /// Now.
    fn now(&self) -> Now;
    /// Ends at `at`, or at once if that has passed. Must be cancel-safe.
    fn sleep_until(&self, at: Now) -> impl Future<Output = ()>;
}

/// What a command line verb needs when no supervisor answers, or to start one.
pub trait Machine {
    /// Where things lie.
    fn layout(&self) -> &Layout;
    /// Looks at a project from the kernel and the disk, without changing anything.
    fn observe(&self, desired: &Desired) -> Result<Observed, Failure>;
    /// The desired state that was last accepted for a project, if it is still up.
    fn last_desired(&self, project: &ProjectName) -> Result<Option<Desired>, Failure>;
    /// Starts a supervisor for a project if none runs; returns when its socket answers.
    fn ensure_supervisor(&self, project: &ProjectName, working_dir: &Path) -> Result<(), Failure>;
}
