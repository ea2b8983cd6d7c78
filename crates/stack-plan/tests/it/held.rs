//! What is left alone: frozen containers, those that run but once, and those that were asked to end.

use insta::assert_snapshot;
use stack_model::{Exit, OneOff, Power, RestartPolicy, Service, ServiceName, State};

use crate::project::{service, shop};
use crate::world::World;

const KILLED: Exit = Exit { code: None, signal: Some(9), out_of_memory: false, requested: false, memory: None };

fn with_power(power: Power, image: &str) -> Service {
    let mut service = service();
    (service.power, service.container.image) = (power, image.into());
    service
}

fn once(image: &str) -> Service {
    let one_off = OneOff { of: ServiceName::new("web"), remove: false, client: None };
    Service { one_off: Some(one_off), ..with_power(Power::Once, image) }
}

#[test]
fn a_frozen_container_is_changed_when_it_goes_on() {
    let mut world = World::with(&shop([("web", service())]));
    let paused = shop([("web", with_power(Power::Paused, "app:2"))]);
    assert_snapshot!(world.step(&paused), @"#1           container:web/1      pause 2885                           live      requested: pause");
    assert!(world.plan(&paused).is_converged());
    // Somebody else has let it go on.
    world.container("web", 1).paused = false;
    assert_eq!(world.step(&paused).ops.len(), 1);
    assert_snapshot!(world.step(&shop([("web", service())])), @"#1           container:web/1      unpause 2885                         live      requested: unpause");
    // Killed while it was frozen, it is not healed.
    world.step(&paused);
    world.exit_after("web", 500, KILLED);
    world.container("web", 1).paused = false;
    world.settle(&paused);
    assert!(!world.container("web", 1).is_running());
}

#[test]
fn what_runs_once_is_never_started_again_and_never_replaced() {
    let job = shop([("web", service()), ("web-run-1", once("app:1"))]);
    let mut world = World::with(&job);
    assert!(world.container("web-run-1", 1).is_running());
    let id = world.id("web-run-1", 1);
    let changed = shop([("web", with_power(Power::On, "app:2")), ("web-run-1", once("app:2"))]);
    world.settle(&changed);
    assert_eq!((world.id("web-run-1", 1), world.container("web-run-1", 1).is_running()), (id.clone(), true));
    for exit in [KILLED, Exit { code: Some(1), ..Exit::default() }, Exit::default()] {
        world.exit_after("web-run-1", 500, exit);
        world.settle(&changed);
        assert!(matches!(world.container("web-run-1", 1).state, State::Exited { .. }), "{exit}");
    }
    let mut off = changed.clone();
    off.services.get_mut("web-run-1").unwrap().power = Power::Off;
    assert!(world.plan(&off).is_converged());
    // It goes when nothing names it any more.
    world.settle(&shop([("web", with_power(Power::On, "app:2"))]));
    assert!(!world.observed.containers.contains_key(&id));
}

#[test]
fn what_is_only_made_is_not_started() {
    let created = |image| shop([("db", service()), ("web", with_power(Power::Created, image))]);
    let mut world = World::with(&created("app:1"));
    assert!(world.plan(&created("app:1")).is_converged());
    assert_eq!(
        (world.container("web", 1).state.clone(), world.container("db", 1).is_running()),
        (State::Created, true)
    );
    world.settle(&created("app:2"));
    assert_eq!(world.container("web", 1).state, State::Created);
    world.settle(&shop([("db", service()), ("web", with_power(Power::On, "app:2"))]));
    assert!(world.container("web", 1).is_running());
}

#[test]
fn what_was_asked_to_end_stays_down_whatever_its_policy_says() {
    let desired = |power| {
        let mut service = with_power(power, "app:1");
        service.container.restart = RestartPolicy::Always;
        shop([("web", service)])
    };
    let mut world = World::with(&desired(Power::On));
    assert!(world.plan(&desired(Power::Once)).is_converged());
    world.exit("web", 0);
    world.settle(&desired(Power::Once));
    assert!(!world.container("web", 1).is_running());
    world.settle(&desired(Power::On));
    assert!(world.container("web", 1).is_running());
}
