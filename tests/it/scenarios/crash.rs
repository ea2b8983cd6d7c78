//! Anything may be killed at any time.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use stack_tests::{World, binary, docker_archive, eventually, tells_of_ends};

use super::SLEEPER;

#[test]
fn a_container_killed_from_outside_comes_back() {
    let world = World::new("comeback");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n"));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids()["comeback-web-1"];
    world.kill(before);
    eventually("another process runs", || {
        let pids = world.pids();
        if pids.get("comeback-web-1").is_some_and(|pid| *pid != before) { Ok(()) } else { Err(format!("{pids:?}")) }
    });
}

#[test]
fn containers_outlive_the_supervisor_and_are_adopted() {
    let world = World::new("adopt");
    world.write(
        "compose.yaml",
        &format!("services:\n  web:\n    {SLEEPER}\n  talk:\n    image: stack.local/self\n    command: [demo, flood, '200000']\n"),
    );
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    let supervisor = world.supervisor().expect("a supervisor runs");
    world.kill(supervisor);
    eventually("the supervisor is gone", || {
        if world.supervisor() == Some(supervisor) { Err("still there".to_owned()) } else { Ok(()) }
    });
    assert_eq!(world.pids()["adopt-web-1"], before["adopt-web-1"]);

    world.stack(&["up", "-d"]).ok();
    assert_eq!(world.pids()["adopt-web-1"], before["adopt-web-1"]);
    assert_ne!(world.supervisor(), Some(supervisor));
    // Each line that was written while nobody read is in the log, once and in order.
    eventually("all lines are logged", || {
        let lines = world.stack(&["logs", "--no-log-prefix", "talk"]).stdout;
        let numbers: Vec<u64> = lines.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
        let whole = numbers.len() == 200_000 && numbers.iter().zip(1..).all(|(have, want)| *have == want);
        if whole { Ok(()) } else { Err(format!("{} lines, the last {:?}", numbers.len(), numbers.last())) }
    });
}

#[test]
fn what_ends_while_nobody_looks_is_not_forgotten() {
    let world = World::new("unseen");
    let command = "[demo, sleep, --say, first, --last-words, farewell, --code, '7']";
    let service = format!("image: stack.local/self\n    command: {command}\n    restart: 'no'");
    world.write("compose.yaml", &format!("services:\n  job:\n    {service}\n  web:\n    {SLEEPER}\n"));
    world.stack(&["up", "-d"]).ok();
    let keepers = || {
        let file = world.layout().project_run(&world.project()).join("spawners.json");
        let all: serde_json::Value = serde_json::from_slice(&fs_err::read(file).expect("it is there")).expect("JSON");
        let pids = all.as_array().expect("a list").iter().map(|one| one["pid"].as_u64().expect("a pid"));
        pids.collect::<Vec<u64>>()
    };
    let kill_supervisor = || {
        world.kill(world.supervisor().expect("a supervisor runs"));
        eventually("the supervisor is gone", || world.supervisor().map_or(Ok(()), |pid| Err(pid.to_string())));
    };
    let (job, mut gone) = (world.pids()["unseen-job-1"], keepers());
    kill_supervisor();
    world.stack(&["up", "-d"]).ok();
    // The second supervisor has not started what it watches.
    gone.append(&mut keepers());
    kill_supervisor();
    assert_eq!(world.pids()["unseen-job-1"], job);
    terminate(job);
    let shown = || world.stack(&["ps", "-a", "--format", "json"]).stdout;
    eventually("its end is known", || match shown() {
        text if text.contains("\"ExitCode\":7") => Ok(()),
        text if !tells_of_ends() && text.contains("Exited (unknown)") => Ok(()),
        text => Err(text),
    });
    world.stack(&["up", "-d", "web"]).ok();
    // A job whose end nobody can tell is drift like any other: it runs once more.
    let expected = if tells_of_ends() { "first\nfarewell\n" } else { "first\nfarewell\nfirst\n" };
    eventually("its words are kept", || match world.stack(&["logs", "--no-log-prefix", "job"]).ok().stdout {
        log if log == expected => Ok(()),
        log => Err(log),
    });
    let there = |pid: &&u64| Path::new(&format!("/proc/{pid}")).exists();
    eventually("no spawner is left over", || gone.iter().find(there).map_or(Ok(()), |pid| Err(pid.to_string())));
    assert_eq!(keepers().len(), 1);
}

fn terminate(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("the process is there");
}

