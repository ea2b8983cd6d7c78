//! `depends_on`: what must hold before a container starts.

use insta::assert_snapshot;
use stack_model::{Condition, Exit, Failure, Fault, Health, RestartPolicy, ServiceName};

use crate::project::{Build, service, shop};
use crate::world::World;

#[test]
fn a_chain_of_started_is_one_plan_with_few_needs() {
    let started = Condition::Started;
    let desired = shop([
        ("a", service()),
        ("b", service().after("a", started)),
        ("c", service().after("a", started).after("b", started)),
        ("d", service().after("a", started).after("b", started).after("c", started)),
    ]);
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           container:a/1        create 7aad 10.89.0.2                new       missing
    #3           container:b/1        create 232a 10.89.0.3                new       missing
    #4           container:c/1        create 7e93 10.89.0.4                new       missing
    #5           container:d/1        create ce70 10.89.0.5                new       missing
    #6 after 1   ruleset              apply rules 0 ports                  new       missing
    #7           names                publish names for 4 containers       new       missing
    #8 after 1,2 container:a/1        start 7aad                           new       missing
    #9 after 1,3,8 container:b/1        start 232a                           new       missing
    #10 after 1,4,9 container:c/1        start 7e93                           new       missing
    #11 after 1,5,10 container:d/1        start ce70                           new       missing
    ");
}

