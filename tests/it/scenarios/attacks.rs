//! Images, containers and users of the machine that are up to no good. What they try inside a container is in the
//! tests of the runtime.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stack_tests::{World, binary, docker_archive_of, eventually};

/// `nobody` of Debian.
const NOBODY: u32 = 65534;

/// The record of the one container of a service, without what names it.
fn nameless(world: &World, service: &str) -> Value {
    let records = world.records();
    let mut record = records.into_values().find(|record| record["service"] == service).expect("a container");
    let all = record.as_object_mut().expect("a record");
    for key in ["id", "name", "service", "image", "endpoints", "created", "layers"] {
        all.remove(key);
    }
    record["spec"]["image"] = Value::Null;
    record["process"]["hostname"] = Value::Null;
    record["process"]["env"].as_array_mut().expect("a list").retain(|pair| pair[0] != "HOSTNAME");
    record
}

/// CVE-2026-53488, CVE-2026-53492: labels and annotations are for people; tools that take them for orders can be
/// ordered about by whoever makes an image.
#[test]
fn what_an_image_says_about_the_host_is_not_done() {
    let world = World::new("said");
    let hostile = json!({
        "Labels": {
            "com.docker.compose.project": "other", "com.docker.compose.service": "other",
            "com.docker.compose.depends_on": "gone:service_healthy:true", "com.docker.compose.oneoff": "True",
            "io.podman.annotations.privileged": "TRUE", "io.podman.annotations.seccomp": "unconfined",
            "io.podman.annotations.autoremove": "TRUE", "io.containers.capabilities": "CAP_SYS_ADMIN",
            "io.containers.autoupdate": "registry", "run.oci.keep_original_groups": "1", "run.oci.hooks.stdout": "/x",
            "org.systemd.property.MemoryMax": "'1'", "cdi.k8s.io/all": "vendor.com/device=all",
            "io.kubernetes.cri-o.userns-mode": "host", "nerdctl/extraHosts": "[]", "RUN": "touch /stack-was-here",
            "io.containers.image.run": "touch /stack-was-here", "stack.privileged": "true", "x-stack": "{}",
        },
        "ExposedPorts": { "22/tcp": {}, "80": {} },
        "OnBuild": ["RUN touch /stack-was-here"],
        "Hostname": "other", "Domainname": "other", "Tty": true, "OpenStdin": true, "MacAddress": "02:00:00:00:00:01",
        "NetworkDisabled": true, "HostConfig": { "Privileged": true, "Binds": ["/:/host"], "PidMode": "host" },
        "Annotations": { "run.oci.keep_original_groups": "1" },
        "Memory": 1, "CpuShares": 2, "Cpuset": "0",
    });
    for (name, settings) in [("plain", &json!({})), ("hostile", &hostile)] {
        let archive = world.project_dir().join(format!("{name}.tar"));
        docker_archive_of(&archive, &format!("made/{name}:1"), &binary(), 0, settings);
        world.stack(&["load", archive.to_str().expect("text")]).ok();
    }
    world.write("compose.yaml", "services:\n  plain: {image: 'made/plain:1'}\n  hostile: {image: 'made/hostile:1'}\n");
    world.stack(&["up", "-d"]).ok();
    assert_eq!(nameless(&world, "hostile"), nameless(&world, "plain"));
    assert!(!Path::new("/stack-was-here").exists());
}

/// CVE-2020-15257: an abstract socket is reached by everything in the network namespace of the host.
#[test]
fn nothing_listens_where_a_container_on_the_hosts_network_can_reach_it() {
    let abstract_sockets = || -> BTreeSet<String> {
        let text = fs_err::read_to_string("/proc/net/unix").expect("a list");
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(7))
            .filter(|path| path.starts_with('@'))
            .map(str::to_owned)
            .collect()
    };
    let listening = || -> BTreeSet<String> {
        const LISTENING: &str = "0A";
        let files = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs_err::read_to_string(path).unwrap_or_default());
        let rows = files.iter().flat_map(|text| text.lines().skip(1)).map(|line| line.split_whitespace());
        rows.filter_map(|mut row| row.nth(1).zip(row.nth(1)))
            .filter(|(_, state)| *state == LISTENING)
            .map(|(at, _)| at.to_owned())
            .collect()
    };
    let (sockets, ports) = (abstract_sockets(), listening());
    let world = World::new("hosted");
    world.write(
        "compose.yaml",
        "services:\n  web: {image: stack.local/self, command: [demo, sleep], network_mode: host}\n  \
         other: {image: stack.local/self, command: [demo, sleep]}\n",
    );
    world.stack(&["up", "-d"]).ok();
    let added = |before: &BTreeSet<String>, now: BTreeSet<String>| now.difference(before).cloned().collect::<Vec<_>>();
    assert_eq!(added(&sockets, abstract_sockets()), Vec::<String>::new());
    assert_eq!(added(&ports, listening()), Vec::<String>::new());
}

