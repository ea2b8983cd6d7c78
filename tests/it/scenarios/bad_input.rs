//! Bad input: one screen, a place, a reason, a next step; nothing half-made.

use std::net::TcpListener;

use stack_tests::World;

use super::SLEEPER;

fn refuses(name: &str, file: &str, words: &[&str]) {
    let world = World::new(name);
    world.write("compose.yaml", file);
    world.stack(&["up", "-d"]).fails(1, words);
    assert!(world.pids().is_empty());
}

#[test]
fn unknown_key() {
    refuses("unknown", "services:\n  web:\n    image: a\n    volums: []\n", &["compose.yaml:4:5", "volums", "volumes"]);
}

#[test]
fn key_of_the_specification_that_is_not_there_yet() {
    refuses(
        "notyet",
        "services:\n  web:\n    image: a\n    build: {privileged: true}\n",
        &["compose.yaml:4:13", "privileged", "not supported yet"],
    );
}

#[test]
fn wrong_type() {
    refuses("type", "services:\n  web:\n    image: a\n    mem_limit: [1]\n", &["compose.yaml:4:16", "mem_limit"]);
}

#[test]
fn cycle() {
    let file = "services:\n  a: { image: x, depends_on: [b] }\n  b: { image: x, depends_on: [a] }\n";
    refuses("cycle", file, &["compose.yaml:3:31", "a -> b -> a"]);
}

#[test]
fn missing_bind_source() {
    let file = format!(
        "services:\n  web:\n    {SLEEPER}\n    volumes:\n      - {{ type: bind, source: ./nowhere, target: /x, bind: {{ create_host_path: false }} }}\n"
    );
    refuses("bind", &file, &["nowhere"]);
}

#[test]
fn unreachable_registry() {
    refuses("registry", "services:\n  web:\n    image: 127.0.0.1:9/none:1\n", &["127.0.0.1:9", "none"]);
}

#[test]
fn port_taken_names_the_process_and_leaves_the_rest_alone() {
    let world = World::new("port");
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let calm = format!("services:\n  calm:\n    {SLEEPER}\n");
    world.write("compose.yaml", &calm);
    world.stack(&["up", "-d"]).ok();
    let before = world.pids();
    world.write("compose.yaml", &format!("{calm}  web:\n    {SLEEPER}\n    ports: ['{port}:80']\n"));
    let own = std::process::id().to_string();
    world.stack(&["up", "-d"]).fails(1, &[&port.to_string(), &own]);
    assert_eq!(world.pids()["port-calm-1"], before["port-calm-1"]);
}

#[test]
fn subnet_clash_names_the_other_side() {
    // Loopback is a route that every machine has.
    let file = format!(
        "services:\n  web:\n    {SLEEPER}\nnetworks:\n  default:\n    ipam: {{ config: [{{ subnet: 127.0.0.0/24 }}] }}\n"
    );
    refuses("subnet", &file, &["127.0.0.0/24"]);
}

#[test]
fn missing_program_is_explained() {
    let file = "services:\n  web:\n    image: stack.local/self\n    entrypoint: [/nothing]\n";
    refuses("program", file, &["/nothing"]);
}

#[test]
fn no_file_says_where_it_looked() {
    let world = World::new("nofile");
    world.stack(&["up", "-d"]).fails(1, &["no project file", "compose.yaml"]);
}

#[test]
fn a_machine_without_cgroups_is_named() {
    let world = World::new("nocgroup");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n"));
    let mut hidden = world.command_of(std::path::Path::new("unshare"), &[]);
    // A mount namespace of its own: nobody else sees that the hierarchies are covered.
    let cover = "mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" up -d";
    hidden.args(["--mount", "sh", "-c", cover]).arg(stack_tests::binary());
    world.finish(hidden).fails(1, &["cgroup", "mount"]);
    assert!(world.pids().is_empty());
}
