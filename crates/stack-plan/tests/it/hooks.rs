//! What runs inside a container after its start and before its stop, and containers that run before a service.

use insta::assert_snapshot;
use stack_model::{Condition, Hook, HookState, Power, Stage};

use crate::project::{Build, service, shop};
use crate::world::World;

fn hook(word: &str) -> Hook {
    Hook { command: vec![word.to_owned()], ..Hook::default() }
}

fn hooked() -> stack_model::Service {
    service().edit(|service| {
        service.container.post_start.push(hook("warm-up"));
        service.container.pre_stop.push(hook("flush"));
    })
}

#[test]
fn who_depends_on_it_waits_until_the_hooks_have_ended() {
    let desired = shop([("db", hooked()), ("web", service().after("db", Condition::Started))]);
    let mut world = World::new();
    let first = world.step(&desired).to_string();
    assert!(first.contains("post_start") && first.contains("until container:db/1 is done"), "{first}");
    assert!(!world.container("web", 1).is_running());
    assert_snapshot!(world.step(&desired), @r"
    #1           container:db/1       run post_start 7610                  new       missing
    blocked      container:db/1       post_start                           new       until post_start of 7610 has ended
    blocked      container:web/1      start                                new       until db started (compose.yaml:31 depends_on)
    ");
    world.settle(&desired);
    assert!(world.container("web", 1).is_running());
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_hook_that_fails_is_said_and_is_tried_again_when_asked_for() {
    let mut desired = shop([("db", hooked()), ("web", service().after("db", Condition::Started))]);
    let mut world = World::new();
    world.bad_hooks.insert(Stage::PostStart);
    world.settle(&desired);
    assert!(world.container("db", 1).is_running() && !world.container("web", 1).is_running());
    assert_snapshot!(world.plan(&desired), @r"
    blocked      container:db/1       post_start                           new       failed: it has failed
    blocked      container:web/1      start                                new       until db started (compose.yaml:31 depends_on)
    ");
    world.bad_hooks.clear();
    desired.generation += 1;
    world.settle(&desired);
    assert!(world.container("web", 1).is_running() && world.plan(&desired).is_converged());
}

#[test]
fn the_stop_comes_after_the_hooks_and_not_when_they_fail() {
    let on = shop([("db", hooked())]);
    let mut off = shop([("db", hooked().off())]);
    off.generation = 2;
    let mut world = World::with(&on);
    world.bad_hooks.insert(Stage::PreStop);
    assert_snapshot!(world.step(&off), @r"
    #1           container:db/1       run pre_stop 7610                    remove    requested: stop
    blocked      container:db/1       stop                                 remove    until pre_stop of 7610 has ended
    ");
    assert_snapshot!(world.step(&off), @"blocked      container:db/1       stop                                 remove    failed: it has failed");
    assert!(world.container("db", 1).is_running());
    // Somebody asks again, and then without patience.
    off.generation = 3;
    assert_eq!(world.step(&off).ops.len(), 1);
    off.stop_grace = Some(stack_model::Millis(0));
    world.step(&off);
    assert!(!world.container("db", 1).is_running());
}

#[test]
fn each_start_has_its_own_hooks_and_running_ones_are_waited_for() {
    let desired = shop([("db", hooked())]);
    let mut world = World::with(&desired);
    assert!(matches!(world.container("db", 1).hooks.post_start, HookState::Done { generation: 1 }));
    let mut again = shop([("db", hooked().edit(|service| service.restart_request = 1))]);
    again.generation = 2;
    assert!(world.step(&again).to_string().contains("run pre_stop"));
    world.container("db", 1).hooks.pre_stop = HookState::Running;
    assert_eq!(world.step(&again).ops.len(), 0);
    world.container("db", 1).hooks.pre_stop = HookState::Done { generation: 2 };
    let stop = world.step(&again).to_string();
    assert!(stop.contains("stop 7610"), "{stop}");
    world.step(&again);
    let hooks = world.step(&again).to_string();
    assert!(hooks.contains("run post_start"), "{hooks}");
}

#[test]
fn what_runs_before_runs_again_when_the_service_was_stopped_on_purpose() {
    let project = |power| {
        let step = service().edit(|service| service.before = Some("web".into()));
        let web = service().after("web-pre_start-0", Condition::CompletedSuccessfully);
        shop([("web-pre_start-0", step), ("web", web.edit(|service| service.power = power))])
    };
    let (on, off) = (project(Power::On), project(Power::Off));
    let mut world = World::new();
    world.jobs.insert("web-pre_start-0".into(), 0);
    world.settle(&on);
    assert!(world.container("web", 1).is_running() && world.plan(&on).is_converged());
    world.now = stack_model::Now(world.now.0 + 5_000);
    world.settle(&off);
    assert!(world.plan(&off).is_converged(), "{}", world.plan(&off));
    let plan = world.step(&on).to_string();
    assert!(plan.contains("container:web-pre_start-0/1 start"), "{plan}");
    world.settle(&on);
    assert!(world.container("web", 1).is_running() && world.plan(&on).is_converged());
    // Its own end is no reason.
    world.exit("web", 0);
    let plan = world.plan(&on).to_string();
    assert!(!plan.contains("pre_start-0/1 start"), "{plan}");
}
