//! What engines and the suites of other runtimes take for granted.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::configuration::add_mount;

/// A container with this line that runs.
fn start(bed: &Bed, line: &str, change: impl FnOnce(&mut Value)) {
    bed.configure(line, change);
    bed.ok(&["run", "--detach", "bed"]);
}

/// Another user namespace, with the users from 100,000 on.
fn with_users(config: &mut Value) {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

fn open(path: &Path) {
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a mode");
}

pub(crate) fn another_file_and_patterns_of_names(bed: &Bed) {
    bed.configure("sleep 100", |_| ());
    fs_err::rename(bed.path("config.json"), bed.path("other.json")).expect("a name");
    bed.ok(&["create", "--config", "other.json", "bed"]);
    bed.ok(&["create", "-f", "other.json", "other"]);
    bed.ok(&["kill", "--regex", "^o", "KILL"]);
    bed.ok(&["delete", "--regex", "ed$"]);
    assert_eq!(bed.ok(&["list", "-q"]), "other\n");
}

pub(crate) fn a_program_of_exec_leads_its_own_group(bed: &Bed) {
    start(bed, "sleep 100", |_| ());
    let said = bed.ok(&["exec", "bed", "sh", "-c", "read -r pid rest </proc/self/stat; set -- $rest; echo $pid $4 $5"]);
    let ids: Vec<&str> = said.split_whitespace().collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0] && *id != "0"), "{ids:?}");
}

pub(crate) fn a_cgroup_below_the_containers_is_joined_and_removed(bed: &Bed) {
    start(bed, "sleep 100", |_| ());
    let tree = stack_cgroup::Tree::detect().expect("cgroups");
    let below = tree.directory("pids", Path::new("/bed/below")).expect("pids");
    fs_err::create_dir(&below).expect("a cgroup");
    let place = if tree.is_v2() { "below" } else { "pids:below" };
    let inside = bed.ok(&["exec", "--cgroup", place, "bed", "cat", "/proc/self/cgroup"]);
    assert!(inside.contains(":pids:/below\n") || inside.contains("::/below\n"), "{inside}");
    let said = bed.say(&["exec", "--cgroup", "../..", "bed", "true"]);
    assert!(said.code == Some(255) && said.err.contains("is not a sub cgroup path"), "{said:?}");
    bed.ok(&["exec", "--cgroup", place, "--detach", "bed", "sleep", "100"]);
    bed.ok(&["delete", "--force", "bed"]);
    assert!(!below.exists());
}

pub(crate) fn programs_of_exec_run_where_they_are_told(bed: &Bed) {
    start(bed, "sleep 100", |_| ());
    let allowed = |affinity: Value| {
        let process = json!({
            "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": affinity,
        });
        fs_err::write(bed.path("process.json"), process.to_string()).expect("a file");
        bed.say(&["exec", "--process", "process.json", "bed"])
    };
    assert!(allowed(json!({ "initial": "0" })).out.ends_with(":\t0\n"));
    let last = (std::thread::available_parallelism().expect("processors").get() - 1).to_string();
    assert!(allowed(json!({ "initial": "0", "final": last })).out.ends_with(&format!(":\t{last}\n")));
    let said = allowed(json!({ "final": "9000" }));
    assert!(said.code == Some(255) && said.err.contains("execCPUAffinity"), "{said:?}");
}

pub(crate) fn processes_are_shown_as_ps_does(bed: &Bed) {
    start(bed, "sleep 100; true", |_| ());
    let pid = bed.state("bed")["pid"].to_string();
    let full = bed.ok(&["ps", "bed"]);
    let words = |line: Option<&str>| line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(full.lines().next()), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let first = words(full.lines().nth(1));
    assert_eq!(
        (first[0].as_str(), first[1].as_str(), &first[7..10]),
        ("root", pid.as_str(), &words(Some("/bin/sh -c sleep"))[..])
    );
    assert_eq!(bed.ok(&["ps", "bed", "-e", "-f"]).lines().next(), full.lines().next());
    let short = bed.ok(&["ps", "bed", "-e", "-x"]);
    assert_eq!(words(short.lines().next()), ["PID", "TTY", "STAT", "TIME", "COMMAND"]);
    assert!(bed.say(&["ps", "bed", "-o", "pid"]).err.contains("is not supported"));
    assert!(bed.say(&["ps", "--format", "xml", "bed"]).err.contains("`table` or `json`"));
}

