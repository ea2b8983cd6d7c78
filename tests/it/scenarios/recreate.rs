//! What `up` replaces, keeps, leaves out or brings down with it, as its options say.

use stack_tests::{World, eventually};

use super::SLEEPER;

/// `web` needs `db`.
fn shop(world: &World, variable: &str) {
    let text = format!(
        "services:\n  db:\n    {SLEEPER}\n    volumes: [/scratch]\n    environment: {{ A: '{variable}' }}\n  web:\n    \
         {SLEEPER}\n    depends_on: [db]\n    environment: {{ A: '{variable}' }}\n"
    );
    world.write("compose.yaml", &text);
}

fn ids(world: &World) -> [String; 2] {
    let records = world.records();
    ["db", "web"].map(|service| records[&format!("{}-{service}-1", world.project())]["id"].to_string())
}

#[test]
fn a_container_is_replaced_when_it_is_asked_for() {
    let world = World::new("force");
    shop(&world, "1");
    world.stack(&["up", "-d"]).ok();
    let [db, web] = ids(&world);
    let plan = world.stack(&["plan", "--force-recreate", "web"]).ok().stdout;
    assert!(plan.contains("container:web/1") && plan.contains("requested: recreate"), "{plan}");
    assert_eq!(world.stack(&["up", "--dry-run", "--force-recreate", "web"]).ok().stdout, plan);
    assert_eq!(ids(&world), [db.clone(), web.clone()], "a plan changes nothing");
    world.stack(&["up", "-d", "--force-recreate", "web"]).ok();
    let [after_db, after_web] = ids(&world);
    assert!(after_db == db && after_web != web);
    world.stack(&["up", "-d", "--force-recreate", "--always-recreate-deps", "web"]).ok();
    assert!(ids(&world)[0] != db && ids(&world)[1] != after_web);
    let settled = ids(&world);
    world.stack(&["up", "-d"]).ok();
    assert_eq!(ids(&world), settled);
}

#[test]
fn a_container_is_kept_until_the_next_request() {
    let world = World::new("keep");
    shop(&world, "1");
    world.stack(&["up", "-d"]).ok();
    let before = ids(&world);
    world.stack(&["stop"]).ok();
    // A supervisor that watches would apply the save at once.
    world.kill(world.supervisor().unwrap());
    shop(&world, "2");
    world.stack(&["up", "-d", "--no-recreate"]).ok();
    world.runs(&["keep-db-1", "keep-web-1"]);
    assert_eq!(ids(&world), before);
    world.stack(&["up", "-d"]).ok();
    let after = ids(&world);
    assert!(after.iter().zip(&before).all(|(after, before)| after != before));
    world.stack(&["up", "-d", "--no-recreate", "--force-recreate"]).fails(2, &["cannot be used with"]);
}

#[test]
fn volumes_without_a_name_are_new_when_new_ones_are_asked_for() {
    let world = World::new("renew");
    shop(&world, "1");
    world.stack(&["up", "-d"]).ok();
    let volume = || {
        let mut names = fs_err::read_dir(world.layout().root.join("volumes")).unwrap();
        let name = names.next().unwrap().unwrap().path();
        assert!(names.next().is_none());
        name
    };
    let first = volume();
    fs_err::write(first.join("_data/kept"), "1").unwrap();
    world.stack(&["up", "-d", "--force-recreate"]).ok();
    assert!(volume() == first && first.join("_data/kept").exists());
    world.stack(&["up", "-d", "-V"]).ok();
    assert_ne!(volume(), first);
}

#[test]
fn a_service_comes_alone_when_it_is_asked_to() {
    let world = World::new("alone");
    shop(&world, "1");
    world.stack(&["up", "-d", "--no-deps", "web"]).ok();
    assert_eq!(world.pids().into_keys().collect::<Vec<_>>(), ["alone-web-1"]);
    world.stack(&["up", "-d", "web"]).ok();
    world.runs(&["alone-db-1", "alone-web-1"]);
    let pid = world.pids()["alone-db-1"];
    world.stack(&["up", "-d", "--no-deps", "--force-recreate", "web"]).ok();
    assert_eq!(world.pids()["alone-db-1"], pid, "what is up stays up");
    world.stack(&["down", "db"]).ok();
    assert_eq!(world.pids().into_keys().collect::<Vec<_>>(), ["alone-web-1"]);
    assert!(!world.records().contains_key("alone-db-1"));
}

