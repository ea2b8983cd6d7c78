//! What users do, on a machine where nothing breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use stack_engine::Message;
use stack_model::{
    Bytes, Condition, Diagnostic, Event, Millis, PolicyChange, Recreate, Reply, RestartPolicy, Severity, State,
    UpOptions,
};
use stack_sim::{Behaviour, Draft, Faults, Random, depends, healthcheck, mount, project};

use crate::trial::{COUNT, Trial, accepted, histories, one};

/// `web` needs a healthy `db`, which has a volume.
fn shop() -> Draft {
    Draft::new("shop")
        .with("db", Behaviour { ready_after: Millis(200), ..Behaviour::default() }, |service| {
            service.container.healthcheck = Some(healthcheck());
            service.container.mounts.push(mount("shop_data"));
        })
        .with("web", Behaviour::default(), |service| {
            service.depends_on.insert("db".into(), depends(Condition::Healthy, false));
        })
}

#[test]
fn any_project_comes_up_in_order_and_a_second_up_does_nothing() {
    histories(COUNT, async |seed| {
        let trial = Trial::new(seed, project(&mut Random::new(seed)));
        trial.world.borrow_mut().order = Some(trial.draft.desired.clone());
        trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                let desired = life.settled().await;
                trial.check(&desired);
                let (before, processes) = (life.bus.last(), trial.world.borrow_mut().processes());
                assert_eq!(life.plan(&trial.draft.desired).await.to_string(), "");
                let generation = life.up(&trial.draft.desired).await;
                life.converged(generation).await;
                life.settled().await;
                assert_eq!(life.steps(before), Vec::<String>::new());
                assert_eq!(trial.world.borrow_mut().processes(), processes);
            })
            .await;
    });
}

/// Who starts a supervisor has something to say, and says it a moment later.
#[test]
fn a_new_engine_hears_what_is_wanted_before_it_mends_what_ended_unseen() {
    let trial = Trial::new(1, shop());
    let lived = one(1, async || {
        trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                life.settled().await;
            })
            .await;
        while trial.world.borrow_mut().kill_any().is_some() {}
        trial
            .life(async |life| {
                tokio::time::sleep(Duration::from_millis(20)).await;
                life.down(false).await;
                life.steps(0)
            })
            .await
    });
    let steps = lived.expect("nothing crashes");
    assert!(!steps.iter().any(|step| step.contains("start")), "{steps:#?}");
    trial.check_empty();
}

#[test]
fn a_new_engine_adopts_what_runs() {
    histories(COUNT, async |seed| {
        let trial = Trial::new(seed, project(&mut Random::new(seed)));
        let first = async |life: &crate::trial::Life| {
            life.up(&trial.draft.desired).await;
            life.settled().await;
        };
        trial.life(first).await;
        let processes = trial.world.borrow_mut().processes();
        trial
            .life(async |life| {
                life.settled().await;
                let steps = life.steps(0);
                assert!(steps.iter().all(|step| step.starts_with("names ")), "{steps:?}");
            })
            .await;
        assert_eq!(trial.world.borrow_mut().processes(), processes);
        trial.check_violations();
    });
}

#[test]
fn deleting_the_journal_restarts_nothing() {
    histories(COUNT, async |seed| {
        let trial = Trial::new(seed, project(&mut Random::new(seed)));
        let up = async |life: &crate::trial::Life| {
            life.up(&trial.draft.desired).await;
            life.settled().await;
        };
        trial.life(up).await;
        let processes = trial.world.borrow_mut().processes();
        trial.kept.delete();
        // A save comes before anyone asks for anything: what runs was asked for.
        let save = async |life: &crate::trial::Life| {
            life.save(&trial.draft.desired).await;
            life.converged(1).await;
            life.settled().await;
        };
        trial.life(save).await;
        assert_eq!(trial.world.borrow_mut().processes(), processes);
        trial.kept.delete();
        trial.life(up).await;
        assert_eq!(trial.world.borrow_mut().processes(), processes);
        trial.check(&trial.draft.desired);
    });
}

#[test]
fn a_restart_is_done_even_when_the_journal_was_lost() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        for _ in 0..2 {
            trial.kept.delete();
            trial
                .life(async |life| {
                    life.up(&trial.draft.desired).await;
                    life.settled().await;
                    let before = trial.world.borrow_mut().processes();
                    let restart = PolicyChange::Restart { services: vec!["db".into()], timeout: None, no_deps: false };
                    accepted(life.change(restart).await);
                    life.settled().await;
                    let after = trial.world.borrow_mut().processes();
                    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
                    assert_eq!(before.values().filter(|pid| after.values().any(|other| other == *pid)).count(), 1);
                })
                .await;
        }
        trial.check_violations();
    });
}

