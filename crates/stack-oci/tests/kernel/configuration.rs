//! What a configuration says is what the program finds.

use std::process::Command;

use serde_json::{Value, json};

use crate::bed::Bed;

pub(crate) fn the_process_is_as_it_is_told(bed: &Bed) {
    let line = "id; umask; pwd; echo $HOME; grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status; \
                grep -E 'open files|core file' /proc/self/limits; cat /proc/self/oom_score_adj; hostname; set -- $(cat /proc/self/stat); echo ${19}; \
                cat /proc/sys/kernel/msgmax";
    let said = bed.run(line, |config| {
        let process = &mut config["process"];
        process["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27 });
        process["cwd"] = "/data".into();
        process["capabilities"] = json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
        });
        process["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 77, "hard": 88 }, { "type": "RLIMIT_CORE", "soft": 1, "hard": 2 },
        ]);
        process["oomScoreAdj"] = 100.into();
        process["scheduler"] = json!({ "policy": "SCHED_OTHER", "nice": 3 });
        config["hostname"] = "told".into();
        config["linux"]["sysctl"] = json!({ "kernel.msgmax": "1000" });
    });
    assert_eq!(said.err, "");
    let words: Vec<&str> = said.out.split_whitespace().collect();
    let expected = "uid=5 gid=6 groups=7,8 0027 /data / CapInh: 0000000000000020 CapPrm: 0000000000000020 \
                    CapEff: 0000000000000020 CapBnd: 0000000000000021 CapAmb: 0000000000000020 NoNewPrivs: 1 \
                    Max core file size 1 2 bytes Max open files 77 88 files 100 told 3 1000";
    assert_eq!(words, expected.split_whitespace().collect::<Vec<_>>());
}

pub(crate) fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("a list").push(mount);
}

pub(crate) fn mounts_have_their_options(bed: &Bed) {
    let shared = bed.path("shared");
    fs_err::create_dir(&shared).expect("a directory");
    fs_err::write(shared.join("file"), "1").expect("a file");
    let line = "grep -E ' /(bound|fresh|data) ' /proc/self/mountinfo; ls /data; touch /bound/x; stat -c %a /tmp; cat /made/file";
    let file = shared.join("file");
    let said = bed.run(line, |config| {
        let options = json!(["rbind", "ro", "nosuid", "noatime", "rshared"]);
        add_mount(config, json!({ "destination": "/bound", "type": "bind", "source": shared, "options": options }));
        let options = json!(["nosuid", "nodev", "noexec", "size=64k", "mode=711"]);
        add_mount(config, json!({ "destination": "/fresh", "type": "tmpfs", "source": "named", "options": options }));
        add_mount(
            config,
            json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"] }),
        );
        add_mount(config, json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
        add_mount(config, json!({ "destination": "/made/file", "source": file, "options": ["bind"] }));
    });
    let line = |place: &str| said.out.lines().find(|line| line.contains(&format!(" {place} "))).expect("a mount");
    // With what the mount below has, too.
    let bound: Vec<&str> = line("/bound").split([' ', ',']).collect();
    assert!(["ro", "nosuid", "noatime"].iter().all(|option| bound.contains(option)), "{said:?}");
    assert!(line("/bound").contains("shared:"), "{said:?}");
    assert!(line("/fresh").contains("rw,nosuid,nodev,noexec") && line("/fresh").contains("tmpfs named"), "{said:?}");
    assert!(line("/fresh").contains("size=64k,mode=711"), "{said:?}");
    assert!(line("/data").contains(" ro,") && said.out.contains("from-image"), "{said:?}");
    assert!(said.err.contains("Read-only"), "{said:?}");
    // A tmpfs without a mode has that of the directory it covers.
    assert!(said.out.ends_with("755\n1"), "{said:?}");
    assert!(!shared.join("x").exists());
}

/// As on any host that systemd runs: its mounts are shared, and what is unmounted in one namespace is in the other.
pub(crate) fn a_shared_root_leaves_the_mounts_of_the_host(bed: &Bed) {
    bed.configure("grep -c ' / / .* shared:' /proc/self/mountinfo", |config| {
        config["linux"]["rootfsPropagation"] = "shared".into();
    });
    let run = bed.command(&["run", "bed"]);
    let words = run.get_args().map(|word| format!(" '{}'", word.to_string_lossy())).collect::<String>();
    let program = run.get_program().to_string_lossy().into_owned();
    let line = format!(
        "mount --make-rshared /; cp /proc/self/mountinfo before; '{program}'{words}; \
         cp /proc/self/mountinfo after; cmp before after && echo same"
    );
    #[expect(clippy::disallowed_methods, reason = "a namespace whose mounts are shared")]
    let mut shell = Command::new("unshare");
    let said = shell.args(["--mount", "sh", "-c", &line]).current_dir(bed.path("")).output().expect("its end");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.ends_with("same\n"), "{text} {}", String::from_utf8_lossy(&said.stderr));
}