#[test]
fn what_is_made_and_not_started_waits() {
    let world = World::new("nostart");
    shop(&world, "1");
    world.stack(&["up", "--no-start"]).ok();
    assert!(world.pids().is_empty());
    let created = world.stack(&["ps", "--status", "created", "--format", "json"]).ok().stdout;
    assert_eq!(created.lines().count(), 2, "{created}");
    assert!(world.stack(&["ps", "--filter", "status=running", "-q"]).ok().stdout.is_empty());
    world.stack(&["start"]).ok();
    world.runs(&["nostart-db-1", "nostart-web-1"]);
}

/// A job beside a service, as tests in a project of their own are run.
fn tested(world: &World, command: &str, more: &str) {
    let text = format!(
        "services:\n  db:\n    image: stack.local/self\n    command: [demo, sleep, --code, '5']\n  tests:\n    image: \
         stack.local/self\n    command: [{command}]\n    depends_on: [db]\n{more}"
    );
    world.write("compose.yaml", &text);
}

#[test]
fn everything_ends_with_the_first_container_and_with_its_code() {
    let world = World::new("cascade");
    tested(&world, "demo, exit, '3'", "");
    world.stack(&["up", "--abort-on-container-exit"]).fails(3, &["tests-1 has ended", "stopping everything"]);
    assert!(world.pids().is_empty());
    assert_eq!(world.records().len(), 2, "containers stay, to be looked at");
    world.stack(&["up", "--exit-code-from", "db"]).fails(5, &[]);
    world.stack(&["up", "--exit-code-from", "test"]).fails(1, &["no such service"]);
    world.stack(&["up", "--exit-code-from", "db", "-d"]).fails(2, &["cannot be used with"]);
    world.stack(&["up", "--abort-on-container-failure"]).fails(3, &["tests-1 has ended"]);
    eventually("it is stopped", || if world.pids().is_empty() { Ok(()) } else { Err("runs".to_owned()) });
}

#[test]
fn what_has_ended_by_itself_is_started_when_somebody_asks() {
    let world = World::new("again");
    let jobs = ["'0'", "'7'"].map(|code| format!("{{ image: stack.local/self, command: [demo, exit, {code}] }}"));
    world.write("compose.yaml", &format!("services:\n  worked: {}\n  failed: {}\n", jobs[0], jobs[1]));
    let started = |arguments: &[&str]| {
        let shown = world.stack(arguments).stderr;
        ["worked-1", "failed-1"].map(|name| shown.contains(&format!("container {name} started")))
    };
    assert_eq!(started(&["up", "-d"]), [true, true]);
    let ended = |name: &str| world.stack(&["ps", "-a", "--status", "exited", name]).ok().stdout.contains(name);
    let both_ended =
        || eventually("they end", || if ended("worked") && ended("failed") { Ok(()) } else { Err("runs".to_owned()) });
    both_ended();
    assert_eq!(started(&["up", "-d"]), [false, true], "what has worked is done");
    assert_eq!(started(&["up", "-d", "worked"]), [true, false]);
    both_ended();
    assert_eq!(started(&["start"]), [true, true]);
}

#[test]
fn what_is_started_again_or_has_worked_ends_nothing() {
    let world = World::new("restarts");
    tested(&world, "demo, exit, '4'", "    restart: on-failure:2\n");
    world.stack(&["up", "--abort-on-container-exit"]).fails(4, &["tests-1 has ended"]);
    let started = world.stack(&["logs", "tests"]).ok();
    assert!(started.stderr.is_empty(), "{}", started.stderr);
    tested(
        &world,
        "demo, exit, '0'",
        "  after:\n    image: stack.local/self\n    command: [demo, exit, '6']\n    \
         depends_on: { tests: { condition: service_completed_successfully } }\n",
    );
    world.stack(&["up", "--abort-on-container-failure"]).fails(6, &["after-1 has ended"]);
}
