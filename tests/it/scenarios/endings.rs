//! Why a container has ended is said once, for people and for programs.

use serde_json::Value;
use stack_tests::{World, eventually};

/// The JSON line of `ps -a` of a container that has ended.
fn ended(world: &World, name: &str) -> Value {
    eventually(&format!("{name} has ended"), || {
        let text = world.stack(&["ps", "-a", "--format", "json"]).ok().stdout;
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let found = lines.find(|line| line["Name"] == name && line["State"] == "exited");
        found.ok_or_else(|| format!("not among\n{text}"))
    })
}

#[test]
fn memory_is_named_with_its_limit_and_its_victim() {
    let world = World::new("greedy");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, eat, '64']\n    mem_limit: 16m\n    memswap_limit: 16m\n",
    );
    world.stack(&["up", "-d"]);
    let line = ended(&world, "greedy-web-1");
    let ending = &line["Ending"];
    assert_eq!(
        (&ending["kind"], &ending["limit"], &ending["task"], &line["ExitCode"]),
        (&"out_of_memory".into(), &(16 << 20).into(), &"stack".into(), &137.into()),
        "{line}"
    );
    let words = "out of memory: the kernel has killed stack at the limit of 16m";
    assert!(line["Status"].as_str().is_some_and(|status| status.ends_with(words)), "{line}");
    assert!(world.stack(&["ps", "-a"]).ok().stdout.contains(words));
}

#[test]
fn a_kill_by_hand_is_not_taken_for_one_by_the_kernel() {
    let world = World::new("victim");
    world.write(
        "compose.yaml",
        concat!(
            "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep]\n",
            "    mem_limit: 16m\n    memswap_limit: 16m\n",
        ),
    );
    world.stack(&["up", "-d"]).ok();
    // A child is killed for memory; process 1 goes on.
    assert_ne!(world.stack(&["exec", "-T", "web", "/stack", "demo", "eat", "64"]).code, Some(0));
    world.stack(&["restart", "-t", "0"]).ok();
    let pid = world.runs(&["victim-web-1"])["victim-web-1"];
    world.stack(&["stop", "-t", "0"]).ok();
    let line = ended(&world, "victim-web-1");
    assert_eq!(line["Ending"]["kind"], "signaled", "{line} (process {pid})");
}