pub(crate) fn a_mount_that_is_there_is_changed(bed: &Bed) {
    let said = bed.run("grep ' /data ' /proc/self/mountinfo; grep ' /tmp ' /proc/self/mountinfo", |config| {
        for place in ["/data", "/tmp"] {
            let options = json!(["size=64k"]);
            add_mount(config, json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": options }));
        }
        let options = json!(["remount", "bind", "ro", "nosuid"]);
        add_mount(config, json!({ "destination": "/data", "type": "bind", "source": "none", "options": options }));
        let options = json!(["remount", "size=128k"]);
        add_mount(config, json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options }));
    });
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    assert!(lines[0].contains(" ro,nosuid") && lines[0].contains("size=64k"), "{said:?}");
    assert!(lines[1].contains(" rw") && lines[1].contains("size=128k"), "{said:?}");
}

pub(crate) fn calls_are_filtered_by_the_bundle(bed: &Bed) {
    let filter = |action: &str| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                { "names": ["mkdir", "mkdirat"], "action": action, "errnoRet": 28 },
                { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
                  "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] },
            ],
        })
    };
    for privileges in [true, false] {
        let said = bed.run("mkdir /x; kill -10 1; kill -0 1 && echo allowed", |config| {
            config["linux"]["seccomp"] = filter("SCMP_ACT_ERRNO");
            config["process"]["noNewPrivileges"] = privileges.into();
        });
        assert!(said.err.contains("No space left") && said.err.contains("Input/output error"), "{said:?}");
        assert_eq!(said.out, "allowed\n");
    }
    let said = bed.run("mkdir /x; echo $?", |config| config["linux"]["seccomp"] = filter("SCMP_ACT_KILL_PROCESS"));
    // 128 and SIGSYS.
    assert_eq!(said.out, "159\n");
}

pub(crate) fn namespaces_are_joined_by_path(bed: &Bed) {
    bed.configure("sleep 100", |config| config["hostname"] = "first".into());
    bed.ok(&["create", "other"]);
    bed.ok(&["start", "other"]);
    let pid = bed.state("other")["pid"].to_string();
    let said = bed.run("hostname; ls /proc | grep -c '^[0-9]'; stat -L -c %i /proc/self/ns/net", |config| {
        config.as_object_mut().expect("an object").remove("hostname");
        for namespace in config["linux"]["namespaces"].as_array_mut().expect("a list") {
            let file = match namespace["type"].as_str() {
                Some("uts") => "uts",
                Some("pid") => "pid",
                Some("network") => "net",
                _ => continue,
            };
            namespace["path"] = format!("/proc/{pid}/ns/{file}").into();
        }
    });
    let net =
        std::os::unix::fs::MetadataExt::ino(&fs_err::metadata(format!("/proc/{pid}/ns/net")).expect("it is there"));
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines[0], lines[2]), ("first", net.to_string().as_str()), "{said:?}");
    assert!(lines[1].parse::<u32>().expect("a number") >= 3, "the other's processes are seen: {said:?}");
}

pub(crate) fn owners_are_mapped_in_a_user_namespace(bed: &Bed) {
    let shared = bed.path("shared");
    fs_err::create_dir(&shared).expect("a directory");
    fs_err::write(shared.join("file"), "1").expect("a file");
    // The user of the namespace has to get to the root filesystem.
    let open = |name: &str| {
        fs_err::set_permissions(bed.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("a mode");
    };
    ["", "rootfs", "rootfs/data", "shared"].iter().for_each(|name| open(name));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let said = bed.run(
        "id -u; cat /proc/self/uid_map; stat -c %u /mapped/file; echo x >/dev/null && touch /data/made",
        |config| {
            config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map.clone();
            let options = json!(["bind", "idmap"]);
            add_mount(
                config,
                json!({
                    "destination": "/mapped", "type": "bind", "source": shared, "options": options,
                    "uidMappings": map.clone(), "gidMappings": map.clone(),
                }),
            );
        },
    );
    let words: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "0"], "{said:?}");
    let made = fs_err::metadata(bed.path("rootfs/data/made")).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000);
}

