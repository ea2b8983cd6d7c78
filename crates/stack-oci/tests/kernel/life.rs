//! From create to delete.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::bed::Bed;

pub(crate) fn a_container_waits_between_create_and_start(bed: &Bed) {
    bed.configure("echo started >/data/log; sleep 100", |_| ());
    assert_eq!(bed.ok(&["create", "bed", "--pid-file", "pid"]), "");
    let state = bed.state("bed");
    assert_eq!((state["ociVersion"].as_str(), state["id"].as_str()), (Some("1.3.0"), Some("bed")));
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"].to_string(), fs_err::read_to_string(bed.path("pid")).expect("a pid"));
    assert_eq!(state["bundle"].as_str(), bed.path("").to_str().map(|path| path.trim_end_matches('/')));
    assert!(!bed.path("rootfs/data/log").exists());
    bed.ok(&["start", "bed"]);
    assert_eq!(bed.state("bed")["status"], "running");
    bed.ok(&["kill", "bed", "KILL"]);
    bed.ok(&["delete", "--force", "bed"]);
    let said = bed.say(&["state", "bed"]);
    assert!(said.code == Some(1) && said.err.contains("does not exist"), "{said:?}");
    // Never started, and gone with one word.
    bed.ok(&["create", "bed"]);
    bed.ok(&["delete", "bed"]);
}

/// What a command forgets stays on the machine: it has ended itself.
pub(crate) fn many_cycles_leave_nothing_behind(bed: &Bed) {
    let tree = stack_cgroup::Tree::detect().expect("cgroups");
    let cgroups = || -> usize {
        let below = |(_, mount): &(String, std::path::PathBuf)| {
            let entries = fs_err::read_dir(mount).into_iter().flatten().flatten();
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
        };
        tree.hierarchies().iter().map(below).sum()
    };
    let children = || fs_err::read_to_string("/proc/thread-self/children").expect("a list");
    let mounts = || fs_err::read_to_string("/proc/self/mountinfo").expect("mounts").lines().count();
    let count = || (cgroups(), mounts(), children());
    let before = count();
    bed.configure("sleep 100", |_| ());
    for _ in 0..100 {
        bed.ok(&["create", "bed"]);
        bed.ok(&["start", "bed"]);
        bed.ok(&["delete", "--force", "bed"]);
    }
    assert_eq!(count(), before);
}

pub(crate) fn what_does_not_fit_the_status_is_refused(bed: &Bed) {
    bed.configure("sleep 100", |_| ());
    bed.ok(&["create", "bed"]);
    let refused = |words: &[&str], reason: &str| {
        let said = bed.say(words);
        let code = if words[0] == "exec" { 255 } else { 1 };
        assert!(said.code == Some(code) && said.err.contains(reason), "{words:?}: {said:?}");
    };
    refused(&["create", "bed"], "already exists");
    refused(&["create", "a/b"], "invalid character `/` in the ID");
    refused(&["resume", "bed"], "it is created");
    bed.ok(&["start", "bed"]);
    refused(&["start", "bed"], "it is running");
    refused(&["delete", "bed"], "it is running");
    bed.ok(&["kill", "bed", "9"]);
    let ended = || bed.state("bed")["status"] == "stopped";
    while !ended() {}
    refused(&["kill", "bed", "TERM"], "not running");
    refused(&["exec", "bed", "true"], "it is stopped");
    refused(&["checkpoint", "bed"], "not supported");
    bed.ok(&["delete", "bed"]);
    bed.ok(&["delete", "--force", "bed"]);
    assert_eq!(bed.say(&["create"]).code, Some(2));
}

pub(crate) fn exit_codes_and_streams_are_the_commands(bed: &Bed) {
    let said = bed.run("echo out; echo err >&2; ls /proc/self/fd; exit 7", |_| ());
    // The listing itself is the fourth.
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(7), "out\n0\n1\n2\n3\n", "err\n"));
    assert_eq!(bed.run("kill -9 $$", |_| ()).code, Some(0), "process 1 does not hear itself");
    let version = bed.run("true", |config| config["ociVersion"] = "1.0.0".into());
    assert_eq!((version.code, version.err.as_str()), (Some(0), ""));
    let version = bed.run("true", |config| config["ociVersion"] = "2.0.0".into());
    assert!(version.code == Some(1) && version.err.contains("ociVersion"), "{version:?}");
}