#[test]
fn down_leaves_nothing_but_volumes_and_takes_those_with_consent() {
    histories(COUNT, async |seed| {
        let trial = Trial::new(seed, project(&mut Random::new(seed)));
        let down = async |volumes: bool| {
            let life = async |life: &crate::trial::Life| {
                life.up(&trial.draft.desired).await;
                life.settled().await;
                life.down(volumes).await;
            };
            trial.life(life).await;
            trial.check_empty();
        };
        down(false).await;
        let volumes = trial.world.borrow().volumes.clone();
        assert_eq!(volumes.len(), trial.draft.desired.volumes.len());
        trial.world.borrow_mut().consent = true;
        down(true).await;
        assert_eq!(trial.world.borrow().volumes, BTreeMap::new());
    });
}

#[test]
fn down_works_without_a_journal() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        let up = async |life: &crate::trial::Life| {
            life.up(&trial.draft.desired).await;
            life.settled().await;
        };
        trial.life(up).await;
        trial.kept.delete();
        trial.life(async |life: &crate::trial::Life| life.down(false).await).await;
        trial.check_empty();
    });
}

#[test]
fn a_rejected_input_disturbs_nothing() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                life.settled().await;
                let (before, truth) = (life.bus.last(), trial.world.borrow_mut().truth());
                let diagnostic = Diagnostic {
                    code: "unknown-key".to_owned(),
                    severity: Severity::Error,
                    message: "unknown key".to_owned(),
                    labels: Vec::new(),
                    reason: None,
                    help: None,
                    patch: None,
                };
                let reason = "compose.yaml saved".to_owned();
                life.send(Message::Rejected { reason, diagnostics: vec![diagnostic] }).await;
                life.until("rejected", |event| matches!(event, Event::Rejected { .. })).await;
                life.settled().await;
                assert_eq!(trial.world.borrow_mut().truth(), truth);
                assert_eq!((life.steps(before), life.bus.last()), (Vec::new(), before + 1));
                for _ in 0..2 {
                    life.save(&trial.draft.desired).await;
                    life.settled().await;
                    let told = "that it is well again, and nothing for a save that says nothing new";
                    assert_eq!((life.steps(before), life.bus.last()), (Vec::new(), before + 3), "{told}");
                }
            })
            .await;
    });
}

#[test]
fn a_limit_changes_under_the_process_and_an_environment_replaces_only_its_container() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial
            .life(async |life| {
                let mut desired = trial.draft.desired.clone();
                life.up(&desired).await;
                life.settled().await;
                let volumes = trial.world.borrow().volumes.clone();
                let before = trial.world.borrow_mut().processes();
                let db = desired.services.get_mut("db").unwrap();
                db.container.limits.memory = Some(Bytes(64 << 20));
                life.save(&desired).await;
                life.converged(2).await;
                assert_eq!(trial.world.borrow_mut().processes(), before);
                let web = desired.services.get_mut("web").unwrap();
                web.container.environment.insert("DEBUG".to_owned(), Some("1".to_owned()));
                life.save(&desired).await;
                life.converged(3).await;
                let after = trial.world.borrow_mut().processes();
                assert_eq!(before.keys().filter(|id| after.contains_key(*id)).count(), 1);
                assert_eq!(trial.world.borrow().volumes, volumes);
                trial.check(&life.settled().await);
            })
            .await;
    });
}

#[test]
fn stop_start_scale_and_selection() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        let count = || trial.world.borrow().running().count();
        trial
            .life(async |life| {
                let only = |name: &str| UpOptions { services: vec![name.into()], ..UpOptions::default() };
                let refused = life.up_with(&trial.draft.desired, only("bd")).await;
                let Reply::Refused(failure) = refused else { panic!("{refused:?}") };
                assert_eq!(failure.hint.as_deref(), Some("the project has: db, web"));
                accepted(life.up_with(&trial.draft.desired, only("db")).await);
                life.settled().await;
                assert_eq!(count(), 1);
                accepted(life.up_with(&trial.draft.desired, only("web")).await);
                life.settled().await;
                assert_eq!(count(), 2);
                let stop = PolicyChange::Stop { services: vec!["web".into()], timeout: None };
                accepted(life.change(stop).await);
                life.settled().await;
                assert_eq!((count(), trial.world.borrow_mut().truth().containers.len()), (1, 2));
                life.save(&trial.draft.desired).await;
                life.settled().await;
                assert_eq!(count(), 1, "a save does not start what was stopped");
                accepted(life.change(PolicyChange::Start { services: Vec::new() }).await);
                life.settled().await;
                assert_eq!(count(), 2);
                let scale = BTreeMap::from([("web".into(), 4)]);
                accepted(life.up_with(&trial.draft.desired, UpOptions { scale, ..UpOptions::default() }).await);
                trial.check(&life.settled().await);
                assert_eq!(count(), 5);
            })
            .await;
    });
}