pub(crate) fn devices_and_hidden_paths_are_made(bed: &Bed) {
    let line = "stat -c '%F %t:%T %a %u' /dev/null /dev/fuse /dev/pipe; cat /data/hidden; echo x >/data/kept/x; \
                ls /data/closed; ls -l /dev/fd /dev/ptmx";
    for name in ["kept", "closed"] {
        fs_err::create_dir(bed.path("rootfs/data").join(name)).expect("a directory");
        fs_err::write(bed.path("rootfs/data").join(name).join("file"), "1").expect("a file");
    }
    fs_err::write(bed.path("rootfs/data/hidden"), "secret").expect("a file");
    let said = bed.run(line, |config| {
        config["linux"]["devices"] = json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o600 },
        ]);
        config["linux"]["maskedPaths"] = json!(["/data/hidden", "/data/closed", "/not/there"]);
        config["linux"]["readonlyPaths"] = json!(["/data/kept"]);
    });
    assert!(
        said.out.starts_with("character special file 1:3 666 0\ncharacter special file a:e5 640 3\nfifo 0:0 600 0\n"),
        "{said:?}"
    );
    assert!(!said.out.contains("secret") && !said.out.contains("file\n/dev"), "{said:?}");
    assert!(said.err.contains("Read-only"), "{said:?}");
    assert!(said.out.contains("/dev/fd -> /proc/self/fd") && said.out.contains("/dev/ptmx -> pts/ptmx"), "{said:?}");
}

/// A container that would be less confined than it was asked for, or other than asked for, is not made.
pub(crate) fn what_is_not_supported_is_refused(bed: &Bed) {
    let refused = |reason: &str, change: &dyn Fn(&mut Value)| {
        let said = bed.run("true", |config| change(config));
        assert!(said.code == Some(1) && said.err.contains(reason), "{reason}: {said:?}");
    };
    refused("not in a namespace", &|config| config["linux"]["sysctl"] = json!({ "vm.swappiness": "1" }));
    refused("no directory", &|config| config["root"]["path"] = "nowhere".into());
    refused("listenerPath", &|config| {
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_NOTIFY", "syscalls": [] });
    });
    refused("absolute path", &|config| config["process"]["cwd"] = "data".into());
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        refused("AppArmor is not enabled", &|config| config["process"]["apparmorProfile"] = "some".into());
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        refused("SELinux is not enabled", &|config| config["process"]["selinuxLabel"] = "a:b:c:s0".into());
        // Nothing reads it there, and nothing is less confined for that.
        let said = bed.run("true", |config| config["linux"]["mountLabel"] = "a:b:c:s0".into());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    }
    refused("find interface eth7", &|config| config["linux"]["netDevices"] = json!({ "eth7": {} }));
    refused("network namespace", &|config| {
        config["linux"]["netDevices"] = json!({ "lo": {} });
        config["linux"]["namespaces"].as_array_mut().expect("a list").retain(|one| one["type"] != "network");
    });
    refused("policy of memory", &|config| {
        config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "900" });
    });
    refused("0-2,4", &|config| {
        config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "one" });
    });
}

