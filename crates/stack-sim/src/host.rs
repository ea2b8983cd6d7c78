//! One life of a host on the world.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use stack_engine::{Applying, Changed, Clock, Host, Wake};
use stack_model::{Action, Desired, Failure, Fault, Key, Observed, Op};

use crate::world::SharedWorld;

/// A host. Dropping it, together with the engine that has it, is a crash.
#[derive(Debug)]
pub struct SimHost {
    world: SharedWorld,
}

impl SimHost {
    /// A host on `world`.
    pub fn new(world: SharedWorld) -> Self {
        Self { world }
    }
}

/// Where a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    Halfway,
    After,
}

/// How one step will go.
#[derive(Debug)]
struct Course {
    first: Duration,
    second: Duration,
    fails: Option<Stage>,
    panics: bool,
}

impl Host for SimHost {
    fn steps_max(&self) -> usize {
        32
    }

    async fn observe(&mut self, _: &Desired, fresh: bool) -> Observed {
        pass(&self.world).await;
        let takes = self.world.borrow_mut().random.below(3);
        let observed = self.world.borrow_mut().observe(fresh);
        tokio::time::sleep(Duration::from_millis(takes)).await;
        observed
    }

    fn apply(&mut self, op: &Op) -> Applying {
        Box::pin(perform(Rc::clone(&self.world), op.clone()))
    }

    async fn wait(&mut self) -> Wake {
        loop {
            let changed = Rc::clone(&self.world.borrow().changed);
            let changed = changed.notified();
            let (clock, next) = {
                let mut world = self.world.borrow_mut();
                let now = world.now();
                world.advance(now);
                if let Some(wake) = world.take_wake() {
                    return wake;
                }
                (world.clock, world.next_change())
            };
            let next_change = async {
                match next {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = next_change => {}
            }
        }
    }
}

/// Passes a point at which a crash may hit; nothing goes on behind it then.
async fn pass(world: &SharedWorld) {
    if world.borrow_mut().is_past_point() {
        pending().await
    }
}

/// A key is busy while this lives.
struct Busy(SharedWorld, Key);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.borrow_mut().busy.remove(&self.1);
    }
}

async fn perform(world: SharedWorld, op: Op) -> Result<Changed, Failure> {
    if !world.borrow_mut().busy.insert(op.key.clone()) {
        world.borrow_mut().violate(format!("two steps of {} at a time", op.key));
    }
    let _busy = Busy(Rc::clone(&world), op.key.clone());
    let Course { first, second, fails, panics } = course(&world, &op);
    let failed = |stage| match fails {
        Some(fails) if fails == stage => Err(Failure::new(Fault::Transient, format!("chance, {stage:?}"))),
        Some(_) | None => Ok(()),
    };
    pass(&world).await;
    failed(Stage::Before)?;
    assert!(!panics, "chance");
    tokio::time::sleep(first).await;
    alive(&world).await;
    world.borrow_mut().begin(&op)?;
    pass(&world).await;
    failed(Stage::Halfway)?;
    tokio::time::sleep(second).await;
    alive(&world).await;
    let changed = world.borrow_mut().complete(&op)?;
    pass(&world).await;
    failed(Stage::After)?;
    let mut world = world.borrow_mut();
    let noise = world.faults.noise;
    if world.random.chance(noise) {
        world.emit(Wake::Dirty);
    }
    Ok(changed)
}

/// Goes on only if no crash has hit meanwhile.
async fn alive(world: &SharedWorld) {
    if world.borrow().is_dead() {
        pending().await
    }
}

fn course(world: &SharedWorld, op: &Op) -> Course {
    let mut world = world.borrow_mut();
    let faults = world.faults;
    let longest = if let Action::PullImage { .. } = op.action { 300 } else { 4 };
    let mut duration = || Duration::from_millis(world.random.below(longest));
    let (first, second) = (duration(), duration());
    let fails = if world.random.chance(faults.fail) {
        world.random.pick(&[Stage::Before, Stage::Halfway, Stage::After]).copied()
    } else {
        None
    };
    Course { first, second, fails, panics: world.random.chance(faults.panic) }
}
