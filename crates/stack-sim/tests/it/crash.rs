//! A crash at every point at which one can come: before and after every save of the journal, before, within and after
//! every step, before every look.

use std::collections::BTreeMap;

use stack_model::{ContainerId, PolicyChange};
use stack_sim::{Random, project};

use crate::trial::{COUNT, Life, Trial, accepted, histories};

/// Projects for each test; each is run once for each of its points.
const PROJECTS: u64 = 10;

fn trial(seed: u64) -> Trial {
    Trial::new(seed, project(&mut Random::new(seed)))
}

async fn up(trial: &Trial, life: &Life) {
    life.up(&trial.draft.desired).await;
    life.settled().await;
}

/// Processes that are still the same.
fn same(before: &BTreeMap<ContainerId, u32>, after: &BTreeMap<ContainerId, u32>) -> usize {
    before.iter().filter(|(id, pid)| after.get(*id) == Some(pid)).count()
}

#[test]
fn up_goes_on_after_a_crash_at_every_point() {
    histories(PROJECTS, async |seed| {
        let points = {
            let trial = trial(seed);
            trial.life(async |life| up(&trial, life).await).await;
            trial.world.borrow().points
        };
        for point in 0..points {
            let trial = trial(seed);
            trial.world.borrow_mut().crash_at = Some(point);
            let lived = trial.life(async |life| up(&trial, life).await).await;
            let before = trial.world.borrow_mut().processes();
            assert!(lived.is_none() || point + 1 >= points, "point {point} of {points} was not reached");
            trial.life(async |life| up(&trial, life).await).await;
            trial.check(&trial.draft.desired);
            // What has ended by itself is not there any more; everything else was adopted.
            let after = trial.world.borrow_mut().processes();
            let ended = before.len() - same(&before, &after);
            let mortal = |id: &ContainerId| {
                let world = trial.world.borrow();
                let service = world.truth_of(id).map(|container| container.service.clone());
                service.is_some_and(|name| {
                    let behaviour = world.behaviours[&name];
                    behaviour.exit.is_some() || behaviour.crashes > 0
                })
            };
            assert!(ended <= before.keys().filter(|id| mortal(id)).count(), "point {point}: restarted what ran");
        }
    });
}

#[test]
fn down_goes_on_after_a_crash_at_every_point() {
    histories(PROJECTS, async |seed| {
        let (first, last) = {
            let trial = trial(seed);
            trial.life(async |life| up(&trial, life).await).await;
            let first = trial.world.borrow().points;
            trial.life(async |life| life.down(false).await).await;
            (first, trial.world.borrow().points)
        };
        for point in first..last {
            let trial = trial(seed);
            trial.life(async |life| up(&trial, life).await).await;
            let volumes = trial.world.borrow().volumes.clone();
            trial.world.borrow_mut().crash_at = Some(point);
            if trial.life(async |life| life.down(false).await).await.is_none() {
                trial.life(async |life| life.down(false).await).await.expect("no second crash");
            }
            trial.check_empty();
            assert_eq!(trial.world.borrow().volumes, volumes);
        }
    });
}

#[test]
fn a_save_goes_on_after_a_crash_at_every_point() {
    histories(PROJECTS, async |seed| {
        let edited = {
            let (mut draft, mut random) = (trial(seed).draft, Random::new(seed + 1000));
            (0..3).for_each(|_| draft.edit(&mut random));
            draft.desired
        };
        let edit = async |life: &Life| {
            life.save(&edited).await;
            life.settled().await;
        };
        let (first, last) = {
            let trial = trial(seed);
            trial.life(async |life| up(&trial, life).await).await;
            let first = trial.world.borrow().points;
            trial.life(edit).await;
            (first, trial.world.borrow().points)
        };
        for point in first..last {
            let trial = trial(seed);
            trial.life(async |life| up(&trial, life).await).await;
            let volumes = trial.world.borrow().volumes.clone();
            trial.world.borrow_mut().crash_at = Some(point);
            if trial.life(edit).await.is_none() {
                trial.life(edit).await.expect("no second crash");
            }
            trial.check(&edited);
            assert!(volumes.iter().all(|(name, made)| trial.world.borrow().volumes.get(name) == Some(made)));
        }
    });
}

#[test]
fn what_was_asked_for_is_known_after_the_answer() {
    histories(COUNT, async |seed| {
        let trial = trial(seed);
        let stopped = trial
            .life(async |life| {
                up(&trial, life).await;
                accepted(life.change(PolicyChange::Stop { services: Vec::new(), timeout: None }).await);
            })
            .await;
        assert_eq!(stopped, Some(()));
        trial.life(async |life| drop(life.settled().await)).await;
        assert_eq!(trial.world.borrow().running().count(), 0);
        trial.check(&trial.draft.desired);
    });
}
