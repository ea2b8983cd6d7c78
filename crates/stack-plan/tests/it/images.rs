//! Images: pulled once, never in the way of what runs.

use insta::assert_snapshot;
use stack_model::{Failure, Fault, ImageReference, Key, Now, PullPolicy};
use stack_plan::note_failure;

use crate::project::{Build, service, shop};
use crate::world::{World, facts};

#[test]
fn an_image_is_pulled_once_and_containers_wait_for_it() {
    let desired = shop([("a", service().image("new:1")), ("b", service().image("new:1").replicas(2))]);
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           image:new:1          pull                                 new       missing
    #2           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #3 after 2   ruleset              apply rules 0 ports                  new       missing
    blocked      container:a/1        create                               new       until image new:1 present
    blocked      container:b/1        create                               new       until image new:1 present
    blocked      container:b/2        create                               new       until image new:1 present
    ");
}

#[test]
fn what_must_not_be_pulled_and_is_absent_fails_with_a_hint() {
    let never = service().image("new:1").edit(|service| service.container.pull_policy = PullPolicy::Never);
    assert_snapshot!(World::new().plan(&shop([("a", never)])), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2 after 1   ruleset              apply rules 0 ports                  new       missing
    blocked      container:a/1        create                               new       failed: image new:1 is not in the store and `pull_policy` is `never`
    ");
}

#[test]
fn a_moved_tag_replaces() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    world.observed.images.insert(ImageReference::new("app:1"), facts("app:1 rebuilt"));
    assert_snapshot!(world.plan(&desired), @r"
    #1           container:web/1      stop 2885 grace 10s                  replace   compose.yaml:2 image app:1 (a49568e0d0d1) -> app:1 (7f560089f04f)
    blocked      container:web/1      create                               replace   until 2885 ended
    ");
}

#[test]
fn a_tag_that_moves_after_the_input_was_accepted_waits_for_the_next_input() {
    let mut desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    let web = desired.services.values_mut().next().unwrap();
    web.accepted_image = Some(facts("app:1").id);
    world.observed.images.insert(ImageReference::new("app:1"), facts("app:1 rebuilt"));
    assert!(world.plan(&desired).is_converged());
    desired.services.values_mut().next().unwrap().accepted_image = Some(facts("app:1 rebuilt").id);
    assert!(world.plan(&desired).to_string().contains("stop"));
}

#[test]
fn what_is_built_is_not_fetched() {
    let built = service().edit(|service| service.build = Some(Box::default()));
    let plan = World::new().plan(&shop([("web", built.image("new:1"))])).to_string();
    assert!(plan.contains("image new:1 has not been built yet") && !plan.contains("pull"), "{plan}");
}

#[test]
fn an_image_under_another_name_is_only_written_down() {
    let mut world = World::with(&shop([("web", service())]));
    world.observed.images.insert(ImageReference::new("app:latest"), facts("app:1"));
    let desired = shop([("web", service().image("app:latest"))]);
    assert_snapshot!(world.step(&desired), @"#1           container:web/1      update 2885                          live      compose.yaml:2 image app:1 -> app:latest");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn the_old_container_runs_on_until_the_new_image_is_there() {
    let mut world = World::with(&shop([("web", service())]));
    let desired = shop([("web", service().image("new:1"))]);
    assert_snapshot!(world.plan(&desired), @r"
    #1           image:new:1          pull                                 new       missing
    blocked      container:web/1      create                               replace   until image new:1 present
    ");
    world.observed.images.insert(ImageReference::new("new:1"), facts("new:1"));
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      stop 2885 grace 10s                  replace   compose.yaml:2 image app:1 -> new:1
    blocked      container:web/1      create                               replace   until 2885 ended
    ");
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      remove 2885                          replace   compose.yaml:2 image app:1 -> new:1
    #2 after 1   container:web/1      create f5f2 10.89.0.2                replace   compose.yaml:2 image app:1 -> new:1
    #3           names                publish names for 1 containers       live      follows container:web/1
    #4 after 2   container:web/1      start f5f2                           replace   compose.yaml:2 image app:1 -> new:1
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_failed_pull_waits_and_a_newer_input_tries_at_once() {
    let mut desired = shop([("web", service().image("new:1"))]);
    let mut world = World::new();
    let plan = world.plan(&desired);
    let failure = Failure::new(Fault::Missing, "cannot pull new:1: no such image");
    let retry = note_failure(&mut world.history, &plan.ops[0], failure, 1, world.now);
    assert_eq!(plan.ops[0].key, Key::Image(ImageReference::new("new:1")));
    assert_eq!(retry, Now(world.now.0 + 100));
    assert_snapshot!(world.plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2 after 1   ruleset              apply rules 0 ports                  new       missing
    blocked      image:new:1          pull                                 new       failed: cannot pull new:1: no such image
    blocked      image:new:1          pull                                 new       retry after: cannot pull new:1: no such image
    blocked      container:web/1      create                               new       until image new:1 present
    ");
    desired.generation = 2;
    assert_snapshot!(world.plan(&desired), @r"
    #1           image:new:1          pull                                 new       missing
    #2           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #3 after 2   ruleset              apply rules 0 ports                  new       missing
    blocked      container:web/1      create                               new       until image new:1 present
    ");
    desired.generation = 1;
    world.now = retry;
    assert!(world.plan(&desired).to_string().contains("pull"));
}