pub(crate) fn calls_of_exec_are_asked_about(bed: &Bed) {
    let socket = bed.path("listener");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    // What answers holds the descriptor: when it closes that, the calls fail with ENOSYS (seccomp_unotify(2)).
    start(bed, "sleep 100", |config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "listenerPath": socket, "listenerMetadata": "mine",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
        });
    });
    let told = || -> Value {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut text = String::new();
        // The descriptor beside the text is closed unread.
        std::io::Read::read_to_string(&mut stream, &mut text).expect("a message");
        serde_json::from_str(&text).expect("JSON")
    };
    let first = told();
    let pid = bed.state("bed")["pid"].clone();
    assert_eq!((&first["pid"], &first["state"]["pid"], &first["state"]["status"]), (&pid, &pid, &json!("creating")));
    let (said, second) = std::thread::scope(|scope| {
        let second = scope.spawn(told);
        let said = bed.say(&["exec", "--pid-file", "second", "bed", "mkdir", "/tmp/x"]);
        (said, second.join().expect("a message"))
    });
    assert!(said.code == Some(1) && said.err.contains("not implemented"), "{said:?}");
    let own = fs_err::read_to_string(bed.path("second")).expect("a pid");
    assert_eq!((second["pid"].to_string(), &second["state"]["pid"]), (own, &pid));
    assert_eq!((&second["metadata"], &second["state"]["status"]), (&json!("mine"), &json!("running")));
}

pub(crate) fn sockets_are_passed_to_process_one(bed: &Bed) {
    bed.configure("echo $LISTEN_FDS $LISTEN_PID; cat <&3", |_| ());
    let file = fs_err::File::open("/proc/self/comm").expect("a file").into_parts().0;
    let command = bed.command(&["run", "bed"]);
    // The shell puts the file where the first socket is looked for.
    let line = command.get_args().map(|word| format!(" '{}'", word.to_string_lossy())).collect::<String>();
    let program = command.get_program().to_string_lossy().into_owned();
    #[expect(clippy::disallowed_methods, reason = "a command with one more descriptor")]
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &format!("exec '{program}'{line} 3<&0 </dev/null")]).env("LISTEN_FDS", "1");
    let said = shell.current_dir(bed.path("")).stdin(Stdio::from(file)).output().expect("its end");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.starts_with("1 1\n") && text.lines().count() == 2, "{text} {said:?}");
}

pub(crate) fn hooks_have_the_environment_they_are_given(bed: &Bed) {
    let hook = |env: Option<Value>| {
        let mut hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "test \"$OUTSIDE\" = known"] });
        if let Some(env) = env {
            hook["env"] = env;
        }
        json!({ "createRuntime": [hook] })
    };
    let code = |env: Option<Value>| {
        bed.configure("true", |config| config["hooks"] = hook(env));
        bed.command(&["run", "bed"]).env("OUTSIDE", "known").stderr(Stdio::null()).status().expect("its end").code()
    };
    assert_eq!(code(None), Some(0));
    assert_eq!(code(Some(json!([]))), Some(1));
    assert_eq!(code(Some(json!(["OUTSIDE=known"]))), Some(0));
}

pub(crate) fn hooks_in_the_container_are_filtered_too(bed: &Bed) {
    for no_new_privileges in [true, false] {
        let said = bed.run("true", |config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL" }],
            });
            let hook = json!({ "path": "/bin/busybox", "args": ["mkdir", "/tmp/made"] });
            config["hooks"] = json!({ "startContainer": [hook] });
        });
        assert!(said.code == Some(1) && said.err.contains("SIGSYS, bad system call"), "{said:?}");
        assert!(!bed.path("rootfs/tmp/made").exists());
    }
}

pub(crate) fn unknown_capabilities_do_not_matter(bed: &Bed) {
    let said = bed.run("grep CapBnd /proc/self/status", |config| {
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_OF_TOMORROW", "CAP_KILL"] });
    });
    assert!(said.code == Some(0) && said.out.ends_with("0000000000000020\n"), "{said:?}");
}

pub(crate) fn devices_are_made_before_dev_is_closed(bed: &Bed) {
    let said = bed.run("stat -c %t:%T /dev/null; touch /dev/more || echo closed", |config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").expect("it has one");
        dev["options"].as_array_mut().expect("a list").push("ro".into());
    });
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1:3\nclosed\n"), "{}", said.err);
}

pub(crate) fn lines_are_as_written_where_no_terminal_reads(bed: &Bed) {
    let said = bed.run("tty; stat -c %g $(tty)", |config| config["process"]["terminal"] = true.into());
    assert_eq!((said.code, said.out.as_str()), (Some(0), "/dev/pts/0\n5\n"), "{}", said.err);
}

pub(crate) fn users_of_another_container_are_joined(bed: &Bed) {
    open(&bed.path(""));
    start(bed, "sleep 100", with_users);
    let users = format!("/proc/{}/ns/user", bed.state("bed")["pid"]);
    bed.configure("cat /proc/self/uid_map; id -u; mount -t tmpfs tmpfs /tmp && echo mounted", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({ "type": "user", "path": users }));
        for set in ["bounding", "permitted", "effective"] {
            config["process"]["capabilities"][set].as_array_mut().expect("a list").push("CAP_SYS_ADMIN".into());
        }
    });
    let said = bed.say(&["run", "other"]);
    let words: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "mounted"], "{said:?}");
}

