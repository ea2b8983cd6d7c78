//! A machine on which everything breaks, all the time, and then stops breaking.

use std::time::Duration;

use stack_model::{Millis, PolicyChange, Recreate, ServiceName, UpOptions};
use stack_sim::{Draft, Faults, Random, project};

use crate::trial::{COUNT, Life, Trial, histories};

/// What is lost is noticed by the resync at the latest, plus the time to mend it.
const RESYNC_AND_MORE: Duration = Duration::from_secs(31);
/// Things that happen in one history.
const EVENTS: u64 = 25;

const STORM: Faults = Faults { fail: 100, panic: 0, lose: 200, duplicate: 200, delay: 200, noise: 200 };

#[test]
fn what_breaks_unnoticed_is_mended_within_one_resync() {
    histories(COUNT, async |seed| {
        let trial = Trial::new(seed, project(&mut Random::new(seed)));
        let lived = trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                life.settled().await;
                trial.world.borrow_mut().faults.lose = 1000;
                let breaks: [fn(&mut stack_sim::World); 3] = [
                    |world| drop(world.kill_any()),
                    |world| drop(world.delete_any_network()),
                    stack_sim::World::flush_rules,
                ];
                for what in breaks {
                    let before = trial.world.borrow_mut().processes();
                    let truth = trial.world.borrow_mut().truth();
                    what(&mut trial.world.borrow_mut());
                    tokio::time::sleep(RESYNC_AND_MORE).await;
                    let after = trial.world.borrow_mut().processes();
                    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{}", life.story());
                    let mended = trial.world.borrow_mut().truth();
                    assert_eq!((mended.networks, mended.ruleset), (truth.networks, truth.ruleset));
                    assert!(mended.containers.values().all(|it| it.attached));
                }
            })
            .await;
        assert_eq!(lived, Some(()));
        trial.check(&trial.draft.desired);
    });
}

/// One thing that happens: someone asks for something, or something breaks.
async fn happen(trial: &mut Trial, random: &mut Random, life: &Life) {
    let names: Vec<ServiceName> = trial.draft.desired.services.keys().cloned().collect();
    let some: Vec<ServiceName> = names.iter().filter(|_| random.chance(400)).cloned().collect();
    match random.below(12) {
        0 | 1 => {
            trial.draft.edit(random);
            trial.teach();
            life.save(&trial.draft.desired).await;
        }
        2 => {
            let options = UpOptions {
                services: some,
                recreate: [Recreate::Changed, Recreate::All, Recreate::None][random.below(3) as usize],
                recreate_dependencies: random.chance(200),
                renew_volumes: random.chance(200),
                no_deps: random.chance(200),
                rerun: random.chance(200),
                ..UpOptions::default()
            };
            drop(life.up_with(&trial.draft.desired, options).await);
        }
        3 => drop(life.change(PolicyChange::Stop { services: some, timeout: Some(Millis(50)) }).await),
        4 => drop(life.change(PolicyChange::Start { services: some }).await),
        5 => drop(
            life.change(PolicyChange::Restart { services: some, timeout: None, no_deps: random.chance(500) }).await,
        ),
        6 | 7 => drop(trial.world.borrow_mut().kill_any()),
        8 => drop(trial.world.borrow_mut().delete_any_network()),
        9 => trial.world.borrow_mut().flush_rules(),
        _ => {}
    }
    tokio::time::sleep(Duration::from_millis(random.below(400))).await;
}

#[test]
fn everything_is_as_wanted_when_the_storm_is_over() {
    histories(COUNT, async |seed| {
        let mut random = Random::new(seed);
        let draft: Draft = project(&mut random);
        let mut trial = Trial::new(seed, draft.clone());
        trial.world.borrow_mut().faults = STORM;
        let mut events = 0;
        while events < EVENTS {
            // The life of a supervisor ends after a while, in the middle of whatever it does.
            let crash_at = trial.world.borrow().points + random.below(120);
            trial.world.borrow_mut().crash_at = Some(crash_at);
            let mut storm = Trial { world: trial.world.clone(), kept: trial.kept.clone(), draft: trial.draft.clone() };
            let (random, events) = (&mut random, &mut events);
            trial
                .life(async |life| {
                    life.up(&storm.draft.desired).await;
                    while *events < EVENTS {
                        *events += 1;
                        happen(&mut storm, random, life).await;
                    }
                })
                .await;
            *events += 1;
            trial.draft = storm.draft;
        }
        trial.world.borrow_mut().faults = Faults::default();
        let volumes = trial.world.borrow().volumes.clone();
        trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                trial.check(&life.settled().await);
                life.down(false).await;
            })
            .await;
        trial.check_empty();
        assert_eq!(trial.world.borrow().volumes.keys().filter(|name| !volumes.contains_key(*name)).count(), 0);
        assert!(volumes.iter().all(|(name, made)| trial.world.borrow().volumes.get(name) == Some(made)));
    });
}
