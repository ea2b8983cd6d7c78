//! `kill`, `pause`, `unpause` and `wait`.

use std::process::Stdio;

use nix::libc::{SIGINT, SIGTERM};
use serde_json::Value;
use stack_tests::{World, eventually};

use super::SLEEPER;

fn one(world: &World, extra: &str) {
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    {extra}\n"));
    world.stack(&["up", "-d"]).ok();
}

/// What `ps -a` says of the only container.
fn seen(world: &World) -> Value {
    let text = world.stack(&["ps", "-a", "--format", "json"]).ok().stdout;
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

/// A supervisor that is asked for nothing but a look at everything must leave things as they are.
fn look_again(world: &World) {
    let supervisor = world.supervisor().expect("a supervisor runs");
    world.kill(supervisor);
    eventually("the supervisor is gone", || {
        if world.supervisor() == Some(supervisor) { Err("still there".to_owned()) } else { Ok(()) }
    });
    world.stack(&["restart", "other"]).ok();
}

#[test]
fn a_killed_service_stays_down_until_it_is_started() {
    let world = World::new("killed");
    one(&world, "restart: always\n  other: { image: stack.local/self, command: [demo, sleep] }");
    world.stack(&["kill", "web"]).ok();
    world.runs(&["killed-other-1"]);
    look_again(&world);
    world.runs(&["killed-other-1"]);
    assert_eq!(world.records().len(), 2);
    world.stack(&["start", "web"]).ok();
    world.runs(&["killed-other-1", "killed-web-1"]);
    assert!(world.stack(&["kill", "nothing"]).code != Some(0));
    world.stack(&["stop"]).ok();
    assert!(world.stack(&["kill"]).ok().stderr.contains("no container to kill"));
}

/// Waits until a signal reaches a process: what comes before that is dropped, because it is process 1.
fn hears(pid: u32, signal: i32) {
    eventually(&format!("{pid} hears signal {signal}"), || {
        if stack_runtime::hears_signal(pid, signal) { Ok(()) } else { Err("it does not".to_owned()) }
    });
}

#[test]
fn a_service_that_was_asked_to_end_stays_down_and_another_signal_is_its_own_business() {
    let world = World::new("asked");
    one(&world, "restart: always\n  other: { image: stack.local/self, command: [demo, sleep] }");
    let before = world.runs(&["asked-other-1", "asked-web-1"]);
    hears(before["asked-web-1"], SIGTERM);
    // Process 1 has no handler for it, and so the kernel drops it.
    world.stack(&["kill", "-s", "HUP", "web"]).ok();
    assert_eq!(world.runs(&["asked-other-1", "asked-web-1"]), before);
    world.stack(&["kill", "-s", "15", "web"]).ok();
    world.runs(&["asked-other-1"]);
    look_again(&world);
    world.runs(&["asked-other-1"]);
    // One that ends of a signal that does not ask it to stop is started again.
    world.stack(&["up", "-d"]).ok();
    let pid = world.runs(&["asked-other-1", "asked-web-1"])["asked-web-1"];
    hears(pid, SIGINT);
    world.stack(&["kill", "-s", "SIGINT", "web"]).ok();
    eventually("it runs again", || {
        let pids = world.pids();
        if pids.get("asked-web-1").is_some_and(|now| *now != pid) { Ok(()) } else { Err(format!("{pids:?}")) }
    });
    world.stack(&["kill", "-s", "SIGNOTHING"]).fails(2, &["no such signal"]);
}

#[test]
fn a_paused_container_is_left_alone_and_goes_on_as_it_was() {
    let world = World::new("paused");
    one(&world, "mem_limit: 64m\n  other: { image: stack.local/self, command: [demo, sleep] }");
    let before = world.runs(&["paused-other-1", "paused-web-1"]);
    world.stack(&["pause", "web"]).ok();
    let line = seen(&world);
    let states: Vec<String> = world
        .stack(&["ps", "--format", "json"])
        .ok()
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["State"].to_string())
        .collect();
    assert_eq!(states, ["\"running\"", "\"paused\""], "{line}");
    assert!(world.stack(&["ps"]).ok().stdout.contains("(Paused)"));
    world.stack(&["pause", "web"]).fails(1, &["paused-web-1 is paused already"]);
    world.stack(&["exec", "-T", "web", "/stack", "demo", "show"]).fails(1, &["is paused", "stack unpause web"]);
    // Neither a save nor a supervisor that begins anew touches it.
    look_again(&world);
    assert!(world.stack(&["ps"]).ok().stdout.contains("(Paused)"));
    world.stack(&["unpause"]).ok();
    world.stack(&["unpause", "web"]).fails(1, &["paused-web-1 is not paused"]);
    assert!(!world.stack(&["ps"]).ok().stdout.contains("(Paused)"));
    assert_eq!(world.runs(&["paused-other-1", "paused-web-1"])["paused-web-1"], before["paused-web-1"]);
    world.stack(&["exec", "-T", "web", "/stack", "demo", "show"]).ok();
}

#[test]
fn what_is_paused_can_be_stopped() {
    let world = World::new("frozen");
    one(&world, "stop_grace_period: 1h");
    // Frozen before it listens, it would be taken for one that cannot hear.
    hears(world.pids()["frozen-web-1"], SIGTERM);
    world.stack(&["pause"]).ok();
    // It hears the signal, or the test would still run in an hour.
    world.stack(&["stop"]).ok();
    assert!(world.pids().is_empty());
    assert_eq!((&seen(&world)["State"], &seen(&world)["ExitCode"]), (&"exited".into(), &0.into()));
    world.stack(&["start"]).ok();
    world.stack(&["pause"]).ok();
    world.stack(&["up", "-d"]).ok();
    assert_eq!(seen(&world)["State"], "running");
    // And taken down, which is what the end of this test does.
    world.stack(&["pause"]).ok();
}

#[test]
fn wait_ends_with_the_exit_code_of_what_it_waits_for() {
    let world = World::new("waiting");
    world.write(
        "compose.yaml",
        concat!(
            "services:\n",
            "  job: { image: stack.local/self, command: [demo, exit, '7'] }\n",
            "  web: { image: stack.local/self, command: [demo, sleep] }\n",
        ),
    );
    world.stack(&["up", "-d"]);
    let run = world.stack(&["wait", "job"]);
    let id = world.records()["waiting-job-1"]["id"].as_str().expect("an identifier").to_owned();
    assert_eq!((run.code, run.stdout), (Some(7), format!("container \"{id}\" exited with status code 7\n")));
    let mut wait = world.command(&["wait", "--down-project", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("somebody waits", || if wait.try_wait().unwrap().is_none() { Ok(()) } else { Err("ended".to_owned()) });
    world.stack(&["kill", "-s", "TERM", "web"]).ok();
    assert_eq!(wait.wait().unwrap().code(), Some(0));
    eventually(
        "the project is down",
        || {
            if world.records().is_empty() { Ok(()) } else { Err("still there".to_owned()) }
        },
    );
    world.stack(&["wait", "nothing"]).fails(1, &["not up"]);
}
