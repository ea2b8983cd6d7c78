//! Programs that run before, after and beside that of a container.

use fs_err as fs;
use stack_tests::World;

const BASE: &str = "127.0.0.1:5000/test/busybox:1";

/// A service that notes what happens to it in a directory that the test sees.
fn write(world: &World, more: &str) {
    let notes = world.project_dir().join("notes");
    fs::create_dir_all(&notes).expect("a directory");
    world.write(
        "compose.yaml",
        &format!(
            "services:\n  db:\n    image: {BASE}\n    init: true\n    command: [sleep, '1000']\n    environment: {{A: own}}\n    \
             volumes: ['./notes:/notes']\n{more}  web:\n    image: {BASE}\n    command: [sh, -c, 'echo web >> /notes/all']\n    \
             volumes: ['./notes:/notes']\n    depends_on: [db]\n"
        ),
    );
}

fn notes(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.project_dir().join("notes/all")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const HOOKS: &str = "    pre_start:
      - command: [sh, -c, 'echo first $$A >> /notes/all']
      - command: [sh, -c, 'echo second $$A $$(pwd) >> /notes/all']
        working_dir: /tmp
        environment: {A: step}
    post_start:
      - command: [sh, -c, 'echo after $$A $$(id -u) $$(pwd) >> /notes/all; echo heard of it']
        user: '1234'
        working_dir: /etc
        environment: [A=hook]
      - command: sh -c 'echo mounts $$(mkdir -p /x && mount -t tmpfs none /x && echo may) >> /notes/all'
        privileged: true
    pre_stop:
      - command: [sh, -c, 'echo before >> /notes/all']
";

#[test]
fn hooks_run_where_and_when_the_file_says() {
    let world = World::new("hooks");
    write(&world, HOOKS);
    fs::set_permissions(world.project_dir().join("notes"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .and_then(|()| fs::write(world.project_dir().join("notes/all"), ""))
        .and_then(|()| {
            let anyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            fs::set_permissions(world.project_dir().join("notes/all"), anyone)
        })
        .expect("notes that anyone may write");
    world.stack(&["up", "-d"]).ok();
    world.stack(&["wait", "web"]).ok();
    let started = ["first own", "second step /tmp", "after hook 1234 /etc", "mounts may", "web"];
    assert_eq!(notes(&world), started);
    assert!(world.stack(&["logs", "db"]).ok().stdout.contains("heard of it"));
    // Nothing of it runs again where nothing has changed.
    world.stack(&["up", "-d"]).ok();
    assert_eq!(notes(&world).len(), started.len());
    world.stack(&["restart", "db"]).ok();
    let restarted = notes(&world).split_off(started.len());
    assert_eq!(restarted[0], "before");
    assert!(restarted.contains(&"after hook 1234 /etc".to_owned()), "{restarted:?}");
    world.stack(&["down"]).ok();
    assert_eq!(notes(&world).pop().as_deref(), Some("before"));
}

#[test]
fn a_hook_that_fails_stops_what_it_is_for() {
    let world = World::new("badhooks");
    write(&world, "    post_start: [{command: [sh, -c, 'echo no luck; exit 3']}]\n");
    world.stack(&["up", "-d"]).fails(1, &["db", "post_start", "exited with code 3: no luck", "web"]);
    assert_eq!(notes(&world), [""; 0]);
    // The program itself goes on, and a mended file is enough.
    let pid = world.runs(&["badhooks-db-1"])["badhooks-db-1"];
    write(&world, "    post_start: [{command: ['true']}]\n    pre_stop: [{command: ['false']}]\n");
    world.stack(&["up", "-d"]).ok();
    world.stack(&["wait", "web"]).ok();
    assert_eq!((notes(&world), world.runs(&["badhooks-db-1"])["badhooks-db-1"]), (vec!["web".to_owned()], pid));
    world.stack(&["stop", "db"]).fails(1, &["pre_stop `false` exited with code 1", "-t 0"]);
    assert_eq!(world.pids().get("badhooks-db-1"), Some(&pid));
    world.stack(&["down", "-t", "0"]).ok();
    write(&world, "    pre_start: [{command: [sh, -c, 'exit 7']}]\n");
    world.stack(&["up", "-d"]).fails(1, &["db-pre_start-0", "exited with code 7"]);
    assert!(world.pids().is_empty());
}