pub(crate) fn hooks_run_in_order_and_know_the_state(bed: &Bed) {
    let log = bed.path("hooks");
    let hook = |name: &str| {
        let line = format!("echo {name} $(cat) >>{}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/usr/bin:/bin"] }])
    };
    bed.configure("exit 0", |config| {
        config["hooks"] = json!({
            "prestart": hook("prestart"),
            "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"),
            "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo startContainer $(/bin/cat) >/data/log"] }],
            "poststart": hook("poststart"),
            "poststop": hook("poststop"),
        });
        config["annotations"] = json!({ "a": "b" });
    });
    bed.ok(&["create", "bed"]);
    let pid = bed.state("bed")["pid"].clone();
    bed.ok(&["start", "bed"]);
    while bed.state("bed")["status"] != "stopped" {}
    bed.ok(&["delete", "bed"]);
    let text = fs_err::read_to_string(&log).expect("the log");
    let lines: Vec<(&str, serde_json::Value)> = text
        .lines()
        .map(|line| line.split_once(' ').expect("two words"))
        .map(|(name, state)| (name, serde_json::from_str(state).expect("JSON")))
        .collect();
    let expected = [
        ("prestart", "created"),
        ("createRuntime", "created"),
        ("createContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for ((name, state), (wanted, status)) in lines.iter().zip(expected) {
        assert_eq!((*name, state["status"].as_str()), (wanted, Some(status)));
        assert_eq!((state["id"].as_str(), state["annotations"]["a"].as_str()), (Some("bed"), Some("b")));
        assert!(wanted == "poststop" || state["pid"] == pid, "{name}: {state}");
    }
    let inside = fs_err::read_to_string(bed.path("rootfs/data/log")).expect("the log inside");
    assert!(inside.starts_with("startContainer {") && inside.contains("\"created\""), "{inside}");
}

pub(crate) fn a_hook_that_fails_leaves_nothing(bed: &Bed) {
    for kind in ["createRuntime", "createContainer"] {
        let hooks = json!({ kind: [{ "path": "/bin/sh", "args": ["sh", "-c", "exit 3"] }] });
        bed.configure("true", |config| config["hooks"] = hooks.clone());
        let said = bed.say(&["create", "bed"]);
        assert!(said.code == Some(1) && said.err.contains("exit code 3"), "{kind}: {said:?}");
        assert_eq!(bed.ok(&["list", "-q"]), "");
    }
    let slow = json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1 }] });
    bed.configure("true", |config| config["hooks"] = slow);
    let said = bed.say(&["create", "bed"]);
    assert!(said.err.contains("does not end in time"), "{said:?}");
}

pub(crate) fn a_program_that_is_missing_fails_create(bed: &Bed) {
    bed.configure("true", |config| config["process"]["args"] = json!(["nothing"]));
    let said = bed.say(&["--log", "log", "--log-format", "json", "create", "bed"]);
    assert!(said.code == Some(1) && said.err.contains("executable file not found in $PATH"), "{said:?}");
    let log: serde_json::Value =
        serde_json::from_str(&fs_err::read_to_string(bed.path("log")).expect("the log")).expect("JSON");
    assert!(log["level"] == "error" && log["msg"].as_str().is_some_and(|text| text.contains("nothing")), "{log}");
    assert_eq!(bed.ok(&["list", "-q"]), "");
    // What only the exec can tell comes from `start`.
    bed.configure("true", |config| config["process"]["args"] = json!(["/bin/nothing"]));
    bed.ok(&["create", "bed"]);
    let said = bed.say(&["start", "bed"]);
    assert!(said.code == Some(1) && said.err.contains("cannot execute /bin/nothing"), "{said:?}");
}

