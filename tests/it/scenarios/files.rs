//! `create`, `cp`, `port`, `ls`, `scale`, `rm` and `events`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use stack_tests::World;

use super::SLEEPER;

fn up(world: &World, extra: &str) {
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    {extra}\n"));
    world.stack(&["up", "-d"]).ok();
}

#[test]
fn files_go_into_all_containers_and_come_out_of_one() {
    let world = World::new("copied");
    up(&world, "scale: 2\n    volumes: ['data:/data']\nvolumes: { data: {} }");
    world.write("note", "hello");
    fs_err::create_dir(world.project_dir().join("tree")).unwrap();
    world.write("tree/leaf", "green");
    world.stack(&["cp", "note", "web:/note"]).ok();
    world.stack(&["cp", "tree", "web:/data"]).ok();
    for index in ["1", "2"] {
        world.stack(&["cp", "--index", index, "web:/note", index]).ok();
        assert_eq!(fs_err::read_to_string(world.project_dir().join(index)).unwrap(), "hello");
    }
    // A volume is what the container sees of it.
    let data = world.layout().root.join("volumes/copied_data/_data");
    assert_eq!(fs_err::read_to_string(data.join("tree/leaf")).unwrap(), "green");
    world.stack(&["cp", "web:/data/.", "back"]).ok();
    assert_eq!(fs_err::read_to_string(world.project_dir().join("back/tree/leaf")).unwrap(), "green");
    // A link of the container's leads nowhere else.
    fs_err::os::unix::fs::symlink(world.project_dir().join("note"), data.join("link")).unwrap();
    world.write("other", "overwritten");
    world.stack(&["cp", "other", "web:/data/link"]).ok();
    assert_eq!(fs_err::read_to_string(world.project_dir().join("note")).unwrap(), "hello");
    fs_err::remove_file(data.join("link")).unwrap();
    fs_err::os::unix::fs::symlink(world.project_dir(), data.join("link")).unwrap();
    world.stack(&["cp", "other", "web:/data/link/escaped"]).fails(1, &["cannot copy into"]);
    world.stack(&["cp", "-L", "web:/data/link/note", "stolen"]).fails(1, &["cannot read"]);
    for words in [["note", "tree"], ["web:/a", "web:/b"], ["web:/missing", "."], ["nothing:/a", "."]] {
        assert_eq!(world.stack(&["cp", words[0], words[1]]).code, Some(1), "{words:?}");
    }
}

#[test]
fn a_published_port_is_told() {
    let world = World::new("ported");
    up(&world, "ports: ['127.0.0.1:18095:80']");
    assert_eq!(world.stack(&["port", "web", "80"]).ok().stdout, "127.0.0.1:18095\n");
    world.stack(&["port", "web", "80/udp"]).fails(1, &["no port 80/udp for container ported-web-1"]);
    world.stack(&["port", "web", "http"]).fails(1, &["`http` is not a port"]);
}

#[test]
fn projects_are_listed_with_their_files() {
    let world = World::new("listed");
    assert_eq!(world.stack(&["ls", "-q"]).ok().stdout, "");
    up(&world, "scale: 2");
    let text = world.stack(&["ls", "--format", "json"]).ok().stdout;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let file = world.project_dir().join("compose.yaml").display().to_string();
    let expected = serde_json::json!([{ "Name": "listed", "Status": "running(2)", "ConfigFiles": file }]);
    assert_eq!(list, expected);
    world.stack(&["stop"]).ok();
    assert_eq!(world.stack(&["ls", "-q"]).ok().stdout, "");
    assert!(world.stack(&["ls", "-a"]).ok().stdout.contains("exited(2)"));
}

#[test]
fn the_number_of_containers_is_changed_and_stopped_ones_are_removed() {
    let world = World::new("scaled");
    up(&world, "");
    world.stack(&["scale", "web=3"]).ok();
    let before = world.runs(&["scaled-web-1", "scaled-web-2", "scaled-web-3"]);
    world.stack(&["scale", "web=1"]).ok();
    assert_eq!(world.runs(&["scaled-web-1"])["scaled-web-1"], before["scaled-web-1"]);
    assert!(world.stack(&["rm", "-f"]).ok().stderr.contains("no stopped containers"));
    world.stack(&["stop"]).ok();
    // Without an answer nothing goes.
    assert!(world.stack(&["rm"]).ok().stderr.contains("going to remove scaled-web-1"));
    assert_eq!(world.records().len(), 1);
    world.stack(&["rm", "-f", "web"]).ok();
    assert_eq!(world.records().len(), 0);
    world.stack(&["start"]).ok();
    world.runs(&["scaled-web-1"]);
    world.stack(&["rm", "-f", "-s"]).ok();
    assert_eq!(world.records().len(), 0);
}

#[test]
fn what_is_created_runs_when_it_is_started() {
    let world = World::new("created");
    world.write(
        "compose.yaml",
        &format!("services:\n  web:\n    {SLEEPER}\n    restart: always\n  db:\n    {SLEEPER}\n"),
    );
    world.stack(&["up", "-d", "db"]).ok();
    let before = world.runs(&["created-db-1"]);
    world.stack(&["create"]).ok();
    assert!(world.stack(&["ps", "-a"]).ok().stdout.contains("Created"));
    assert_eq!(world.records().len(), 2);
    // What ran is kept running as before.
    assert_eq!(world.runs(&["created-db-1"]), before);
    world.kill(before["created-db-1"]);
    world.stack(&["start"]).ok();
    world.runs(&["created-db-1", "created-web-1"]);
}

#[test]
fn events_are_those_of_docker() {
    let world = World::new("told");
    up(&world, "");
    let mut events = world.command(&["events", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // It listens when it has said something; until then things are done again.
    let first = std::thread::spawn(move || (lines.next().expect("a line").expect("text"), lines));
    while !first.is_finished() {
        world.stack(&["restart", "-t", "0"]).ok();
    }
    let (first, mut lines) = first.join().unwrap();
    let first: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!((&first["service"], &first["attributes"]["name"]), (&"web".into(), &"told-web-1".into()));
    world.stack(&["pause"]).ok();
    world.stack(&["down", "-t", "0"]).ok();
    let mut actions = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        actions.push(event["action"].as_str().expect("an action").to_owned());
    }
    events.wait().unwrap();
    let tail: Vec<&str> = actions.iter().map(String::as_str).skip_while(|action| *action != "pause").collect();
    assert_eq!(tail, ["pause", "kill", "die", "destroy"]);
}
