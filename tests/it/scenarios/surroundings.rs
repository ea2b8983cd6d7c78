//! What a container finds around its program, looked at from inside.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns};
use stack_tests::{World, eventually};

use super::SLEEPER;

/// A file as process 1 of a container sees it.
fn inside(pid: u32, path: &str) -> String {
    fs_err::read_to_string(format!("/proc/{pid}/root{path}")).unwrap_or_else(|error| error.to_string())
}

fn of_process(pid: u32, file: &str) -> String {
    fs_err::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| error.to_string())
}

/// A kernel parameter in a process's namespaces: which ones are shown is up to the thread that opens the file.
fn parameter(pid: u32, path: &'static str) -> String {
    let look = move || {
        for (name, kind) in [("net", CloneFlags::CLONE_NEWNET), ("ipc", CloneFlags::CLONE_NEWIPC)] {
            let namespace = fs_err::File::open(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
            setns(namespace.file(), kind).expect("it can be joined");
        }
        fs_err::read_to_string(path).expect("a parameter").trim().to_owned()
    };
    std::thread::spawn(look).join().expect("it is shown")
}

fn line(text: &str, start: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(start));
    found.unwrap_or_else(|| panic!("no `{start}` in\n{text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

const ALL: &str = "
    hostname: web
    domainname: example.test
    extra_hosts: ['db.test:10.9.8.7', 'host.docker.internal:host-gateway']
    dns: 192.0.2.53
    dns_search: [one.test, two.test]
    dns_opt: ['timeout:1']
    ulimits: {nproc: 4000, nofile: {soft: 2000, hard: 3000}}
    shm_size: 96m
    sysctls: {net.core.somaxconn: 321, kernel.shmmni: 77}
    group_add: [1234]
    security_opt: ['no-new-privileges:true', 'seccomp:unconfined']
    devices: ['/dev/fuse', '/dev/null:/dev/nothing:rw']
    device_cgroup_rules: ['c 10:200 r']
    oom_score_adj: 321
    mac_address: '02:42:00:00:03:21'
    networks: {default: {interface_name: lan0}}
    logging: {options: {max-size: 64k, max-file: '2'}}
";

#[test]
fn names_limits_and_devices_are_what_the_file_says() {
    let world = World::new("around");
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}{ALL}"));
    world.stack(&["up", "-d"]).ok();
    let pid = world.runs(&["around-web-1"])["around-web-1"];
    let record = world.records()["around-web-1"].clone();
    let gateway = record["endpoints"][0]["gateway"].as_str().unwrap().to_owned();
    // A process is in its cgroup before it has executed its program.
    eventually("the program runs", || {
        let command = of_process(pid, "cmdline");
        if command.contains("sleep") { Ok(()) } else { Err(command) }
    });
    let hosts = inside(pid, "/etc/hosts");
    assert!(hosts.contains("\tweb.example.test web\n10.9.8.7\tdb.test\n"), "{hosts}");
    assert!(hosts.ends_with(&format!("{gateway}\thost.docker.internal\n")), "{hosts}");
    let resolv = inside(pid, "/etc/resolv.conf");
    assert_eq!(resolv, "nameserver 127.0.0.11\nsearch one.test two.test\noptions timeout:1 ndots:0\n");
    let limits = of_process(pid, "limits");
    assert_eq!(line(&limits, "Max open files"), "2000 3000 files");
    assert_eq!(line(&limits, "Max processes"), "4000 4000 processes");
    let status = of_process(pid, "status");
    assert!(line(&status, "Groups:").split(' ').any(|group| group == "1234"), "{status}");
    assert_eq!((line(&status, "NoNewPrivs:"), line(&status, "Seccomp:")), ("1".to_owned(), "0".to_owned()));
    assert_eq!(of_process(pid, "oom_score_adj").trim(), "321");
    let mounts = of_process(pid, "mountinfo");
    let shm = mounts.lines().find(|line| line.contains(" /dev/shm ")).unwrap();
    assert!(shm.contains("size=98304k"), "{shm}");
    assert_eq!(parameter(pid, "/proc/sys/net/core/somaxconn"), "321");
    assert_eq!(parameter(pid, "/proc/sys/kernel/shmmni"), "77");
    let devices = of_process(pid, "net/dev");
    assert!(devices.contains(" lan0:"), "{devices}");
    assert_eq!(inside(pid, "/sys/class/net/lan0/address").trim(), "02:42:00:00:03:21");
    for (path, number) in [("/dev/fuse", (10, 229)), ("/dev/nothing", (1, 3))] {
        use std::os::unix::fs::MetadataExt;
        let node = fs_err::metadata(format!("/proc/{pid}/root{path}")).unwrap().rdev();
        assert_eq!((nix::sys::stat::major(node), nix::sys::stat::minor(node)), number, "{path}");
    }
    if let Some(rules) = world.cgroup_file("around-web-1", &["devices.list"]) {
        assert!(rules.contains("c 10:229 rwm") && rules.contains("c 10:200 r"), "{rules}");
    }
    // What runs beside it is under the same rules.
    let shown = world.stack(&["exec", "-T", "web", "/stack", "demo", "show"]).ok().stdout;
    assert!(line(&shown, "Groups:").split(' ').any(|group| group == "1234"), "{shown}");
    assert_eq!((line(&shown, "NoNewPrivs:"), line(&shown, "Seccomp:")), ("1".to_owned(), "0".to_owned()));
    // An edit is a new container.
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}{}", ALL.replace("321", "123")));
    eventually("it is another container", || {
        let now = world.pids().get("around-web-1").copied().unwrap_or(0);
        if of_process(now, "oom_score_adj").trim() == "123" { Ok(()) } else { Err(now.to_string()) }
    });
}

/// A profile that refuses one call.
const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["amd64"]}}]}"#;

