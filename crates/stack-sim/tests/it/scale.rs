//! What the loop costs when there is much to do.

use stack_model::Millis;
use stack_sim::{Behaviour, Draft, healthcheck};

use crate::trial::{Trial, one};

fn many(count: u32, checked: bool) -> Draft {
    let names = (0..count).map(|number| format!("s{number:03}"));
    names.fold(Draft::new("many"), |draft, name| {
        let behaviour = Behaviour { ready_after: Millis(20), ..Behaviour::default() };
        draft.with(&name, behaviour, |service| service.container.healthcheck = checked.then(healthcheck))
    })
}

#[test]
fn a_hundred_services_come_up_with_few_looks_and_few_saves() {
    one(0, async || {
        let trial = Trial::new(0, many(100, false));
        trial.world.borrow_mut().add_image(&"app:1".into());
        trial
            .life(async |life| {
                let generation = life.up(&trial.draft.desired).await;
                life.converged(generation).await;
                let world = trial.world.borrow();
                assert_eq!(world.starts.len(), 100);
                assert!(world.looks <= 4, "{} looks:\n{}", world.looks, life.story());
                assert!(world.saves <= 3, "{} saves", world.saves);
            })
            .await;
    });
}

#[test]
fn a_hundred_verdicts_do_not_make_a_hundred_plans() {
    one(0, async || {
        let trial = Trial::new(0, many(100, true));
        trial.world.borrow_mut().add_image(&"app:1".into());
        trial
            .life(async |life| {
                let generation = life.up(&trial.draft.desired).await;
                life.converged(generation).await;
                let looks = trial.world.borrow().looks;
                assert!(looks <= 15, "{looks} looks");
            })
            .await;
    });
}