#[test]
fn a_flushed_table_is_put_back() {
    let world = World::new("flush");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    ports: ['127.0.0.1:18099:80']\n"));
    world.stack(&["up", "-d"]).ok();
    let rules = || {
        #[expect(clippy::disallowed_methods, reason = "an independent reader of the rules")]
        let output = std::process::Command::new("nft").args(["list", "ruleset"]).output().expect("nft is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ours = rules().lines().find(|line| line.contains("table") && line.contains("flush")).map(str::to_owned);
    let table = ours.expect("the project has a table");
    let words: Vec<&str> = table.split_ascii_whitespace().take(3).collect();
    #[expect(clippy::disallowed_methods, reason = "someone else's hand")]
    let status = std::process::Command::new("nft").arg("delete").args(&words).status().expect("nft is installed");
    assert!(status.success());
    eventually("the table is back", || if rules().contains("18099") { Ok(()) } else { Err(rules()) });
}

#[test]
fn a_deleted_bridge_is_put_back() {
    let world = World::new("bridge");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n"));
    world.stack(&["up", "-d"]).ok();
    let pids = world.pids();
    let bridge = world.records()["bridge-web-1"]["endpoints"][0]["bridge"].as_str().expect("a bridge").to_owned();
    let index = || nix::net::if_::if_nametoindex(bridge.as_str()).ok();
    let before = index().expect("the bridge exists");
    let ip = |words: &[&str]| {
        #[expect(clippy::disallowed_methods, reason = "someone else's hand and eye")]
        let output = std::process::Command::new("ip").args(words).output().expect("ip is installed");
        String::from_utf8(output.stdout).expect("text")
    };
    ip(&["link", "delete", &bridge]);
    eventually("another bridge with a port", || {
        let ports = ip(&["-o", "link", "show", "master", &bridge]).lines().count();
        if ports == 1 && index() != Some(before) { Ok(()) } else { Err(format!("{:?} {ports}", index())) }
    });
    assert_eq!(world.pids(), pids);
}

#[test]
fn a_lost_journal_restarts_nothing() {
    let world = World::new("journal");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n"));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.kill(world.supervisor().expect("a supervisor runs"));
    eventually("the supervisor is gone", || match world.supervisor() {
        None => Ok(()),
        Some(pid) => Err(format!("{pid}")),
    });
    fs_err::remove_file(world.layout().project(&world.project()).join("journal.json")).unwrap();
    world.stack(&["up", "-d"]).ok();
    assert_eq!(world.pids(), before);
}

#[test]
fn memory_that_runs_out_is_named() {
    let world = World::new("eat");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, eat, '200']\n    mem_limit: 24m\n    restart: 'no'\n",
    );
    // Whether it is up for a moment is not the point.
    drop(world.stack(&["up", "-d"]));
    let shown = || world.stack(&["ps", "-a", "--format", "json"]).stdout;
    eventually("it was killed", || match shown() {
        text if text.contains("137") => Ok(()),
        text => Err(text),
    });
}

#[test]
fn everything_may_be_killed_at_once() {
    let world = World::new("massacre");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    scale: 3\n"));
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.kill(world.supervisor().expect("a supervisor runs"));
    before.values().for_each(|pid| world.kill(*pid));
    eventually("nothing runs", || match world.pids() {
        pids if pids.is_empty() => Ok(()),
        pids => Err(format!("{pids:?}")),
    });
    world.stack(&["up", "-d"]).ok();
    let after = world.runs(&["massacre-web-1", "massacre-web-2", "massacre-web-3"]);
    assert!(after.iter().all(|(name, pid)| before[name] != *pid), "{before:?} {after:?}");
}

/// Blocks of a tree as du(1) counts them, each inode once.
fn on_disk(path: &Path, seen: &mut BTreeSet<u64>) -> u64 {
    let metadata = fs_err::symlink_metadata(path).expect("it is there");
    if !seen.insert(metadata.ino()) {
        return 0;
    }
    let inside = if metadata.is_dir() {
        fs_err::read_dir(path).expect("a directory").flatten().map(|entry| on_disk(&entry.path(), seen)).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + inside
}

/// What is half-made: all of it goes with the next command that adds or removes something.
fn half_made(world: &World) -> Vec<PathBuf> {
    let root = world.layout().root;
    let places = ["images/.tmp", "images/.locks", "layers/.tmp", "build/work"].map(|place| root.join(place));
    let entries = places.iter().flat_map(|place| fs_err::read_dir(place).into_iter().flatten().flatten());
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| !path.ends_with("index") && !path.ends_with("lease")).collect()
}

/// Kills a command in the middle, at several moments; then the same command has to go through.
fn killed_anywhere(world: &World, arguments: &[&str], prepare: &dyn Fn()) {
    const MOMENTS: u32 = 8;
    prepare();
    let begin = Instant::now();
    world.stack(arguments).ok();
    let whole = begin.elapsed();
    for moment in 0..MOMENTS {
        prepare();
        let begin = Instant::now();
        let mut child =
            world.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        while begin.elapsed() < whole * moment / MOMENTS && child.try_wait().expect("a child").is_none() {
            std::thread::yield_now();
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
        world.stack(arguments).ok();
        assert_eq!(half_made(world), Vec::<PathBuf>::new(), "{arguments:?} at {moment}");
        let df = world.stack(&["system", "df", "--format", "json"]).ok().stdout;
        let df: serde_json::Value = serde_json::from_str(&df).expect("JSON");
        assert_eq!(df["total"], on_disk(&world.layout().root, &mut BTreeSet::new()), "{arguments:?} at {moment}");
        assert_eq!(df["unused"], 0, "{arguments:?} at {moment}");
    }
}

#[test]
fn images_survive_whatever_is_killed_when() {
    let world = World::new("anywhere");
    docker_archive(&world.project_dir().join("image.tar"), "made/here:1", &binary(), 1 << 20);
    let wipe = || {
        for place in ["images", "layers", "build"] {
            drop(fs_err::remove_dir_all(world.layout().root.join(place)));
        }
    };
    killed_anywhere(&world, &["load", "image.tar"], &wipe);
    world.write("compose.yaml", "services:\n  web:\n    image: 127.0.0.1:5000/test/busybox:1\n");
    killed_anywhere(&world, &["pull"], &wipe);
    let dockerfile = "FROM made/here:1\nRUN [\"/stack\", \"version\"]\nWORKDIR /made\nCOPY Dockerfile /made/\n";
    world.write("Dockerfile", dockerfile);
    world.write("compose.yaml", "services:\n  web:\n    image: built:1\n    build: .\n");
    let load = || {
        wipe();
        world.stack(&["load", "image.tar"]).ok();
    };
    killed_anywhere(&world, &["build"], &load);
    let unnamed = || {
        load();
        world.stack(&["build"]).ok();
        world.stack(&["rmi", "made/here:1", "built:1"]).ok();
    };
    killed_anywhere(&world, &["prune", "--build-cache"], &unnamed);
}