#[test]
fn mounts_below_a_path_are_seen_hidden_or_left_writable() {
    let world = World::new("below");
    let below = world.project_dir().join("data/below");
    fs_err::create_dir_all(&below).unwrap();
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a mount");
    let bind = |word: &str| {
        format!(
            "      - {{type: bind, source: ./data, target: /{word}, read_only: true, bind: {{recursive: {word}}}}}\n"
        )
    };
    let binds = ["enabled", "disabled", "writable", "readonly"].map(bind).concat();
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    volumes:\n{binds}"));
    let up = world.stack(&["up", "-d"]);
    umount2(&below, MntFlags::MNT_DETACH).expect("it is taken off");
    up.ok();
    let pid = world.runs(&["below-web-1"])["below-web-1"];
    let mounts = of_process(pid, "mountinfo");
    let of = |path: &str| {
        let found = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| fields[4] == path);
        found.map(|fields| fields[5].split(',').next().unwrap_or_default().to_owned())
    };
    let both = |word: &str| (of(&format!("/{word}")), of(&format!("/{word}/below")));
    let some = |word: &str| Some(word.to_owned());
    assert_eq!(both("enabled"), (some("ro"), some("ro")), "{mounts}");
    assert_eq!(both("readonly"), (some("ro"), some("ro")), "{mounts}");
    assert_eq!(both("disabled"), (some("ro"), None), "{mounts}");
    assert_eq!(both("writable"), (some("ro"), some("rw")), "{mounts}");
}

