//! When the registry is asked.

use fs_err as fs;
use stack_tests::World;

const BASE: &str = "127.0.0.1:5000/test/busybox:1";

/// Gives a name of the registry to an image with this file, from another store.
fn publish(world: &World, name: &str, version: &str) {
    let place = world.project_dir().join("elsewhere");
    fs::create_dir_all(&place).expect("a directory");
    fs::write(place.join("Dockerfile"), format!("FROM {BASE}\nCOPY version /version\n")).expect("a file");
    fs::write(place.join("version"), version).expect("a file");
    for arguments in [["build", "-q", "-t", name, "./elsewhere"].as_slice(), &["push", name]] {
        let mut command = world.command(arguments);
        command.env("STACK_ROOT", place.join("root")).env("STACK_RUN", place.join("run"));
        world.finish(command).ok();
    }
}

fn write(world: &World, image: &str, policy: &str) {
    world.write(
        "compose.yaml",
        &format!(
            "services:\n  web:\n    image: {image}\n    init: true\n    command: [sleep, '1000']\n    \
             pull_policy: {policy}\n"
        ),
    );
}

fn version(world: &World) -> String {
    world.stack(&["exec", "-T", "web", "cat", "/version"]).ok().stdout
}

#[test]
fn each_policy_asks_when_it_says() {
    let world = World::new("policies");
    let image = "127.0.0.1:5000/test/moving:policies";
    publish(&world, image, "one");
    write(&world, image, "missing");
    world.stack(&["up", "-d"]).ok();
    assert_eq!(version(&world), "one");
    publish(&world, image, "two");
    for (policy, flags, expected) in [
        ("missing", [].as_slice(), "one"),
        ("never", &[], "one"),
        ("every_1h", &[], "one"),
        ("refresh", &["--pull", "missing"], "one"),
        ("refresh", &[], "two"),
    ] {
        write(&world, image, policy);
        world.stack(&[&["up", "-d"], flags].concat()).ok();
        assert_eq!(version(&world), expected, "{policy} {flags:?}");
    }
    publish(&world, image, "three");
    world.stack(&["up", "-d", "--pull", "always"]).ok();
    assert_eq!(version(&world), "three");
    publish(&world, image, "four");
    write(&world, image, "always");
    world.stack(&["up", "-d"]).ok();
    assert_eq!(version(&world), "four");
    // What only wants to be fresh goes on with what is here, and says so; `always` does not.
    write(&world, "127.0.0.1:1/test/none:1", "always");
    world.stack(&["tag", image, "127.0.0.1:1/test/none:1"]).ok();
    world.stack(&["up", "-d"]).fails(1, &["127.0.0.1:1", "compose.yaml:3"]);
    write(&world, "127.0.0.1:1/test/none:1", "daily");
    let stale = world.command(&["up", "-d"]);
    assert_eq!(world.finish(stale).ok().code, Some(0));
    assert_eq!(version(&world), "four");
}

#[test]
fn pull_passes_over_what_it_is_told_to() {
    let world = World::new("pulls");
    let text = format!(
        "services:\n  a:\n    image: {BASE}\n    depends_on: [gone]\n  gone:\n    image: 127.0.0.1:5000/test/none:7\n  \
         own:\n    build: .\n  named:\n    image: 127.0.0.1:5000/test/none:8\n    build: .\n"
    );
    world.write("compose.yaml", &text);
    world.stack(&["pull", "a"]).ok();
    world.stack(&["pull", "--include-deps", "a"]).fails(1, &["test/none:7", "compose.yaml:6"]);
    let kept = world.stack(&["pull", "--ignore-pull-failures"]).ok().stderr;
    // An image that can be built is no failure; one without a name of its own is not asked for.
    for word in ["image pulls-own skipped", "test/none:7", "cannot be pulled", "stack build named"] {
        assert!(kept.contains(word), "{kept}");
    }
    let skipped = world.stack(&["pull", "--ignore-buildable", "--policy", "missing", "a", "named"]).ok().stderr;
    assert!(skipped.contains("test/none:8 skipped") && !skipped.contains("pulled"), "{skipped}");
}

/// Runs a command where there is no network at all.
fn offline(world: &World, arguments: &[&str]) -> stack_tests::Run {
    let command = world.command(arguments);
    let run = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network of its own");
        world.finish(command)
    };
    // The namespace is that of the thread, and what it starts has it too.
    std::thread::scope(|scope| scope.spawn(run).join().expect("it ends"))
}

#[test]
fn a_lock_makes_up_independent_of_the_registry() {
    let world = World::new("locked");
    let image = "127.0.0.1:5000/test/moving:locked";
    publish(&world, image, "one");
    write(&world, image, "always");
    world.stack(&["lock"]).ok();
    let lock = fs::read_to_string(world.project_dir().join("stack.lock")).unwrap();
    assert!(lock.contains(&format!("  \"{image}\": \"{image}@sha256:")), "{lock}");
    publish(&world, image, "two");
    // Not even `always` asks for what a digest names.
    offline(&world, &["up", "-d"]).ok();
    assert_eq!(version(&world), "one");
    let shown = world.stack(&["update", "--dry-run"]).ok().stderr;
    assert!(shown.contains(&format!("image {image} sha256:")) && shown.contains(" -> sha256:"), "{shown}");
    assert_eq!(fs::read_to_string(world.project_dir().join("stack.lock")).unwrap(), lock);
    // The lock is a file of the project: the supervisor sees that it changes.
    world.stack(&["update", "web"]).ok();
    stack_tests::eventually("the new image runs", || {
        let run = world.stack(&["exec", "-T", "web", "cat", "/version"]);
        if run.stdout == "two" { Ok(()) } else { Err(run.stdout + &run.stderr) }
    });
    assert!(world.stack(&["update"]).ok().stderr.contains("stack.lock is up to date"));
    // What is pinned stays pinned; what is new is added; what is gone goes.
    let before = fs::read_to_string(world.project_dir().join("stack.lock")).unwrap();
    publish(&world, image, "three");
    world.stack(&["lock"]).ok();
    assert_eq!(fs::read_to_string(world.project_dir().join("stack.lock")).unwrap(), before);
    write(&world, BASE, "missing");
    world.stack(&["lock"]).ok();
    let after = fs::read_to_string(world.project_dir().join("stack.lock")).unwrap();
    assert!(after.contains(BASE) && !after.contains(image), "{after}");
}