/// On a machine without systemd that is an error, and not something else.
pub(crate) fn systemd_is_asked_for_a_scope(bed: &Bed) {
    let path = |path: &'static str| move |config: &mut Value| config["linux"]["cgroupsPath"] = path.into();
    let systemd = ["--systemd-cgroup", "create", "bed"];
    if !std::path::Path::new("/run/systemd/system").exists() {
        bed.configure("true", path("system.slice:test:bed"));
        let said = bed.say(&systemd);
        assert!(said.code == Some(1) && said.err.contains("systemd does not run"), "{said:?}");
        return;
    }
    bed.configure("true", path("/some/where"));
    let said = bed.say(&systemd);
    assert!(said.code == Some(1) && said.err.contains("slice:prefix:name"), "{said:?}");
    let tree = stack_cgroup::Tree::detect().expect("cgroups");
    let place = |name: &str| std::path::Path::new("user.slice/user-stack.slice/test-bed.scope").join(name);
    let there = |name: &str| tree.directories(&place(name)).iter().any(|directory| directory.exists());
    for end in [["kill", "bed", "KILL"].as_slice(), &["delete", "--force", "bed"]] {
        bed.configure("sleep 100", |config| {
            path("user-stack.slice:test:bed")(config);
            config["linux"]["resources"]["pids"] = json!({ "limit": 7 });
        });
        bed.ok(&systemd);
        assert!(there("container") && !there("holder"));
        assert_eq!(tree.text("pids", &place("container"), "pids.max").as_deref().map(str::trim), Some("7"));
        let pid = bed.state("bed")["pid"].as_u64().expect("a process");
        let cgroups = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
        assert!(cgroups.contains("user.slice/user-stack.slice/test-bed.scope/container\n"), "{cgroups}");
        bed.ok(&["start", "bed"]);
        assert_eq!(bed.ok(&["exec", "bed", "/bin/sh", "-c", "echo beside"]), "beside\n");
        bed.ok(end);
        bed.say(&["delete", "--force", "bed"]);
        assert!(!there(""), "the scope is left");
    }
    // What cannot be made leaves no scope.
    bed.configure("true", |config| {
        path("user-stack.slice:test:bed")(config);
        config["process"]["args"] = json!(["nowhere"]);
    });
    assert_eq!(bed.say(&systemd).code, Some(1));
    assert!(!there(""), "the scope is left");
}

pub(crate) fn interfaces_are_moved_with_what_they_have(bed: &Bed) {
    // A network of its own, that the one of the machine stays as it is.
    let moved = std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
            for words in [
                "link add name out type veth peer name other",
                "address add 192.0.2.7/24 dev out",
                "address add 2001:db8::7/64 dev out",
                "link set dev out mtu 1400 address 02:00:00:00:00:07 up",
            ] {
                ip(words);
            }
            bed.run("cat /sys/class/net/*/uevent /sys/class/net/e*/address; ip address show scope global", |config| {
                config["linux"]["netDevices"] = json!({ "out": { "name": "eth%d" }, "other": {} });
                config["mounts"].as_array_mut().expect("a list").retain(|one| one["destination"] != "/sys");
                let sys = json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] });
                config["mounts"].as_array_mut().expect("a list").push(sys);
            })
        });
        host.join().expect("a run")
    });
    let has = |word: &str| moved.out.contains(word);
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert!(has("INTERFACE=eth0\n") && has("INTERFACE=other\n") && !has("INTERFACE=out\n"), "{moved:?}");
    assert!(has("192.0.2.7/24") && has("2001:db8::7/64") && has("mtu 1400"), "{moved:?}");
    assert!(has("02:00:00:00:00:07") && has(",UP"), "{moved:?}");
}

#[expect(clippy::disallowed_methods, reason = "someone else's tool makes the interfaces")]
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().expect("ip");
    assert!(done.success(), "{words}");
}

pub(crate) fn memory_comes_from_the_nodes_of_the_policy(bed: &Bed) {
    let said = bed.run("grep -m 1 stack /proc/self/numa_maps", |config| {
        config["linux"]["memoryPolicy"] =
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    });
    assert!(said.out.contains(" bind=static:0 "), "{said:?}");
}

pub(crate) fn the_kernel_treats_it_as_it_is_told(bed: &Bed) {
    let said = bed.run("cat /proc/self/timens_offsets; uname -m; ionice; cat /proc/uptime", |config| {
        config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000_000 }, "monotonic": { "secs": 5 } });
        config["linux"]["personality"] = json!({ "domain": "LINUX32" });
        config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
        config["linux"]["rootfsPropagation"] = "shared".into();
    });
    let words: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "5", "0", "boottime", "1000000000", "0"], "{said:?}");
    // A machine of 64 bits calls itself otherwise.
    assert!(["i686", "armv8l"].contains(&words[6]), "{said:?}");
    assert_eq!(words[7..10], ["best-effort:", "prio", "6"], "{said:?}");
    assert!(words[10].parse::<f64>().expect("seconds") > 1e9, "{said:?}");
}
