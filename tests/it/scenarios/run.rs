//! `run`, `top` and `stats`: things that are looked at or done once.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use stack_tests::{World, eventually, tells_of_ends};

use super::SLEEPER;

fn two(world: &World) {
    world.write(
        "compose.yaml",
        &format!(
            "services:\n  web:\n    {SLEEPER}\n    depends_on: [db]\n    restart: always\n    ports: ['127.0.0.1:18097:80']\n    environment: {{ A: '1', B: '2' }}\n  db:\n    {SLEEPER}\n"
        ),
    );
}

/// Names of containers that run once.
fn one_offs(world: &World) -> Vec<String> {
    world.records().into_keys().filter(|name| name.contains("-run-")).collect()
}

#[test]
fn a_command_runs_once_with_its_dependencies_and_ends_with_its_own_code() {
    let world = World::new("errand");
    two(&world);
    let run = world.stack(&["run", "--rm", "-e", "B=3", "-w", "/tmp", "web", "demo", "show"]).ok();
    for line in ["env A=1", "env B=3", "descriptors 0 1 2"] {
        assert!(run.stdout.lines().any(|said| said == line), "no `{line}` in\n{}", run.stdout);
    }
    world.runs(&["errand-db-1"]);
    assert_eq!(world.stack(&["run", "--rm", "web", "demo", "exit", "9"]).code, Some(9));
    assert_eq!(one_offs(&world), Vec::<String>::new());
    // Without --rm it stays to be looked at, is not started again, and goes with the project.
    assert_eq!(world.stack(&["run", "web", "demo", "exit", "9"]).code, Some(9));
    world.stack(&["up", "-d"]).ok();
    let names = one_offs(&world);
    assert!(matches!(names.as_slice(), [name] if name.starts_with("errand-web-run-")), "{names:?}");
    world.runs(&["errand-db-1", "errand-web-1"]);
    assert!(world.stack(&["ps", "-a"]).ok().stdout.contains("Exited (9)"));
}

#[test]
fn it_has_the_streams_of_the_command() {
    let world = World::new("streams");
    two(&world);
    let mut command = world.command(&["run", "--rm", "--no-deps", "-T", "web", "demo", "copy"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo without an end").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"one\ntwo without an end".as_slice()));
    assert!(world.pids().is_empty(), "nothing else was started: {:?}", world.pids());
}

#[test]
fn what_cannot_be_executed_is_taken_back() {
    let world = World::new("errant");
    two(&world);
    world.stack(&["run", "--no-deps", "--entrypoint", "/missing", "web"]).fails(127, &["/missing"]);
    assert_eq!(one_offs(&world), Vec::<String>::new());
    world.stack(&["run", "nothing"]).fails(1, &["there is no service `nothing`", "the project has: db, web"]);
    world.stack(&["run", "-v", "a:b:c:d", "web"]).fails(1, &["-v or -p: `c:d` is not an absolute path"]);
}

#[test]
fn a_detached_one_outlives_the_supervisor_and_is_neither_healed_nor_replaced() {
    let world = World::new("detached");
    two(&world);
    world.stack(&["up", "-d"]).ok();
    let id = world
        .stack(&[
            "run",
            "-d",
            "--name",
            "tool",
            "-p",
            "127.0.0.1:18096:80",
            "-v",
            "./:/here:ro",
            "web",
            "demo",
            "sleep",
        ])
        .ok()
        .stdout;
    assert_eq!(world.records()["tool"]["id"], id.trim());
    let before = world.runs(&["detached-db-1", "detached-web-1", "tool"]);
    let ports = world.stack(&["ps"]).ok().stdout;
    assert!(ports.contains("127.0.0.1:18096->80/tcp"), "{ports}");
    // A change of its service, and a supervisor that begins anew.
    let text = fs_err::read_to_string(world.project_dir().join("compose.yaml")).unwrap();
    world.kill(world.supervisor().expect("a supervisor runs"));
    world.write("compose.yaml", &text.replace("A: '1'", "A: '4'"));
    world.stack(&["up", "-d"]).ok();
    let after = world.runs(&["detached-db-1", "detached-web-1", "tool"]);
    assert_ne!(after["detached-web-1"], before["detached-web-1"]);
    assert_eq!(after["tool"], before["tool"]);
    // Killed from outside, it stays down.
    world.kill(before["tool"]);
    eventually("it has ended", || {
        let all = world.stack(&["ps", "-a"]).ok().stdout;
        let line = all.lines().find(|line| line.starts_with("tool ")).map(str::to_owned);
        let is_known = line.as_ref().is_some_and(|line| line.contains("Exited (137)"));
        let may_be_unknown = !tells_of_ends() && line.as_ref().is_some_and(|line| line.contains("Exited (unknown)"));
        if is_known || may_be_unknown { Ok(()) } else { Err(format!("{line:?}")) }
    });
    world.stack(&["restart", "db"]).ok();
    world.runs(&["detached-db-1", "detached-web-1"]);
    // One that removes itself.
    world.stack(&["run", "-d", "--rm", "--no-deps", "web", "demo", "exit", "0"]).ok();
    eventually("it has gone", || {
        let left = one_offs(&world);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn exec_can_leave_a_program_behind() {
    let world = World::new("behind");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    scale: 2\n"));
    world.stack(&["up", "-d"]).ok();
    let run = world.stack(&["exec", "-d", "--index", "2", "web", "/stack", "demo", "sleep", "--say", "hello"]).ok();
    assert_eq!(run.stdout, "");
    let table = world.stack(&["top"]).ok().stdout;
    let sleepers = |index: &str| {
        let of = |line: &&str| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            words.starts_with(&["web", index]) && line.contains("demo sleep")
        };
        table.lines().filter(of).count()
    };
    assert_eq!((sleepers("1"), sleepers("2")), (1, 2), "{table}");
    assert!(table.starts_with("SERVICE"), "{table}");
    let privileged = world.stack(&["exec", "-T", "--privileged", "web", "/stack", "demo", "show"]).ok().stdout;
    let plain = world.stack(&["exec", "-T", "web", "/stack", "demo", "show"]).ok().stdout;
    let caps = |text: &str| text.lines().find(|line| line.starts_with("CapEff")).map(str::to_owned);
    assert_ne!(caps(&privileged), caps(&plain));
    world.stack(&["exec", "-T", "--index", "3", "web", "/stack"]).fails(1, &["as number 3"]);
}

#[test]
fn stats_are_one_line_a_container() {
    let world = World::new("stats");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    mem_limit: 32m\n    scale: 2\n"));
    world.stack(&["up", "-d"]).ok();
    let text = world.stack(&["stats", "--no-stream", "--format", "json"]).ok().stdout;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&str> = lines.iter().filter_map(|line| line["Name"].as_str()).collect();
    assert_eq!(names, ["stats-web-1", "stats-web-2"]);
    assert!(lines[0]["MemUsage"].as_str().is_some_and(|usage| usage.ends_with(" / 33.6 MB")), "{text}");
    assert_eq!(lines[0]["PIDs"], "1");
    let table = world.stack(&["stats", "--no-stream", "web"]).ok().stdout;
    assert!(table.starts_with("CONTAINER ID") && table.lines().count() == 3, "{table}");
}
