//! What follows when a process has ended by itself.

use insta::assert_snapshot;
use stack_model::{Action, Exit, Millis, Now, Plan, RestartPolicy, StartRequest};

use crate::project::{Build, service, shop};
use crate::world::World;

const KILLED: Exit = Exit { code: None, signal: Some(9), out_of_memory: false, requested: false, memory: None };

#[test]
fn a_job_that_ended_well_is_left_alone() {
    let desired = shop([("job", service())]);
    let mut world = World::with(&desired);
    world.exit("job", 0);
    world.settle(&desired);
    assert_eq!(world.plan(&desired), Plan::default());
}

#[test]
fn a_failure_under_no_policy_is_a_warning() {
    let desired = shop([("job", service())]);
    let mut world = World::with(&desired);
    world.exit("job", 3);
    world.settle(&desired);
    assert!(world.plan(&desired).is_converged());
    assert_snapshot!(world.plan(&desired), @"warning      job/1 has ended (exit code 3) and its restart policy is `no`");
}

#[test]
fn what_has_ended_is_started_again_when_somebody_asks() {
    let asked = |at: u64, done_too: bool| {
        shop(["failed", "worked"].map(|name| {
            (name, service().edit(|service| service.start_request = StartRequest { at: Now(at), done_too }))
        }))
    };
    let mut world = World::with(&asked(0, false));
    world.exit("failed", 3);
    world.exit("worked", 0);
    let died = world.now.0;
    let starts = |plan: &Plan| {
        let starts = plan.ops.iter().filter(|op| matches!(op.action, Action::StartContainer { .. }));
        starts.map(|op| format!("{} {}", op.key, op.cause)).collect::<Vec<_>>()
    };
    assert!(starts(&world.plan(&asked(died, true))).is_empty(), "it was asked for before it ended");
    assert_eq!(starts(&world.plan(&asked(died + 1, false))), ["container:failed/1 requested: start"]);
    assert_eq!(starts(&world.plan(&asked(died + 1, true))).len(), 2);
    world.settle(&asked(died + 1, true));
    world.now = Now(died + 2);
    world.exit("failed", 3);
    world.exit("worked", 0);
    assert!(starts(&world.plan(&asked(died + 1, true))).is_empty(), "once for each request");
}

#[test]
fn what_was_killed_from_outside_comes_back_at_once() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    world.exit_after("web", 500, KILLED);
    assert_snapshot!(world.step(&desired), @"#1           container:web/1      start 2885                           restart   drift: killed from outside");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn out_of_memory_is_not_someone_elses_hand() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    world.exit_after("web", 500, Exit { out_of_memory: true, ..KILLED });
    world.settle(&desired);
    assert_snapshot!(world.plan(&desired), @"warning      web/1 has ended (out of memory: the kernel has killed it) and its restart policy is `no`");
}

/// How long each of `times` deaths in a row is waited for.
fn pauses(policy: RestartPolicy, exit: Exit, times: usize) -> Vec<u64> {
    let desired = shop([("web", service().restart(policy))]);
    let mut world = World::with(&desired);
    let mut pauses = Vec::new();
    for _ in 0..times {
        world.exit_after("web", 50, exit);
        let died = world.now;
        while !world.container("web", 1).is_running() {
            match world.step(&desired).next_time() {
                Some(at) => world.now = at,
                None if world.container("web", 1).is_running() => {}
                None => return pauses,
            }
        }
        pauses.push(world.now.0 - died.0);
        world.now = Now(world.now.0 + 50);
    }
    pauses
}

#[test]
fn pauses_grow_while_it_keeps_dying() {
    let failed = Exit { code: Some(1), ..Exit::default() };
    let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
    assert_eq!(pauses(RestartPolicy::Always, failed, 11), expected);
    assert_eq!(pauses(RestartPolicy::UnlessStopped, failed, 3), [100, 200, 400]);
    assert_eq!(pauses(RestartPolicy::OnFailure(Some(2)), failed, 5), [100, 200]);
    assert_eq!(pauses(RestartPolicy::OnFailure(None), Exit { code: Some(0), ..failed }, 5), []);
    assert_eq!(pauses(RestartPolicy::No, KILLED, 4), [0, 100, 200, 400]);
}

#[test]
fn a_stable_run_or_a_new_container_ends_the_loop() {
    let desired = shop([("web", service().restart(RestartPolicy::Always))]);
    let mut world = World::with(&desired);
    for _ in 0..4 {
        world.exit("web", 1);
        world.settle(&desired);
    }
    world.exit("web", 1);
    assert_eq!(world.plan(&desired).next_time(), Some(Now(world.now.0 + 1600)));
    world.exit_after("web", 10_000, Exit { code: Some(1), ..Exit::default() });
    assert_snapshot!(world.plan(&desired), @"blocked      container:web/1      start                                restart   back-off after exit code 1");
    assert_eq!(world.plan(&desired).next_time(), Some(Now(world.now.0 + 100)));

    world.now = Now(world.now.0 + 50_000);
    let edited = shop([("web", service().restart(RestartPolicy::Always).env("A", "1"))]);
    world.settle(&edited);
    world.exit("web", 1);
    assert_eq!(world.plan(&edited).next_time(), Some(Now(world.now.0 + 100)));
}

#[test]
fn the_file_says_how_long_to_wait_and_what_a_stable_run_is() {
    let patient = |policy| {
        service().restart(policy).edit(|service| {
            service.container.restart_delay = Some(Millis(700));
            service.container.restart_window = Some(Millis(60_000));
        })
    };
    let mut world = World::with(&shop([("web", service().restart(RestartPolicy::Always))]));
    let desired = shop([("web", patient(RestartPolicy::OnFailure(Some(2))))]);
    let plan = world.step(&desired).to_string();
    assert!(plan.contains("live"), "it changes under the running process:\n{plan}");
    for _ in 0..2 {
        // A run that would be a stable one without the window.
        world.exit_after("web", 20_000, Exit { code: Some(1), ..Exit::default() });
        assert_eq!(world.plan(&desired).next_time(), Some(Now(world.now.0 + 700)));
        world.settle(&desired);
    }
    world.exit_after("web", 20_000, Exit { code: Some(1), ..Exit::default() });
    assert_eq!(world.plan(&desired).warnings, ["web/1 stays down after 2 restarts: exit code 1"]);
    world.exit_after("web", 60_000, Exit { code: Some(1), ..Exit::default() });
    assert_eq!(world.plan(&desired).next_time(), Some(Now(world.now.0 + 700)));
}

#[test]
fn a_changed_job_runs_again() {
    let mut world = World::with(&shop([("job", service())]));
    world.exit("job", 0);
    let desired = shop([("job", service().env("A", "1"))]);
    assert_snapshot!(world.plan(&desired), @r"
    #1           container:job/1      remove 2d7d                          replace   compose.yaml:14 environment.A none -> 1
    #2 after 1   container:job/1      create 869d 10.89.0.2                replace   compose.yaml:14 environment.A none -> 1
    #3           names                publish names for 1 containers       live      follows container:job/1
    #4 after 2   container:job/1      start 869d                           replace   compose.yaml:14 environment.A none -> 1
    ");
}
