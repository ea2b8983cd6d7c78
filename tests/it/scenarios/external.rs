//! Networks that somebody else makes.

use std::process::{Command, Stdio};

use serde_json::Value;
use stack_model::ProjectName;
use stack_tests::{Run, World, eventually};

/// Makes the network and is on it.
const OWNER: &str = "
services:
  web:
    image: stack.local/self
    command: [demo, counter, --listen, '8080']
    networks: {shared: {aliases: [greeter]}}
networks: {shared: {name: meeting}}
";
/// Is on it too.
const GUEST: &str = "
name: joined-guest
services:
  client:
    image: stack.local/self
    command: [demo, counter, --listen, '8081']
    networks: [meeting]
    ports: ['48081:8081']
networks:
  meeting:
    external: true
";

fn guest(world: &World, arguments: &[&str]) -> Run {
    world.stack(&[["-f", "guest.yaml"].as_slice(), arguments].concat())
}

fn reaches(world: &World, file: &str, service: &str, url: &str) {
    eventually(&format!("{service} reaches {url}"), || {
        let run = world.stack(&["-f", file, "exec", "-T", service, "/stack", "demo", "check", url]);
        if run.code == Some(0) { Ok(()) } else { Err(run.stderr) }
    });
}

/// The addresses of all containers of a project.
fn addresses(run: &Run) -> Vec<String> {
    let rows: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    rows.iter().map(|row| row["Name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The address of each container of a project on its first network.
fn given_addresses(world: &World, project: &ProjectName) -> Vec<String> {
    let records = world.records_of(project);
    records.values().map(|record| record["endpoints"][0]["address"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Each of them sees the same subnet free.
#[test]
fn projects_that_come_up_at_once_get_networks_of_their_own() {
    const PROJECTS: usize = 6;
    let world = World::new("at-once");
    world.write(
        "compose.yaml",
        "services: {web: {image: stack.local/self, command: [demo, counter, --listen, '8080']}}\n",
    );
    let names: Vec<String> = (0..PROJECTS).map(|number| format!("at-once-{number}")).collect();
    let stack = |name: &str, arguments: &[&str]| {
        let mut command = world.command(&[["-p", name].as_slice(), arguments].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("stack starts")
    };
    let all = |arguments: &[&str]| {
        let begun: Vec<_> = names.iter().map(|name| stack(name, arguments)).collect();
        for child in begun {
            let output = child.wait_with_output().expect("stack ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    };
    all(&["up", "-d"]);
    let mut given: Vec<String> = names.iter().flat_map(|name| given_addresses(&world, &name.as_str().into())).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), PROJECTS, "{given:?}");
    all(&["down"]);
}

#[test]
fn two_projects_meet_on_the_network_of_one() {
    let world = World::new("joined");
    world.write("compose.yaml", OWNER);
    world.write("guest.yaml", GUEST);
    let place = "guest.yaml:10";
    guest(&world, &["up", "-d"]).fails(1, &["the external network meeting", place, "does not exist"]);
    // It goes on by itself as soon as the network is there.
    world.stack(&["up", "-d"]).ok();
    reaches(&world, "guest.yaml", "client", "http://greeter:8080/");
    reaches(&world, "compose.yaml", "web", "http://client:8081/");
    eventually("the port is published", || stack_tests::get(48081, "/").map(drop));
    // Nobody gets an address that the other project has given.
    world.stack(&["scale", "web=3"]).ok();
    guest(&world, &["scale", "client=1"]).ok();
    let own = given_addresses(&world, &world.project());
    assert_eq!(own.len(), 3);
    let mut given = [own, given_addresses(&world, &"joined-guest".into())].concat();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 4, "{given:?}");
    assert_eq!(addresses(&guest(&world, &["ps", "--format", "json"]).ok()).len(), 1);
    // It is not the guest's to remove.
    guest(&world, &["down"]).ok();
    reaches(&world, "compose.yaml", "web", "http://greeter:8080/");
    guest(&world, &["up", "-d"]).ok();
    // What goes and comes back is joined again.
    world.stack(&["down"]).ok();
    world.stack(&["up", "-d"]).ok();
    reaches(&world, "compose.yaml", "web", "http://client:8081/");
    guest(&world, &["down"]).ok();
}

/// A bridge that somebody has made by hand, for as long as this lives.
struct Bridge;

impl Bridge {
    fn new() -> Self {
        for line in ["link add byhand type bridge", "address add 10.77.0.1/24 dev byhand", "link set byhand up"] {
            assert!(ip(line), "ip {line}");
        }
        Self
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        ip("link del byhand");
    }
}

fn ip(line: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the hand of somebody else")]
    let status = Command::new("ip").args(line.split(' ')).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_bridge_that_was_made_by_hand_is_a_network_and_stays() {
    let world = World::new("byhand");
    // After the world, whose turn it is then: another one would find the bridge left behind.
    let bridge = Bridge::new();
    let text =
        GUEST.replace("name: joined-guest", "").replace("    external: true", "    external: true\n    name: byhand");
    world.write("compose.yaml", &text);
    world.stack(&["up", "-d"]).ok();
    let record = world.records()["byhand-client-1"].clone();
    let endpoint = &record["endpoints"][0];
    assert_eq!((endpoint["address"].as_str(), endpoint["gateway"].as_str()), (Some("10.77.0.2/24"), Some("10.77.0.1")));
    // The rules of the bridge are those of its maker: it takes nothing from 127.0.0.1.
    eventually("the port is published", || {
        let run = world.stack(&["demo", "check", "http://10.77.0.1:48081/"]);
        if run.code == Some(0) { Ok(()) } else { Err(run.stderr) }
    });
    world.stack(&["down"]).ok();
    assert!(ip("link show byhand"));
    drop(bridge);
}