#[test]
fn what_is_left_to_do_is_not_what_the_same_request_would_do_again() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial
            .life(async |life| {
                let desired = &trial.draft.desired;
                let again = UpOptions { recreate: Recreate::All, ..UpOptions::default() };
                accepted(life.up_with(desired, again.clone()).await);
                life.settled().await;
                assert_eq!(life.plan_of(desired, None).await.to_string(), "");
                assert!(life.plan_of(desired, Some(again)).await.to_string().contains("requested: recreate"));
            })
            .await;
    });
}

#[test]
fn dependents_start_as_soon_as_the_dependency_is_healthy() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial
            .life(async |life| {
                let generation = life.up(&trial.draft.desired).await;
                life.converged(generation).await;
                let truth = trial.world.borrow_mut().truth();
                let started = |name: &str| {
                    let found = truth.containers.values().find(|it| it.container.service.as_str() == name);
                    match found.map(|it| &it.state) {
                        Some(State::Running { started, .. }) => started.0,
                        other => panic!("{name}: {other:?}"),
                    }
                };
                let waited = started("web") - started("db");
                assert!((200..=215).contains(&waited), "{waited} ms after the start of a database that takes 200");
            })
            .await;
    });
}

#[test]
fn a_crash_loop_is_patient_and_told_once_a_run() {
    one(0, async || {
        let behaviour = Behaviour { crashes: 4, ..Behaviour::default() };
        let draft = Draft::new("loop")
            .with("app", behaviour, |service| service.container.restart = RestartPolicy::OnFailure(None));
        let trial = Trial::new(0, draft);
        trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                life.settled().await;
                assert_eq!(trial.world.borrow().starts.len(), 5);
                let exits = life.until("last exit", |event| matches!(event, Event::Exited { .. })).await;
                assert_eq!(exits.iter().filter(|it| matches!(it.event, Event::Exited { .. })).count(), 1);
            })
            .await;
        trial.check_violations();
    });
}

#[test]
fn a_step_that_panics_is_a_failure_of_its_key() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial.world.borrow_mut().faults = Faults { panic: 1000, ..Faults::default() };
        std::panic::set_hook(Box::new(|_| {}));
        let lived = trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                let told = life.until("failed", |event| matches!(event, Event::Failed { .. })).await;
                let Some(Event::Failed { failure, retry, .. }) = told.last().map(|it| it.event.clone()) else {
                    panic!("{told:?}")
                };
                assert_eq!(failure.message, "the step panicked: chance");
                assert!(retry.is_some());
                trial.world.borrow_mut().faults = Faults::default();
                trial.check(&life.settled().await);
            })
            .await;
        drop(std::panic::take_hook());
        assert!(lived.is_some());
    });
}

#[test]
fn a_full_disk_is_told_once_and_keeps_nothing_from_running() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial.world.borrow_mut().disk_full = true;
        trial
            .life(async |life| {
                let generation = life.up(&trial.draft.desired).await;
                life.converged(generation).await;
                tokio::time::sleep(Duration::from_secs(100)).await;
                assert_eq!(trial.world.borrow().running().count(), 2);
                let warnings = life.story().lines().filter(|line| line.contains("cannot write the journal")).count();
                assert_eq!(warnings, 1, "{}", life.story());
                trial.world.borrow_mut().disk_full = false;
                life.up(&trial.draft.desired).await;
                trial.check(&life.settled().await);
            })
            .await;
    });
}

#[test]
fn an_engine_that_is_told_to_quit_leaves_everything_running() {
    one(0, async || {
        let trial = Trial::new(0, shop());
        trial
            .life(async |life| {
                life.up(&trial.draft.desired).await;
                life.settled().await;
                life.send(Message::Quit).await;
                let mut events = life.bus.follow(life.bus.last());
                assert_eq!(tokio::time::timeout(Duration::from_secs(5), events.next()).await, Ok(None));
            })
            .await;
        assert_eq!(trial.world.borrow().running().count(), 2);
    });
}