#[test]
fn everything_is_created_at_once_and_started_when_the_dependency_is_healthy() {
    let desired = shop([("db", service().healthy()), ("web", service().after("db", Condition::Healthy))]);
    let mut world = World::new();
    assert_snapshot!(world.step(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           container:db/1       create 7610 10.89.0.2                new       missing
    #3           container:web/1      create 2885 10.89.0.3                new       missing
    #4 after 1   ruleset              apply rules 0 ports                  new       missing
    #5           names                publish names for 2 containers       new       missing
    #6 after 1,2 container:db/1       start 7610                           new       missing
    blocked      container:web/1      start                                new       until db healthy (compose.yaml:31 depends_on)
    ");
    assert_snapshot!(world.plan(&desired), @"blocked      container:web/1      start                                new       until db healthy (compose.yaml:31 depends_on)");
    world.container("db", 1).health = Health::Unhealthy { failures: 3, output: "refused".to_owned() };
    assert!(world.plan(&desired).ops.is_empty());
    world.heal();
    assert_snapshot!(world.step(&desired), @"#1           container:web/1      start 2885                           new       missing");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn all_replicas_count() {
    let desired = shop([("db", service().replicas(2).healthy()), ("web", service().after("db", Condition::Healthy))]);
    let mut world = World::new();
    world.step(&desired);
    world.container("db", 1).health = Health::Healthy;
    assert_eq!(world.plan(&desired).blocked.len(), 1);
    world.container("db", 2).health = Health::Healthy;
    assert_eq!(world.plan(&desired).blocked.len(), 0);
}

#[test]
fn without_a_health_check_nothing_can_become_healthy() {
    let desired = shop([("db", service()), ("web", service().after("db", Condition::Healthy))]);
    let mut world = World::new();
    world.step(&desired);
    assert_snapshot!(world.plan(&desired), @"blocked      container:web/1      start                                new       failed: dependency db has no health check");
}

#[test]
fn a_job_must_end_well() {
    let web = service().after("job", Condition::CompletedSuccessfully);
    let desired = shop([("job", service()), ("web", web)]);
    let mut world = World::new();
    world.step(&desired);
    assert_snapshot!(world.plan(&desired), @"blocked      container:web/1      start                                new       until job completed (compose.yaml:31 depends_on)");
    world.exit("job", 3);
    assert_snapshot!(world.plan(&desired), @r"
    #1           names                publish names for 1 containers       live      drift: a container has started or ended
    blocked      container:web/1      start                                new       failed: dependency job exited with code 3
    warning      job/1 has ended (exit code 3) and its restart policy is `no`
    ");
    world.exit("job", 0);
    assert_snapshot!(world.step(&desired), @r"
    #1           names                publish names for 1 containers       live      follows container:web/1
    #2           container:web/1      start 2885                           new       missing
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_job_that_will_be_tried_again_is_waited_for() {
    let job = service().restart(RestartPolicy::OnFailure(Some(3)));
    let desired = shop([("job", job), ("web", service().after("job", Condition::CompletedSuccessfully))]);
    let mut world = World::new();
    world.step(&desired);
    world.exit("job", 3);
    assert_snapshot!(world.plan(&desired), @r"
    blocked      container:job/1      start                                restart   back-off after exit code 3
    blocked      container:web/1      start                                new       until job completed (compose.yaml:31 depends_on)
    ");
}

#[test]
fn a_dependency_that_has_ended_will_not_become_healthy() {
    let desired = shop([("db", service().healthy()), ("web", service().after("db", Condition::Healthy))]);
    let mut world = World::new();
    world.step(&desired);
    world.exit("db", 1);
    assert_snapshot!(world.plan(&desired), @r"
    #1           names                publish names for 1 containers       live      drift: a container has started or ended
    blocked      container:web/1      start                                new       failed: dependency db exited with code 1
    warning      db/1 has ended (exit code 1) and its restart policy is `no`
    ");
}

#[test]
fn an_optional_dependency_that_fails_or_is_absent_is_a_warning() {
    let optional = |condition: Condition| {
        move |dependency: &mut stack_model::Dependency| {
            dependency.condition = condition;
            dependency.required = false;
        }
    };
    let web = service()
        .depends("absent", optional(Condition::Started))
        .depends("job", optional(Condition::CompletedSuccessfully));
    let mut world = World::new();
    world.jobs.insert(ServiceName::new("job"), 3);
    let desired = shop([("job", service()), ("web", web)]);
    world.step(&desired);
    assert_snapshot!(world.step(&desired), @r"
    #1           names                publish names for 1 containers       live      follows container:web/1
    #2           container:web/1      start 2885                           new       missing
    warning      job/1 has ended (exit code 3) and its restart policy is `no`
    warning      optional dependency absent of web is not part of the project
    warning      web goes on without an optional dependency: dependency job exited with code 3
    ");
}

#[test]
fn an_optional_dependency_that_cannot_be_made_is_a_warning() {
    let web = service().depends("db", |dependency| dependency.required = false);
    let desired = shop([("db", service().image("new:1")), ("web", web)]);
    let mut world = World::new();
    let pull = world.plan(&desired).ops[0].clone();
    let failure = Failure::new(Fault::Missing, "cannot pull new:1: no such image");
    stack_plan::note_failure(&mut world.history, &pull, failure, 1, world.now);
    let text = world.plan(&desired).to_string();
    assert!(text.contains("web goes on without an optional dependency: cannot pull new:1"), "{text}");
    assert!(!text.contains("until db"), "{text}");
}

#[test]
fn a_required_dependency_that_is_absent_fails() {
    let desired = shop([("web", service().after("absent", Condition::Started))]);
    let text = World::new().plan(&desired).to_string();
    assert!(text.contains("failed: dependency absent of web is not part of the project"), "{text}");
}

#[test]
fn what_comes_back_by_itself_does_not_wait_for_its_dependencies() {
    let web = service().restart(RestartPolicy::Always).after("db", Condition::Healthy);
    let desired = shop([("db", service().healthy()), ("web", web)]);
    let mut world = World::with(&desired);
    world.container("db", 1).health = Health::Unhealthy { failures: 3, output: String::new() };
    world.exit_after("web", 20_000, Exit { signal: Some(9), ..Exit::default() });
    assert_snapshot!(world.plan(&desired), @"#1           container:web/1      start 2885                           restart   drift: killed from outside");
}

#[test]
fn a_circle_is_broken_and_said() {
    let desired = shop([
        ("a", service().after("b", Condition::Started)),
        ("b", service().after("a", Condition::Started)),
        ("c", service().after("b", Condition::Started)),
    ]);
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           container:a/1        create 7aad 10.89.0.2                new       missing
    #3           container:b/1        create 232a 10.89.0.3                new       missing
    #4           container:c/1        create 7e93 10.89.0.4                new       missing
    #5 after 1   ruleset              apply rules 0 ports                  new       missing
    #6           names                publish names for 3 containers       new       missing
    #7 after 1,2 container:a/1        start 7aad                           new       missing
    #8 after 1,3 container:b/1        start 232a                           new       missing
    #9 after 1,4,8 container:c/1        start 7e93                           new       missing
    warning      depends_on goes round in a circle and is ignored between: a, b
    ");
}
