//! Containers that are in the namespaces of others.

use stack_tests::{World, eventually};

use super::SLEEPER;

fn namespace(pid: u32, name: &str) -> String {
    let link = fs_err::read_link(format!("/proc/{pid}/ns/{name}"));
    link.map_or_else(|error| error.to_string(), |link| link.display().to_string())
}

fn file(more: &str) -> String {
    format!(
        "services:\n  db:\n    {SLEEPER}\n    ipc: shareable\n  debug:\n    {SLEEPER}\n    init: true\n    \
         pid: service:db\n    ipc: service:db\n{more}  other: \n    {SLEEPER}\n    ipc: none\n"
    )
}

#[test]
fn a_container_is_among_the_processes_and_in_the_memory_of_another() {
    let world = World::new("joint");
    world.write("compose.yaml", &file(""));
    world.stack(&["up", "-d"]).ok();
    let names = ["joint-db-1", "joint-debug-1", "joint-other-1"];
    let pids = world.runs(&names);
    let [db, debug, other] = names.map(|name| pids[name]);
    for kind in ["pid", "ipc"] {
        assert_eq!(namespace(db, kind), namespace(debug, kind), "{kind}");
        assert_ne!(namespace(db, kind), namespace(other, kind), "{kind}");
    }
    for kind in ["net", "mnt", "uts", "cgroup"] {
        assert_ne!(namespace(db, kind), namespace(debug, kind), "{kind}");
    }
    // What one of them writes to shared memory the other one reads; who has `ipc: none` has no such memory.
    fs_err::write(format!("/proc/{db}/root/dev/shm/word"), "shared").unwrap();
    assert_eq!(fs_err::read_to_string(format!("/proc/{debug}/root/dev/shm/word")).unwrap(), "shared");
    let mounts = fs_err::read_to_string(format!("/proc/{other}/mountinfo")).unwrap();
    assert!(!mounts.contains(" /dev/shm ") && mounts.contains(" /dev/mqueue "), "{mounts}");
    // Its /proc is that of the namespace: process 1 is the other container's program.
    let first = fs_err::read(format!("/proc/{debug}/root/proc/1/cmdline")).unwrap();
    assert_eq!(String::from_utf8_lossy(&first).replace('\0', " ").trim(), "/stack demo sleep");
    world.stack(&["exec", "-T", "debug", "/stack", "demo", "show"]).ok();
    // An edit of the key replaces that container alone.
    world.write("compose.yaml", &file("    # joined\n").replace("    pid: service:db\n", ""));
    eventually("it has processes of its own", || {
        let now = world.pids().get("joint-debug-1").copied().unwrap_or(0);
        let own = namespace(now, "pid");
        if own.starts_with("pid:") && own != namespace(db, "pid") { Ok(()) } else { Err(own) }
    });
    let now = world.pids();
    assert_eq!((now["joint-db-1"], now["joint-other-1"]), (db, other));
    assert_eq!(namespace(now["joint-debug-1"], "ipc"), namespace(db, "ipc"));
    world.stack(&["down"]).ok();
}

#[test]
fn whoever_is_in_the_namespaces_of_a_process_comes_back_with_it() {
    let world = World::new("joint2");
    let text = file("").replace("    ipc: shareable\n", "    ipc: shareable\n    restart: always\n");
    world.write("compose.yaml", &text.replace("    pid: service:db\n", ""));
    world.stack(&["up", "-d"]).ok();
    let names = ["joint2-db-1", "joint2-debug-1", "joint2-other-1"];
    let before = world.runs(&names);
    let records = world.records();
    world.kill(before["joint2-db-1"]);
    eventually("both have processes of one IPC namespace again", || {
        let now = world.pids();
        let Some((db, debug)) = now.get("joint2-db-1").zip(now.get("joint2-debug-1")) else {
            return Err(format!("{now:?}"));
        };
        let is_new = *db != before["joint2-db-1"] && *debug != before["joint2-debug-1"];
        let (one, other) = (namespace(*db, "ipc"), namespace(*debug, "ipc"));
        if is_new && one == other && one.starts_with("ipc:") { Ok(()) } else { Err(format!("{one} {other}")) }
    });
    // The containers are those of before, and who shares nothing is left alone.
    let after = world.records();
    assert!(names.iter().all(|name| records[*name]["id"] == after[*name]["id"]));
    assert_eq!(world.pids()["joint2-other-1"], before["joint2-other-1"]);
    world.stack(&["down"]).ok();
}