pub(crate) fn programs_run_beside_the_first_one(bed: &Bed) {
    bed.configure("sleep 100", |_| ());
    bed.ok(&["create", "bed"]);
    bed.ok(&["start", "bed"]);
    let said = bed.say(&[
        "exec",
        "--cwd",
        "/tmp",
        "--env",
        "A=1",
        "--user",
        "5:6",
        "bed",
        "sh",
        "-c",
        "pwd; echo $A; id; exit 4",
    ]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(4), "/tmp\n1\nuid=5 gid=6\n", ""));
    let process = json!({
        "args": ["sh", "-c", "echo $B; pwd"], "cwd": "/data", "env": ["PATH=/bin", "B=2"], "user": { "uid": 0, "gid": 0 },
    });
    fs_err::write(bed.path("process.json"), process.to_string()).expect("a file");
    assert_eq!(bed.ok(&["exec", "--process", "process.json", "bed"]), "2\n/data\n");
    assert_eq!(bed.ok(&["exec", "--detach", "--pid-file", "second", "bed", "sleep", "100"]), "");
    let second = fs_err::read_to_string(bed.path("second")).expect("a pid");
    let all: Vec<i32> = serde_json::from_str(&bed.ok(&["ps", "--format", "json", "bed"])).expect("JSON");
    assert!(all.len() == 2 && all.contains(&second.parse().expect("a number")), "{all:?}");
    assert!(bed.ok(&["exec", "bed", "sh", "-c", "ls /proc | grep '^[0-9]'"]).lines().count() >= 3);
    let said = bed.say(&["exec", "bed", "nothing"]);
    assert!(said.code == Some(255) && said.err.contains("cannot execute nothing"), "{said:?}");
}

pub(crate) fn a_container_is_stopped_where_it_is(bed: &Bed) {
    bed.configure("sleep 100", |_| ());
    bed.ok(&["create", "bed"]);
    bed.ok(&["start", "bed"]);
    bed.ok(&["pause", "bed"]);
    assert_eq!(bed.state("bed")["status"], "paused");
    let said = bed.say(&["exec", "bed", "true"]);
    assert!(said.code == Some(255) && said.err.contains("cannot exec in a paused container"), "{said:?}");
    bed.ok(&["resume", "bed"]);
    assert_eq!(bed.state("bed")["status"], "running");
    bed.ok(&["pause", "bed"]);
    // Even a frozen one can be removed.
    bed.ok(&["delete", "--force", "bed"]);
}

pub(crate) fn a_terminal_goes_to_the_console_socket(bed: &Bed) {
    let socket = bed.path("console");
    let listener = UnixListener::bind(&socket).expect("a socket");
    bed.configure("tty; read line; echo got $line", |config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = json!({ "height": 30, "width": 90 });
    });
    bed.ok(&["create", "--console-socket", "console", "bed"]);
    let (stream, _) = listener.accept().expect("a connection");
    let master = receive(&stream.into());
    let size = rustix::termios::tcgetwinsize(&master).expect("a size");
    assert_eq!((size.ws_row, size.ws_col), (30, 90));
    bed.ok(&["start", "bed"]);
    rustix::io::write(&master, b"hello\n").expect("it takes input");
    let mut text = String::new();
    while !text.contains("got hello") {
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&master, PollFlags::IN)], Some(&limit)), Ok(1), "{text}");
        let mut bytes = [0; 256];
        let length = rustix::io::read(&master, bytes.as_mut_slice()).expect("text");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert!(text.contains("/dev/pts/0"), "{text}");
}

fn receive(stream: &OwnedFd) -> OwnedFd {
    let mut bytes = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(stream.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).expect("a message");
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.expect("a descriptor")
}

pub(crate) fn limits_change_under_the_program(bed: &Bed) {
    bed.configure("sleep 100", |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        config["linux"]["resources"]["pids"] = json!({ "limit": 20 });
    });
    bed.ok(&["create", "bed"]);
    bed.ok(&["start", "bed"]);
    let stats = || -> serde_json::Value { serde_json::from_str(&bed.ok(&["events", "--stats", "bed"])).expect("JSON") };
    let before = stats();
    assert_eq!(
        (&before["data"]["memory"]["usage"]["limit"], &before["data"]["pids"]["limit"]),
        (&json!(64 << 20), &json!(20))
    );
    bed.ok(&["update", "--memory", "33554432", "--pids-limit", "30", "bed"]);
    let after = stats();
    assert_eq!(
        (&after["data"]["memory"]["usage"]["limit"], &after["data"]["pids"]["limit"]),
        (&json!(32 << 20), &json!(30))
    );
}