#[test]
fn a_profile_of_system_calls_comes_from_its_file_and_its_edit_is_a_change() {
    let world = World::new("profile");
    world.write("profile.json", PROFILE);
    world.write(
        "compose.yaml",
        &format!("services:\n  web:\n    {SLEEPER}\n    security_opt: ['seccomp:profile.json']\n"),
    );
    world.stack(&["up", "-d"]).ok();
    let pid = world.runs(&["profile-web-1"])["profile-web-1"];
    eventually("it is filtered", || {
        let status = of_process(pid, "status");
        if status.contains("Seccomp:\t2") { Ok(()) } else { Err(status) }
    });
    world.write("profile.json", &PROFILE.replace("sethostname", "setdomainname"));
    eventually("it is another container", || match world.pids().get("profile-web-1") {
        Some(now) if *now != pid => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn processors_shares_and_rates_change_under_the_running_process() {
    let world = World::new("shares");
    let file = |more: &str| format!("services:\n  web:\n    {SLEEPER}\n    mem_limit: 64m\n{more}");
    world.write("compose.yaml", &file(""));
    world.stack(&["up", "-d"]).ok();
    let pids = world.runs(&["shares-web-1"]);
    let pid = pids["shares-web-1"];
    let more = "    cpuset: '0'\n    cpu_shares: 512\n    cpu_period: 50000\n    cpu_quota: 25000\n";
    world.write("compose.yaml", &file(more));
    eventually("it runs on processor 0", || {
        let held = line(&of_process(pid, "status"), "Cpus_allowed_list:");
        if held == "0" { Ok(()) } else { Err(held) }
    });
    eventually("it has a quarter of two processors, and half of the usual weight", || {
        let quota = world.cgroup_file("shares-web-1", &["cpu.cfs_quota_us", "cpu.max"]).unwrap();
        let shares = world.cgroup_file("shares-web-1", &["cpu.shares", "cpu.weight"]).unwrap();
        let is_so = quota.starts_with("25000") && ["512", "20"].contains(&shares.trim());
        if is_so { Ok(()) } else { Err(format!("{quota} {shares}")) }
    });
    world.write("compose.yaml", &file(""));
    eventually("it runs anywhere", || {
        let held = line(&of_process(pid, "status"), "Cpus_allowed_list:");
        let all = line(&of_process(std::process::id(), "status"), "Cpus_allowed_list:");
        if held == all { Ok(()) } else { Err(held) }
    });
    assert_eq!(world.pids(), pids);
}

fn namespace(pid: u32, name: &str) -> std::path::PathBuf {
    fs_err::read_link(format!("/proc/{pid}/ns/{name}")).unwrap_or_default()
}

#[test]
fn the_network_of_another_service_is_shared_and_followed() {
    let world = World::new("share");
    let file = |mode: &str| {
        format!(
            "services:\n  app:\n    {SLEEPER}\n    network_mode: service:vpn\n  vpn:\n    image: stack.local/self\n    \
             command: [demo, counter, --listen, '9000']\n    environment: {{MODE: {mode}}}\n  plain:\n    {SLEEPER}\n    \
             links: ['vpn:tunnel']\n  old:\n    {SLEEPER}\n    network_mode: bridge\n"
        )
    };
    let all = ["share-app-1", "share-old-1", "share-plain-1", "share-vpn-1"];
    world.write("compose.yaml", &file("one"));
    world.stack(&["up", "-d"]).ok();
    let pids = world.runs(&all);
    let net = |name: &str| namespace(world.pids().get(name).copied().unwrap_or(0), "net");
    assert_eq!(net("share-app-1"), net("share-vpn-1"));
    assert_ne!(net("share-plain-1"), net("share-vpn-1"));
    assert_ne!(net("share-old-1"), net("share-plain-1"));
    // What listens in one is on loopback of the other, and a link is a name for it.
    let check =
        |service: &str, address: &str| world.stack(&["exec", "-T", service, "/stack", "demo", "check", address]);
    for (service, address) in [("app", "http://127.0.0.1:9000"), ("plain", "http://tunnel:9000")] {
        eventually("the other answers", || match check(service, address) {
            run if run.code == Some(0) => Ok(()),
            run => Err(run.stderr),
        });
    }
    // A killed supervisor forgets nothing: a restart of the follower finds the network again.
    if let Some(supervisor) = world.supervisor() {
        world.kill(supervisor);
    }
    world.stack(&["restart", "app"]).ok();
    eventually("the follower is back", || {
        let now = world.pids().get("share-app-1").copied().unwrap_or(0);
        let back = now != pids["share-app-1"] && net("share-app-1") == net("share-vpn-1");
        if back { Ok(()) } else { Err(format!("{now}")) }
    });
    // A new leader has a new network, and whoever was in the old one is replaced too. The kernel may number the new
    // namespace like the old one, so the processes tell.
    let before = world.runs(&all);
    world.write("compose.yaml", &file("two"));
    eventually("both are new", || {
        let now = world.pids();
        let is_new = |name: &str| now.get(name).is_some_and(|pid| *pid != before[name]);
        let together = net("share-vpn-1") == net("share-app-1");
        if is_new("share-vpn-1") && is_new("share-app-1") && together { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(world.pids()["share-old-1"], before["share-old-1"]);
}

#[test]
fn files_and_mounts_come_from_where_the_file_says() {
    let world = World::new("mounts");
    let volume = world.layout().volume_data(&stack_model::VolumeName::new("mounts_data"));
    fs_err::create_dir_all(volume.join("inner")).expect("a directory");
    fs_err::write(volume.join("inner/file"), "from the volume").expect("a file");
    for name in ["shown", "shared"] {
        fs_err::create_dir(world.project_dir().join(name)).expect("a directory");
    }
    world.write("shown/file", "from the host");
    let shared = SharedMount::new(world.project_dir().join("shared"));
    let file = format!(
        "services:\n  web:\n    {SLEEPER}\n    pid: host\n    ipc: host\n    cgroup: host\n    configs: [conf]\n    \
         secrets: [word]\n    volumes:\n      - bound:/bound\n      - ./shared:/shared:rslave\n      - {{type: volume, \
         source: data, target: /inner, volume: {{subpath: inner}}}}\nconfigs: {{conf: {{content: 'a = 1'}}}}\nsecrets: \
         {{word: {{environment: WORD}}}}\nvolumes:\n  data:\n  bound: {{driver_opts: {{type: none, o: bind, device: \
         {}/shown}}}}\n",
        world.project_dir().display()
    );
    world.write("compose.yaml", &file);
    world.stack(&["up", "-d"]).fails(1, &["WORD", "compose.yaml"]);
    let mut up = world.command(&["up", "-d"]);
    up.env("WORD", "hush");
    world.finish(up).ok();
    let pid = world.runs(&["mounts-web-1"])["mounts-web-1"];
    eventually("the program runs", || {
        let command = of_process(pid, "cmdline");
        if command.contains("sleep") { Ok(()) } else { Err(command) }
    });
    assert_eq!(inside(pid, "/conf"), "a = 1");
    assert_eq!(inside(pid, "/run/secrets/word"), "hush");
    assert_eq!(inside(pid, "/bound/file"), "from the host");
    assert_eq!(inside(pid, "/inner/file"), "from the volume");
    let own = std::process::id();
    for (name, is_shared) in [("pid", true), ("ipc", true), ("cgroup", true), ("net", false), ("uts", false)] {
        assert_eq!(namespace(pid, name) == namespace(own, name), is_shared, "{name}");
    }
    // What is mounted on the host later is seen inside.
    shared.mount_below();
    eventually("the mount is seen", || {
        let mounts = of_process(pid, "mountinfo");
        let seen = mounts.lines().any(|line| line.contains(" /shared/below ") && line.contains("master:"));
        if seen { Ok(()) } else { Err(mounts) }
    });
    world.stack(&["down", "-v", "-t", "0"]).ok();
}

/// A filesystem whose mounts others see, as long as the value lives.
struct SharedMount(std::path::PathBuf);

impl SharedMount {
    fn new(place: std::path::PathBuf) -> Self {
        mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a filesystem");
        mount(None::<&str>, &place, None::<&str>, MsFlags::MS_SHARED, None::<&str>).expect("it can be shared");
        Self(place)
    }

    fn mount_below(&self) {
        let below = self.0.join("below");
        fs_err::create_dir(&below).expect("a directory");
        mount(Some("none"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a filesystem");
    }
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        for place in [self.0.join("below"), self.0.clone()] {
            // What a failed test never mounted is not there.
            let _ = umount2(&place, MntFlags::MNT_DETACH);
        }
    }
}
