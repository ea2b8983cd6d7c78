//! Each verb does what a user of docker compose expects.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use stack_tests::{World, eventually};

use super::SLEEPER;

fn one(world: &World, extra: &str) {
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    {extra}\n"));
}

#[test]
fn stop_keeps_the_container_and_start_runs_it_again() {
    let world = World::new("stopstart");
    one(&world, "");
    world.stack(&["up", "-d"]).ok();
    let id = world.records()["stopstart-web-1"]["id"].clone();
    world.stack(&["stop"]).ok();
    assert!(world.pids().is_empty());
    assert!(world.stack(&["ps", "-a"]).ok().stdout.contains("Exited"));
    world.stack(&["start"]).ok();
    world.runs(&["stopstart-web-1"]);
    assert_eq!(world.records()["stopstart-web-1"]["id"], id);
}

#[test]
fn restart_is_another_process_in_the_same_container() {
    let world = World::new("restart");
    one(&world, "");
    world.stack(&["up", "-d"]).ok();
    let (pid, id) = (world.pids()["restart-web-1"], world.records()["restart-web-1"]["id"].clone());
    world.stack(&["restart", "web"]).ok();
    let after = world.runs(&["restart-web-1"]);
    assert_ne!(after["restart-web-1"], pid);
    assert_eq!(world.records()["restart-web-1"]["id"], id);
}

#[test]
fn a_process_that_cannot_hear_the_signal_is_not_waited_for() {
    let world = World::new("deaf");
    one(&world, "stop_grace_period: 1h");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, ignore-term]\n    stop_grace_period: 1h\n",
    );
    world.stack(&["up", "-d"]).ok();
    // It ends at once, or the test would still run in an hour.
    world.stack(&["down"]).ok();
    assert!(world.pids().is_empty());
}

#[test]
fn down_keeps_volumes_and_down_v_deletes_them() {
    let world = World::new("volumes");
    world.write(
        "compose.yaml",
        &format!("services:\n  web:\n    {SLEEPER}\n    volumes: ['data:/data']\nvolumes: {{ data: {{}} }}\n"),
    );
    world.stack(&["up", "-d"]).ok();
    let data = world.layout().root.join("volumes/volumes_data/_data");
    fs_err::write(data.join("kept"), "1").unwrap();
    assert_eq!(world.stack(&["volumes", "-q"]).ok().stdout, "volumes_data\n");
    assert!(world.stack(&["volumes", "web"]).ok().stdout.contains("local"));
    world.stack(&["volumes", "wbe"]).fails(1, &["no such service"]);
    world.stack(&["down"]).ok();
    assert!(data.join("kept").exists());
    world.stack(&["up", "-d"]).ok();
    assert!(data.join("kept").exists());
    world.stack(&["down", "-v"]).ok();
    assert!(!data.exists());
}

#[test]
fn ps_lists_what_runs_in_both_formats() {
    let world = World::new("ps");
    one(&world, "ports: ['127.0.0.1:18098:80']");
    world.stack(&["up", "-d"]).ok();
    let table = world.stack(&["ps"]).ok().stdout;
    for word in ["NAME", "IMAGE", "ps-web-1", "stack.local/self", "Up", "127.0.0.1:18098->80/tcp"] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    let json = world.stack(&["ps", "--format", "json"]).ok().stdout;
    let first: Value = serde_json::from_str(json.lines().next().expect("a line")).unwrap();
    assert_eq!((&first["Name"], &first["State"]), (&Value::from("ps-web-1"), &Value::from("running")));
}

#[test]
fn logs_follow_across_a_restart() {
    let world = World::new("logs");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep, --say, ready]\n",
    );
    world.stack(&["up", "-d"]).ok();
    let mut follow = world.command(&["logs", "-f", "--no-log-prefix"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    world.stack(&["restart"]).ok();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn exec_runs_inside_and_returns_the_exit_code() {
    let world = World::new("exec");
    one(&world, "environment: { INSIDE: 'yes' }");
    world.stack(&["up", "-d"]).ok();
    let run = world.stack(&["exec", "-T", "-e", "MORE=1", "web", "/stack", "demo", "show"]).ok();
    for line in ["env INSIDE=yes", "env MORE=1", "hostname ", "descriptors 0 1 2"] {
        assert!(run.stdout.contains(line), "no `{line}` in\n{}", run.stdout);
    }
    assert_eq!(world.stack(&["exec", "-T", "web", "/stack", "demo", "exit", "7"]).code, Some(7));
    world.stack(&["exec", "-T", "web", "/missing"]).fails(127, &["/missing"]);
}

#[test]
fn config_and_plan_write_nothing() {
    let world = World::new("readonly");
    one(&world, "");
    let config = world.stack(&["config"]).ok().stdout;
    assert!(config.contains("name: readonly") && config.contains("stack.local/self"), "{config}");
    let plan = world.stack(&["plan"]).ok().stdout;
    assert!(plan.contains("network:default") && plan.contains("ensure bridge stk-"), "{plan}");
    assert!(!world.layout().root.join("projects").exists());
}

#[test]
fn up_wait_returns_when_everything_is_healthy() {
    let world = World::new("wait");
    world.write(
        "compose.yaml",
        concat!(
            "services:\n",
            "  web:\n    image: stack.local/self\n    command: [demo, counter, --listen, '9000']\n",
            "    healthcheck: { test: [CMD, /stack, demo, check, 'http://127.0.0.1:9000/'], interval: 1s }\n",
            "  after:\n    image: stack.local/self\n    command: [demo, sleep]\n",
            "    depends_on: { web: { condition: service_healthy } }\n",
        ),
    );
    world.stack(&["up", "--wait"]).ok();
    assert!(world.stack(&["ps"]).ok().stdout.contains("(healthy)"));
    assert_eq!(world.pids().len(), 2);
}

#[test]
fn a_job_that_completes_starts_what_waits_for_it() {
    let world = World::new("job");
    world.write(
        "compose.yaml",
        concat!(
            "services:\n",
            "  migrate:\n    image: stack.local/self\n    command: [demo, exit, '0']\n",
            "  web:\n    image: stack.local/self\n    command: [demo, sleep]\n",
            "    depends_on: { migrate: { condition: service_completed_successfully } }\n",
        ),
    );
    world.stack(&["up", "-d"]).ok();
    world.runs(&["job-web-1"]);
    world.stack(&["up", "-d"]).ok();
}

#[test]
fn attached_up_shows_prefixed_logs_and_stops_on_the_first_interrupt() {
    let world = World::new("attached");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep, --say, ready]\n",
    );
    let mut up = world.command(&["up"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains("ready")).expect("the log line");
    assert!(line.starts_with("web-1") && line.contains('|'), "{line}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(up.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    up.wait().unwrap();
    eventually("it is stopped", || if world.pids().is_empty() { Ok(()) } else { Err("runs".to_owned()) });
    assert!(world.records().contains_key("attached-web-1"));
}

#[test]
fn version_and_usage() {
    let world = World::new("version");
    assert!(world.stack(&["version"]).ok().stdout.contains("stack"));
    assert_eq!(world.stack(&["no-such-verb"]).code, Some(2));
}