pub(crate) fn sources_that_the_users_may_not_reach_are_bound(bed: &Bed) {
    open(&bed.path(""));
    let closed = bed.path("closed");
    fs_err::create_dir_all(closed.join("inside")).expect("a directory");
    fs_err::write(closed.join("inside/file"), "reached\n").expect("a file");
    fs_err::set_permissions(&closed, PermissionsExt::from_mode(0o700)).expect("a mode");
    let said = bed.run("cat /data/file", |config| {
        with_users(config);
        let source = closed.join("inside");
        add_mount(config, json!({ "destination": "/data", "type": "bind", "source": source, "options": ["rbind"] }));
    });
    assert_eq!((said.code, said.out.as_str()), (Some(0), "reached\n"), "{said:?}");
}

fn kernel() -> (u32, u32) {
    let text = fs_err::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut parts = text.split(['.', '-']).map_while(|part| part.parse().ok());
    parts.next().zip(parts.next()).expect("two numbers")
}

pub(crate) fn devices_are_made_for_other_users(bed: &Bed) {
    open(&bed.path(""));
    let said = bed.run("stat -c '%F %t:%T %a %u:%g' /dev/foo /dev/null; echo x >/dev/null && echo written", |config| {
        with_users(config);
        config["linux"]["devices"] = json!([
            { "path": "/dev/foo", "type": "b", "major": 1, "minor": 5, "uid": 10, "gid": 11, "fileMode": 0o157 },
        ]);
    });
    if kernel() < (6, 15) {
        // They are the machine's own there, and it has none of this name.
        assert!(said.code == Some(1) && said.err.contains("cannot bind /dev/foo"), "{said:?}");
        return;
    }
    let expected = "block special file 1:5 157 10:11\ncharacter special file 1:3 666 0:0\nwritten\n";
    assert_eq!((said.code, said.out.as_str()), (Some(0), expected), "{said:?}");
}

pub(crate) fn hooks_in_the_container_stand_in_its_root(bed: &Bed) {
    let line = "pwd >data/where; cat data/from-image >>data/where";
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", line] });
    let said = bed.run("cat /data/where", |config| config["hooks"] = json!({ "createContainer": [hook] }));
    let root = fs_err::canonicalize(bed.path("rootfs")).expect("a path");
    assert_eq!(said.out, format!("{}\n1", root.display()), "{said:?}");
}

pub(crate) fn a_cgroup_that_others_made_gets_processors(bed: &Bed) {
    let tree = stack_cgroup::Tree::detect().expect("cgroups");
    let pod = Path::new("/stack-test-pod");
    tree.directories(pod).iter().for_each(|directory| fs_err::create_dir(directory).expect("a cgroup"));
    let said = bed.run("true", |config| config["linux"]["cgroupsPath"] = "/stack-test-pod/bed".into());
    tree.remove(pod).expect("nothing is in it");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

pub(crate) fn a_kill_for_memory_is_an_event(bed: &Bed) {
    nix::unistd::mkfifo(&bed.path("rootfs/data/go"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    start(bed, "read go </data/go; held=$(cat /dev/zero | grep -m1 x)", |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20 });
    });
    let mut events =
        bed.command(&["events", "--interval", "50ms", "bed"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(events.stdout.take().expect("a pipe")));
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains("\"stats\""), "{first}");
    fs_err::write(bed.path("rootfs/data/go"), "now\n").expect("it waits");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert!(rest.iter().any(|line| line == r#"{"type":"oom","id":"bed"}"#), "{rest:?}");
    assert!(events.wait().expect("its end").success());
}

pub(crate) fn a_frozen_cgroup_is_refused(bed: &Bed) {
    let tree = stack_cgroup::Tree::detect().expect("cgroups");
    let place = Path::new("/stack-test-frozen");
    tree.create(place).expect("a cgroup");
    tree.freeze(place, true).expect("a freezer");
    let said = bed.run("true", |config| config["linux"]["cgroupsPath"] = "/stack-test-frozen".into());
    tree.freeze(place, false).expect("a freezer");
    tree.remove(place).expect("nothing is in it");
    assert!(said.code == Some(1) && said.err.contains("container's cgroup unexpectedly frozen: thaw"), "{said:?}");
}

pub(crate) fn a_shared_cgroup_is_warned_of(bed: &Bed) {
    start(bed, "sleep 100", |config| config["linux"]["cgroupsPath"] = "/bed".into());
    let said = bed.say(&["create", "other"]);
    assert!(said.code == Some(0) && said.err.contains("cgroup is not empty"), "{said:?}");
    bed.ok(&["delete", "--force", "other"]);
}
