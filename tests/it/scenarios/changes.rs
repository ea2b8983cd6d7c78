//! Edits of the file: the smallest disturbance, decided field by field.

use stack_tests::{World, eventually};

use super::SLEEPER;

fn two(extra: &str) -> String {
    format!("services:\n  web:\n    {SLEEPER}\n    {extra}\n  db:\n    {SLEEPER}\n")
}

/// The memory limit that the kernel holds for a container.
fn memory_limit(world: &World, name: &str) -> Option<u64> {
    world.cgroup_file(name, &["memory.limit_in_bytes", "memory.max"])?.trim().parse().ok()
}

#[test]
fn a_second_up_changes_nothing() {
    let world = World::new("twice");
    world.write("compose.yaml", &two("mem_limit: 64m"));
    world.stack(&["up", "-d"]).ok();
    let before = (world.pids(), world.records());
    assert_eq!(before.0.len(), 2);
    world.stack(&["up", "-d"]).ok();
    assert_eq!((world.pids(), world.records()), before);
    assert_eq!(world.stack(&["plan"]).ok().stdout.lines().filter(|line| line.starts_with('#')).count(), 0);
}

#[test]
fn a_memory_limit_is_written_under_the_running_process() {
    let world = World::new("live");
    world.write("compose.yaml", &two("mem_limit: 64m"));
    world.stack(&["up", "-d"]).ok();
    let pids = world.pids();
    world.write("compose.yaml", &two("mem_limit: 96m"));
    eventually("the kernel holds 96m", || match memory_limit(&world, "live-web-1") {
        Some(limit) if limit == 96 << 20 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(world.pids(), pids);
    assert_eq!(memory_limit(&world, "live-db-1").filter(|limit| *limit == 96 << 20), None);
}

#[test]
fn an_edited_environment_replaces_just_that_container() {
    let world = World::new("env");
    world.write("compose.yaml", &two("environment: { MODE: one }"));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.write("compose.yaml", &two("environment: { MODE: two }"));
    let after = eventually("web is another process", || {
        let now = world.pids();
        let replaced = now.get("env-web-1").is_some_and(|pid| pid != &before["env-web-1"]);
        if replaced { Ok(now) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(after["env-db-1"], before["env-db-1"]);
    // A process is in its cgroup before it has executed its program.
    eventually("the new environment", || {
        let environment = fs_err::read(format!("/proc/{}/environ", after["env-web-1"])).map_err(|it| it.to_string())?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if environment.contains("MODE=two") { Ok(()) } else { Err(environment) }
    });
}

#[test]
fn an_edited_env_file_replaces_the_container_that_reads_it() {
    let world = World::new("envfile");
    world.write("web.env", "MODE=one\n");
    world.write("compose.yaml", &two("env_file: web.env"));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.write("web.env", "MODE=two\n");
    let after = eventually("web has the new value", || {
        let now = world.pids();
        let pid = now.get("envfile-web-1").copied().unwrap_or(0);
        let environment = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains("MODE=two") { Ok(now) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(after["envfile-db-1"], before["envfile-db-1"]);
}

#[test]
fn a_removed_service_goes_away_and_a_new_one_comes() {
    let world = World::new("remove");
    world.write("compose.yaml", &two(""));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.write("compose.yaml", &format!("services:\n  db:\n    {SLEEPER}\n  job:\n    {SLEEPER}\n"));
    let after = world.runs(&["remove-db-1", "remove-job-1"]);
    assert_eq!(after["remove-db-1"], before["remove-db-1"]);
}

#[test]
fn an_invalid_save_disturbs_nothing_and_is_shown() {
    let world = World::new("invalid");
    world.write("compose.yaml", &two(""));
    world.stack(&["up", "-d"]).ok();
    let before = (world.pids(), world.records());
    world.write("compose.yaml", "services:\n  web:\n    imagee: stack.local/self\n");
    world.stack(&["up", "-d"]).fails(1, &["compose.yaml:3:5", "imagee", "image", "^"]);
    // The next valid save is applied: the supervisor has seen the invalid one and lives.
    world.write("compose.yaml", &two("labels: { seen: yes }"));
    eventually("the label is recorded", || {
        let labels = world.records()["invalid-web-1"]["spec"]["labels"].clone();
        if labels["seen"] == "yes" { Ok(()) } else { Err(labels.to_string()) }
    });
    assert_eq!(world.pids(), before.0);
}

#[test]
fn replicas_follow_the_file_up_and_down() {
    let world = World::new("scale");
    let scaled = |count: u32| format!("services:\n  web:\n    {SLEEPER}\n    scale: {count}\n");
    world.write("compose.yaml", &scaled(1));
    world.stack(&["up", "-d"]).ok();
    let first = world.pids()["scale-web-1"];
    world.write("compose.yaml", &scaled(3));
    let three = world.runs(&["scale-web-1", "scale-web-2", "scale-web-3"]);
    assert_eq!(three["scale-web-1"], first);
    world.write("compose.yaml", &scaled(1));
    assert_eq!(world.runs(&["scale-web-1"])["scale-web-1"], first);
}

#[test]
fn a_missing_image_leaves_the_rest_alone() {
    let world = World::new("noimage");
    world.write("compose.yaml", &two(""));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.write("compose.yaml", &two("").replacen("stack.local/self", "127.0.0.1:9/none:1", 1));
    world.stack(&["up", "-d"]).fails(1, &["127.0.0.1:9/none:1", "compose.yaml:3"]);
    // Not even the service that asks for it is stopped before its new image is there.
    assert_eq!(world.pids(), before);
}

#[test]
fn a_port_that_is_added_or_taken_away_leaves_the_process_alone() {
    let world = World::new("ports");
    world.write("compose.yaml", &two(""));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    let ports = |world: &World| world.stack(&["ps"]).ok().stdout;
    world.write("compose.yaml", &two("ports: ['127.0.0.1:18097:80']"));
    eventually("the port is shown", || match ports(&world) {
        text if text.contains("18097") => Ok(()),
        text => Err(text),
    });
    world.write("compose.yaml", &two(""));
    eventually("the port is gone", || match ports(&world) {
        text if text.contains("18097") => Err(text),
        _ => Ok(()),
    });
    assert_eq!(world.pids(), before);
}
