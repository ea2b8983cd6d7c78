//! Stopping, removing and restarting: dependents first, patience with an end.

use insta::assert_snapshot;
use stack_model::{Condition, Millis, Now, ServiceName, State, Stopping};
use stack_plan::emptied;

use crate::project::{Build, service, shop};
use crate::world::World;

fn chain() -> stack_model::Desired {
    shop([
        ("api", service().after("db", Condition::Started)),
        ("db", service()),
        ("web", service().after("api", Condition::Started)),
    ])
}

#[test]
fn down_stops_dependents_first_and_leaves_nothing() {
    let mut world = World::with(&chain());
    let empty = emptied(&chain());
    assert_snapshot!(world.step(&empty), @r"
    #1           container:web/1      stop 2885 grace 10s                  remove    not wanted
    blocked      container:api/1      stop                                 remove    until 2885 ended
    blocked      container:db/1       stop                                 remove    until 77b6 ended
    blocked      container:web/1      remove                               remove    until 2885 ended
    blocked      network:default      remove                               remove    until 2885 ended
    ");
    assert_snapshot!(world.step(&empty), @r"
    #1           container:api/1      stop 77b6 grace 10s                  remove    not wanted
    #2           container:web/1      remove 2885                          remove    not wanted
    blocked      container:api/1      remove                               remove    until 77b6 ended
    blocked      container:db/1       stop                                 remove    until 77b6 ended
    blocked      network:default      remove                               remove    until 7610 ended
    ");
    world.step(&empty);
    assert_snapshot!(world.step(&empty), @r"
    #1           container:db/1       remove 7610                          remove    not wanted
    #2 after 1   network:default      remove bridge stk-d38021d9           remove    not wanted
    #3           ruleset              apply rules 0 ports                  remove    not wanted
    #4           names                publish names for 0 containers       remove    not wanted
    ");
    assert!(world.plan(&empty).is_converged());
    assert_eq!(world.observed, World::new().observed);
}

#[test]
fn a_project_without_a_file_goes_all_at_once() {
    let mut world = World::with(&chain());
    let empty = shop([]);
    assert_eq!(world.step(&empty).ops.len(), 3);
    world.settle(&empty);
    assert_eq!(world.observed, World::new().observed);
}

#[test]
fn scaling_down_takes_the_highest_number_first() {
    let mut world = World::with(&shop([("web", service().replicas(3))]));
    let desired = shop([("web", service())]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/3      stop e117 grace 10s                  remove    not wanted
    #2           container:web/2      stop 1dcd grace 10s                  remove    not wanted
    blocked      container:web/3      remove                               remove    until e117 ended
    blocked      container:web/2      remove                               remove    until 1dcd ended
    ");
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/3      remove e117                          remove    not wanted
    #2           container:web/2      remove 1dcd                          remove    not wanted
    #3           names                publish names for 1 containers       live      follows container:web/3
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_service_that_is_gone_from_the_file_goes_away() {
    let mut world = World::with(&shop([("a", service()), ("b", service())]));
    let desired = shop([("a", service())]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:b/1        stop 232a grace 10s                  remove    not wanted
    blocked      container:b/1        remove                               remove    until 232a ended
    ");
    assert_snapshot!(world.step(&desired), @r"
    #1           container:b/1        remove 232a                          remove    not wanted
    #2           names                publish names for 1 containers       live      follows container:b/1
    ");
}

#[test]
fn what_is_turned_off_stays_there_and_starts_again() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    let off = shop([("web", service().off())]);
    assert_snapshot!(world.step(&off), @"#1           container:web/1      stop 2885 grace 10s                  remove    requested: stop");
    world.settle(&off);
    assert!(world.plan(&off).is_converged());
    assert_eq!(world.observed.containers.len(), 1);
    assert_snapshot!(world.step(&desired), @r"
    #1           names                publish names for 1 containers       new       missing
    #2           container:web/1      start 2885                           restart   requested: start
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn patience_ends_with_sigkill() {
    let mut world = World::with(&shop([("web", service())]));
    world.deaf.insert(ServiceName::new("web"));
    let empty = shop([]);
    world.step(&empty);
    assert_snapshot!(world.plan(&empty), @r"
    blocked      container:web/1      stop                                 remove    grace period
    blocked      network:default      remove                               remove    until 2885 ended
    ");
    assert_eq!(world.plan(&empty).next_time(), Some(Now(world.now.0 + 10_000)));
    world.now = Now(world.now.0 + 10_000);
    assert_snapshot!(world.plan(&empty), @r"
    #1           container:web/1      kill 2885                            remove    not wanted
    blocked      container:web/1      remove                               remove    until 2885 ended
    blocked      network:default      remove                               remove    until 2885 ended
    ");
    let killed = Stopping { since: world.now, deadline: world.now, killed: true };
    world.container("web", 1).state = State::Running { pid: 1, started: Now(0), stopping: Some(killed) };
    assert_snapshot!(world.plan(&empty), @r"
    blocked      container:web/1      stop                                 remove    until 2885 ended
    blocked      network:default      remove                               remove    until 2885 ended
    ");
}

#[test]
fn less_patience_may_be_asked_for_while_it_stops() {
    let mut world = World::with(&shop([("web", service())]));
    world.deaf.insert(ServiceName::new("web"));
    let mut empty = shop([]);
    world.step(&empty);
    empty.stop_grace = Some(Millis(1000));
    assert_eq!(world.plan(&empty).next_time(), Some(Now(world.now.0 + 1000)));
}

#[test]
fn no_patience_at_all_kills_at_once() {
    let world = World::with(&shop([("web", service())]));
    let mut empty = shop([]);
    empty.stop_grace = Some(Millis(0));
    assert!(world.plan(&empty).to_string().contains("kill"));
}

#[test]
fn a_restart_keeps_the_container() {
    let mut world = World::with(&shop([("web", service())]));
    let id = world.id("web", 1);
    let desired = shop([("web", service().edit(|service| service.restart_request = 1))]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      stop 2885 grace 10s                  restart   requested: restart
    blocked      container:web/1      start                                restart   until 2885 ended
    ");
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      update 2885                          restart   requested: restart
    #2 after 1   container:web/1      start 2885                           restart   requested: restart
    ");
    assert!(world.plan(&desired).is_converged());
    assert_eq!(world.id("web", 1), id);
}

#[test]
fn another_container_can_be_asked_for() {
    let mut world = World::with(&shop([("web", service())]));
    let id = world.id("web", 1);
    let desired = shop([("web", service().edit(|service| service.recreate_request = 7))]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      stop 2885 grace 10s                  replace   requested: recreate
    blocked      container:web/1      create                               replace   until 2885 ended
    ");
    world.settle(&desired);
    assert_ne!(world.id("web", 1), id);
    assert!(world.plan(&desired).is_converged());
    // A journal that has lost the request asks for nothing.
    assert!(world.plan(&shop([("web", service())])).is_converged());
}

#[test]
fn a_container_that_is_kept_stays_what_it_is() {
    let mut world = World::with(&shop([("web", service().env("A", "1"))]));
    let (id, record) = (world.id("web", 1), world.container("web", 1).container.clone());
    let changed = |keep: bool| {
        shop([(
            "web",
            service().env("A", "2").replicas(2).edit(|service| {
                service.keep = keep;
                service.container.limits.memory = Some(stack_model::Bytes(64 << 20));
            }),
        )])
    };
    world.settle(&changed(true));
    assert_eq!((world.id("web", 1), &world.container("web", 1).container), (id.clone(), &record));
    assert_eq!(world.container("web", 2).container.spec.environment["A"].as_deref(), Some("2"));
    world.settle(&changed(false));
    assert_ne!(world.id("web", 1), id, "what was kept is still known to differ");
}

#[test]
fn dependents_that_ask_for_it_follow_a_restart() {
    let project = |request: u64| {
        shop([
            ("api", service().depends("db", |dependency| dependency.restart = true)),
            ("db", service().edit(|service| service.restart_request = request)),
            ("other", service().after("db", Condition::Started)),
            ("web", service().depends("api", |dependency| dependency.restart = true)),
        ])
    };
    let mut world = World::with(&project(0));
    let mut alone = project(1);
    alone.services.get_mut("db").unwrap().restart_alone = true;
    assert!(!world.plan(&alone).to_string().contains("follows"), "unless it is restarted alone");
    let mut plans = Vec::new();
    loop {
        let plan = world.step(&project(1));
        if plan.is_converged() {
            break;
        }
        plans.push(plan.to_string());
    }
    assert_snapshot!(plans.join("\n"), @r"
    #1           container:web/1      stop 2885 grace 10s                  restart   follows container:api/1
    blocked      container:api/1      stop                                 restart   until 2885 ended
    blocked      container:db/1       stop                                 restart   until 77b6 ended
    blocked      container:web/1      start                                restart   until 2885 ended

    #1           container:api/1      stop 77b6 grace 10s                  restart   follows container:db/1
    blocked      container:api/1      start                                restart   until 77b6 ended
    blocked      container:db/1       stop                                 restart   until 77b6 ended
    blocked      container:web/1      start                                restart   until api started (compose.yaml:31 depends_on)

    #1           container:db/1       stop 7610 grace 10s                  restart   requested: restart
    blocked      container:db/1       start                                restart   until 7610 ended
    blocked      container:api/1      start                                restart   until db started (compose.yaml:31 depends_on)
    blocked      container:web/1      start                                restart   until api started (compose.yaml:31 depends_on)

    #1           container:db/1       update 7610                          restart   requested: restart
    #2 after 1   container:db/1       start 7610                           restart   requested: restart
    #3 after 2   container:api/1      start 77b6                           restart   requested: start
    #4 after 3   container:web/1      start 2885                           restart   requested: start
    ");
}

#[test]
fn dependents_follow_a_replacement_of_a_container_that_has_ended() {
    let project = |value: &str| {
        shop([
            ("api", service().depends("db", |dependency| dependency.restart = true)),
            ("db", service().env("A", value)),
        ])
    };
    let mut world = World::with(&project("1"));
    world.exit("db", 0);
    assert_snapshot!(world.plan(&project("2")), @r"
    #1           container:api/1      stop 77b6 grace 10s                  restart   follows container:db/1
    blocked      container:api/1      start                                restart   until 77b6 ended
    blocked      container:db/1       remove                               replace   until 77b6 ended
    ");
    let started = world.now;
    world.now = Now(world.now.0 + 1000);
    world.settle(&project("2"));
    let State::Running { started: again, .. } = world.container("api", 1).state else { panic!("api is down") };
    assert!(again > started);
}

#[test]
fn both_ends_of_a_dependency_are_replaced_in_order() {
    let project = |value: &str| {
        shop([("api", service().env("A", value).after("db", Condition::Started)), ("db", service().env("A", value))])
    };
    let mut world = World::with(&project("1"));
    let mut plans = Vec::new();
    loop {
        let plan = world.step(&project("2"));
        if plan.is_converged() {
            break;
        }
        plans.push(plan.to_string());
    }
    assert_snapshot!(plans.join("\n"), @r"
    #1           container:api/1      stop 77b6 grace 10s                  replace   compose.yaml:14 environment.A 1 -> 2
    blocked      container:api/1      create                               replace   until 77b6 ended
    blocked      container:db/1       stop                                 replace   until 77b6 ended

    #1           container:db/1       stop 7610 grace 10s                  replace   compose.yaml:14 environment.A 1 -> 2
    #2           container:api/1      remove 77b6                          replace   compose.yaml:14 environment.A 1 -> 2
    #3 after 2   container:api/1      create fed0 10.89.0.2                replace   compose.yaml:14 environment.A 1 -> 2
    #4           names                publish names for 2 containers       live      follows container:api/1
    blocked      container:db/1       create                               replace   until 7610 ended
    blocked      container:api/1      start                                replace   until db started (compose.yaml:31 depends_on)

    #1           container:db/1       remove 7610                          replace   compose.yaml:14 environment.A 1 -> 2
    #2 after 1   container:db/1       create 836f 10.89.0.3                replace   compose.yaml:14 environment.A 1 -> 2
    #3           names                publish names for 2 containers       live      follows container:db/1
    #4 after 2   container:db/1       start 836f                           replace   compose.yaml:14 environment.A 1 -> 2
    #5 after 4   container:api/1      start fed0                           new       missing
    ");
}