/// The Compose file of a stranger can ask for everything; it gets nothing before somebody agrees, and no more than that
/// later, whether it is asked by a command or by a save.
#[test]
fn a_file_reaches_the_machine_only_as_far_as_somebody_agreed() {
    let world = World::new("stranger");
    let config = world.project_dir().join("config");
    let write = |fields: &str| {
        let service = "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep]\n";
        world.write("compose.yaml", &format!("{service}{fields}"));
    };
    let stack = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("XDG_CONFIG_HOME", &config);
        world.finish(command)
    };
    fs_err::create_dir_all(config.join("stack")).expect("a directory");
    fs_err::write(config.join("stack/config.yaml"), "host_access: ask\n").expect("a file");
    write("    volumes: [/etc:/their/etc:ro]\n");
    for verb in [["up", "-d"], ["run", "web"], ["create", "web"]] {
        stack(&verb).fails(1, &["compose.yaml:5:15", "/etc", "a file outside of the project", "--trust"]);
    }
    assert_eq!((world.records().len(), world.supervisor()), (0, None));
    stack(&["config", "-q"]).ok();
    stack(&["--trust", "up", "-d"]).ok();
    stack(&["up", "-d"]).ok();
    let pids = world.runs(&["stranger-web-1"]);
    write("    volumes: [/etc:/their/etc:ro]\n    privileged: true\n");
    stack(&["up", "-d"]).fails(1, &["compose.yaml:6:17", "privileged", "--trust"]);
    // This save is the first one that is good: the supervisor has seen the other before.
    write("    volumes: [/etc:/their/etc:ro]\n    labels: {seen: 'yes'}\n");
    eventually("the save is applied", || {
        let record = world.records()["stranger-web-1"].clone();
        if record["spec"]["labels"]["seen"] == "yes" { Ok(()) } else { Err(record.to_string()) }
    });
    assert_eq!(world.runs(&["stranger-web-1"]), pids);
}

#[test]
fn what_a_file_asks_of_the_machine_is_said_once() {
    const SAID: &str = "services.web.pid: host";
    let world = World::new("said");
    world.write(
        "compose.yaml",
        "services:\n  web: {image: stack.local/self, command: [demo, sleep], pid: host, volumes: ['.:/here']}\n",
    );
    let first = world.stack(&["up", "-d"]).ok().stderr;
    assert!(first.contains(SAID) && first.contains("compose.yaml:2:63") && !first.contains("/here"), "{first}");
    world.stack(&["down"]).ok();
    let again = world.stack(&["up", "-d"]).ok().stderr;
    assert!(!again.contains(SAID), "{again}");
}

/// CVE-2021-41091, CVE-2024-25621: programs of images with the set-user-ID bit, and what containers keep, are not for
/// the other users of the machine; neither is what a supervisor listens on, nor a lock that would keep it waiting.
#[test]
fn other_users_see_nothing_of_what_is_stored() {
    let world = World::new("closed");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep]\n    volumes: [data:/data]\n\
         volumes: {data: {}}\n",
    );
    world.stack(&["up", "-d"]).ok();
    let layout = world.layout();
    for place in [&layout.root, &layout.run] {
        assert!(sees(place), "the test looks where nobody may look anyway");
        let entries: Vec<_> = fs_err::read_dir(place).expect("entries").flatten().map(|entry| entry.path()).collect();
        assert!(!entries.is_empty());
        for path in entries {
            let mode = fs_err::metadata(&path).expect("a mode").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
            assert!(!path.is_dir() || !sees(&path), "{}", path.display());
        }
    }
}

/// Whether another user can list a directory.
#[expect(clippy::disallowed_methods, reason = "another user is another process")]
fn sees(directory: &Path) -> bool {
    Command::new("ls").arg(directory).uid(NOBODY).gid(NOBODY).output().expect("ls").status.success()
}
