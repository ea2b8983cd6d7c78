//! What each field of a container costs to change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use insta::assert_snapshot;
use stack_model::{
    Attachment, Bytes, ContainerSpec, Device, Effect, ExtraHost, FileKind, FileMount, Hook, HostAddress, HostPort,
    ImageReference, Millis, Mount, MountSource, Namespace, NanoCpus, NetworkMode, NetworkName, PullPolicy,
    RestartPolicy, Seccomp, State, Ulimit, VolumesFrom,
};
use stack_plan::{compare, most_severe};

use crate::project::{Build, check, port, service, shop, spec};
use crate::world::World;

type Edit = fn(&mut ContainerSpec);

fn attachment(spec: &mut ContainerSpec) -> &mut Attachment {
    let NetworkMode::Attached(map) = &mut spec.network else { panic!("not attached") };
    map.get_mut("default").unwrap()
}

fn file(kind: FileKind) -> FileMount {
    let (source, target) = (PathBuf::from("/etc/a"), "/run/a".to_owned());
    FileMount { kind, source, text: None, content: "0".to_owned(), target, uid: 0, gid: 0, mode: 0o444 }
}

fn hook() -> Hook {
    Hook { command: vec!["/hook".to_owned()], ..Hook::default() }
}

/// Every field of [`ContainerSpec`], in its order, with the key and the class of a change.
const FIELDS: &[(&str, &str, Effect, Edit)] = &[
    ("image", "image", Effect::Replace, |spec| spec.image = ImageReference::new("app:2")),
    ("pull_policy", "pull_policy", Effect::Live, |spec| spec.pull_policy = PullPolicy::Always),
    ("container_name", "container_name", Effect::Replace, |spec| spec.container_name = Some("own".into())),
    ("command", "command", Effect::Replace, |spec| spec.command = Some(vec!["x".into()])),
    ("entrypoint", "entrypoint", Effect::Replace, |spec| spec.entrypoint = Some(vec!["/x".into()])),
    ("environment", "environment.A", Effect::Replace, |spec| {
        drop(spec.environment.insert("A".into(), Some("1".into())))
    }),
    ("working_dir", "working_dir", Effect::Replace, |spec| spec.working_dir = Some("/x".into())),
    ("user", "user", Effect::Replace, |spec| spec.user = Some("app".into())),
    ("hostname", "hostname", Effect::Replace, |spec| spec.hostname = Some("h".into())),
    ("domainname", "domainname", Effect::Replace, |spec| spec.domainname = Some("d".into())),
    ("extra_hosts", "extra_hosts", Effect::Replace, |spec| {
        spec.extra_hosts.push(ExtraHost { name: "host".into(), address: HostAddress::Gateway });
    }),
    ("dns", "dns", Effect::Replace, |spec| spec.dns.servers.push([9, 9, 9, 9].into())),
    ("dns", "dns_search", Effect::Replace, |spec| spec.dns.search.push("a.test".into())),
    ("dns", "dns_opt", Effect::Replace, |spec| spec.dns.options.push("ndots:2".into())),
    ("group_add", "group_add", Effect::Replace, |spec| {
        spec.group_add.insert("video".into());
    }),
    ("ulimits", "ulimits.nofile", Effect::Replace, |spec| {
        spec.ulimits.insert("nofile".into(), Ulimit { soft: 10, hard: 20 });
    }),
    ("sysctls", "sysctls.net.core.somaxconn", Effect::Replace, |spec| {
        spec.sysctls.insert("net.core.somaxconn".into(), "64".into());
    }),
    ("shm_size", "shm_size", Effect::Replace, |spec| spec.shm_size = Some(Bytes(1 << 20))),
    ("oom_score_adj", "oom_score_adj", Effect::Replace, |spec| spec.oom_score_adj = 100),
    ("security", "security_opt", Effect::Replace, |spec| spec.security.no_new_privileges = true),
    ("security", "security_opt", Effect::Replace, |spec| spec.security.seccomp = Seccomp::Profile("{}".into())),
    ("namespaces", "pid", Effect::Replace, |spec| spec.namespaces.pid = Namespace::Host),
    ("namespaces", "ipc", Effect::Replace, |spec| spec.namespaces.ipc = Namespace::Host),
    ("namespaces", "ipc", Effect::Replace, |spec| spec.namespaces.without_shm = true),
    ("namespaces", "uts", Effect::Replace, |spec| spec.namespaces.uts = true),
    ("namespaces", "cgroup", Effect::Replace, |spec| spec.namespaces.cgroup = true),
    ("devices", "devices", Effect::Replace, |spec| {
        let (source, target) = ("/dev/fuse".into(), "/dev/fuse".into());
        spec.devices.push(Device { source, target, permissions: "rwm".into() });
    }),
    ("device_cgroup_rules", "device_cgroup_rules", Effect::Replace, |spec| {
        spec.device_cgroup_rules.push("c 1:3 r".into());
    }),
    ("init", "init", Effect::Replace, |spec| spec.init = true),
    ("tty", "tty", Effect::Replace, |spec| spec.tty = true),
    ("stdin_open", "stdin_open", Effect::Replace, |spec| spec.stdin_open = true),
    ("read_only", "read_only", Effect::Replace, |spec| spec.read_only = true),
    ("privileged", "privileged", Effect::Replace, |spec| spec.privileged = true),
    ("cap_add", "cap_add", Effect::Replace, |spec| {
        spec.cap_add.insert("NET_ADMIN".into());
    }),
    ("cap_drop", "cap_drop", Effect::Replace, |spec| {
        spec.cap_drop.insert("ALL".into());
    }),
    ("limits", "mem_limit", Effect::Live, |spec| spec.limits.memory = Some(Bytes(1 << 20))),
    ("limits", "memswap_limit", Effect::Live, |spec| spec.limits.memory_and_swap = Some(Bytes(1 << 20))),
    ("limits", "mem_reservation", Effect::Live, |spec| spec.limits.memory_reservation = Some(Bytes(1 << 20))),
    ("limits", "cpus", Effect::Live, |spec| spec.limits.cpus = Some(NanoCpus(500_000_000))),
    ("limits", "pids_limit", Effect::Live, |spec| spec.limits.pids = Some(10)),
    ("limits", "cpu_shares", Effect::Live, |spec| spec.limits.cpu_shares = Some(512)),
    ("limits", "cpu_period", Effect::Live, |spec| spec.limits.cpu_period = Some(50_000)),
    ("limits", "cpu_quota", Effect::Live, |spec| spec.limits.cpu_quota = Some(50_000)),
    ("limits", "cpuset", Effect::Live, |spec| spec.limits.cpuset = Some("0".into())),
    ("limits", "mem_swappiness", Effect::Live, |spec| spec.limits.memory_swappiness = Some(1)),
    ("limits", "oom_kill_disable", Effect::Live, |spec| spec.limits.oom_kill_disable = true),
    ("limits", "blkio_config", Effect::Live, |spec| spec.limits.blkio.weight = Some(10)),
    ("mounts", "volumes", Effect::Replace, |spec| {
        spec.mounts.push(Mount { source: MountSource::Anonymous, target: "/a".into(), read_only: false });
    }),
    ("files", "secrets", Effect::Replace, |spec| spec.files.push(file(FileKind::Secret))),
    ("files", "configs", Effect::Replace, |spec| spec.files.push(file(FileKind::Config))),
    ("network", "network_mode", Effect::Replace, |spec| spec.network = NetworkMode::Host),
    ("network", "networks", Effect::Replace, |spec| {
        let NetworkMode::Attached(map) = &mut spec.network else { return };
        map.insert(NetworkName::new("other"), Attachment::default());
    }),
    ("network", "networks.default.ipv4_address", Effect::Replace, |spec| {
        attachment(spec).ipv4 = Some([10, 89, 0, 9].into());
    }),
    ("network", "networks.default.ipv6_address", Effect::Replace, |spec| {
        attachment(spec).ipv6 = Some("fd00::9".parse().unwrap());
    }),
    ("network", "networks.default.mac_address", Effect::Replace, |spec| {
        attachment(spec).mac = Some([2, 0, 0, 0, 0, 1]);
    }),
    ("network", "networks.default.gw_priority", Effect::Replace, |spec| attachment(spec).gateway_priority = 1),
    ("network", "networks.default.interface_name", Effect::Replace, |spec| {
        attachment(spec).interface = Some("lan0".into());
    }),
    ("network", "networks.default.priority", Effect::Replace, |spec| attachment(spec).priority = 7),
    ("network", "networks.default.link_local_ips", Effect::Replace, |spec| {
        attachment(spec).link_local.push("169.254.7.7".parse().unwrap());
    }),
    ("network", "networks.default.aliases", Effect::Live, |spec| {
        attachment(spec).aliases.insert("b".into());
    }),
    ("volumes_from", "volumes_from", Effect::Replace, |spec| {
        spec.volumes_from.push(VolumesFrom { service: "db".into(), read_only: true });
    }),
    ("links", "links", Effect::Live, |spec| drop(spec.links.insert("db".into(), "database".into()))),
    ("ports", "ports", Effect::Live, |spec| spec.ports.push(port(HostPort::Range(80, 80), 80))),
    ("logging", "logging", Effect::Replace, |spec| spec.logging.most = Some(Bytes(1 << 20))),
    ("labels", "labels.a", Effect::Live, |spec| drop(spec.labels.insert("a".into(), "1".into()))),
    ("restart", "restart", Effect::Live, |spec| spec.restart = RestartPolicy::Always),
    ("restart_delay", "deploy.restart_policy.delay", Effect::Live, |spec| spec.restart_delay = Some(Millis(5))),
    ("restart_window", "deploy.restart_policy.window", Effect::Live, |spec| spec.restart_window = Some(Millis(5))),
    ("stop_signal", "stop_signal", Effect::Live, |spec| spec.stop_signal = Some(2)),
    ("stop_grace", "stop_grace_period", Effect::Live, |spec| spec.stop_grace = Millis(1)),
    ("post_start", "post_start", Effect::Live, |spec| spec.post_start.push(hook())),
    ("pre_stop", "pre_stop", Effect::Live, |spec| spec.pre_stop.push(hook())),
    ("healthcheck", "healthcheck", Effect::Live, |spec| spec.healthcheck = Some(check())),
];

/// The names of all fields, from the derived `Debug`: a field without a line in [`FIELDS`] fails the test.
fn field_names() -> Vec<String> {
    let text = format!("{:#?}", spec());
    let fields = text.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    fields.filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned())).collect()
}

#[test]
fn every_field_has_a_class() {
    for name in field_names() {
        assert!(FIELDS.iter().any(|(field, ..)| *field == name), "no test for {name}");
    }
    assert_eq!(field_names().len(), 45);
    for (_, key, effect, edit) in FIELDS {
        let mut changed = spec();
        edit(&mut changed);
        let changes = compare(&spec(), &changed);
        assert_eq!(changes.len(), 1, "{key}: {changes:?}");
        assert_eq!((changes[0].field.as_str(), changes[0].effect), (*key, *effect));
        assert_ne!(changes[0].old, changes[0].new, "{key}");
        assert_eq!(compare(&changed, &changed), []);
    }
}

#[test]
fn every_field_can_be_changed_under_a_running_project() {
    for (_, key, effect, edit) in FIELDS {
        let before = shop([("web", service())]);
        let after = shop([("web", service().edit(|service| edit(&mut service.container)))]);
        let mut world = World::with(&before);
        let id = world.id("web", 1);
        world.settle(&after);
        assert!(world.plan(&after).is_converged(), "{key}:\n{}", world.plan(&after));
        assert_eq!(world.id("web", 1) == id, *effect == Effect::Live, "{key}");
        assert!(world.container("web", 1).is_running());
        assert_eq!(world.container("web", 1).container.spec, after.services["web"].container, "{key}");
        // And while it does not run.
        let mut world = World::with(&before);
        world.exit("web", 0);
        world.settle(&after);
        assert!(world.plan(&after).is_converged(), "{key}:\n{}", world.plan(&after));
        assert_eq!(world.container("web", 1).container.spec, after.services["web"].container, "{key}");
    }
}

#[test]
fn the_order_of_ports_and_mounts_means_nothing() {
    let mut one = spec();
    one.ports = vec![port(HostPort::Any, 80), port(HostPort::Any, 81)];
    let mount = |target: &str| Mount { source: MountSource::Anonymous, target: target.into(), read_only: false };
    one.mounts = vec![mount("/a"), mount("/b")];
    let mut other = one.clone();
    other.ports.reverse();
    other.mounts.reverse();
    assert_eq!(compare(&one, &other), []);
}

#[test]
fn the_most_severe_change_is_the_cause() {
    let mut new = spec();
    new.limits.memory = Some(Bytes(1));
    new.environment = BTreeMap::from([("DB_PASSWORD".to_owned(), Some("hunter2".to_owned()))]);
    new.working_dir = Some("/x".to_owned());
    let changes = compare(&spec(), &new);
    assert_eq!(changes.len(), 3);
    assert_eq!(most_severe(&changes).unwrap().field, "working_dir");
    let secret = changes.iter().find(|change| change.field == "environment.DB_PASSWORD").unwrap();
    assert_eq!((secret.old.as_str(), secret.new.as_str()), ("none", "***"));
}

#[test]
fn a_memory_limit_is_written_under_the_process() {
    let with = |bytes: u64| {
        service().edit(|service| {
            service.container.limits.memory = Some(Bytes(bytes));
            service.origins.insert("mem_limit".to_owned(), crate::project::origin(14));
        })
    };
    let mut world = World::with(&shop([("web", with(128 << 20))]));
    let desired = shop([("web", with(256 << 20))]);
    assert_snapshot!(world.step(&desired), @"#1           container:web/1      write limits 2885 memory 256m        live      compose.yaml:14 mem_limit 128m -> 256m");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn limits_and_the_rest_are_two_steps_that_end_in_one_record() {
    let mut world = World::with(&shop([("web", service())]));
    let desired = shop([(
        "web",
        service().restart(RestartPolicy::Always).edit(|service| {
            service.container.limits.pids = Some(10);
        }),
    )]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      write limits 2885 pids 10            live      compose.yaml:2 pids_limit none -> 10
    #2 after 1   container:web/1      update 2885                          live      compose.yaml:2 restart no -> always
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_changed_variable_replaces_step_by_step() {
    let mut world = World::with(&shop([("web", service().env("DEBUG", "0"))]));
    let desired = shop([("web", service().env("DEBUG", "1"))]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      stop 2885 grace 10s                  replace   compose.yaml:14 environment.DEBUG 0 -> 1
    blocked      container:web/1      create                               replace   until 2885 ended
    ");
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      remove 2885                          replace   compose.yaml:14 environment.DEBUG 0 -> 1
    #2 after 1   container:web/1      create f5f2 10.89.0.2                replace   compose.yaml:14 environment.DEBUG 0 -> 1
    #3           names                publish names for 1 containers       live      follows container:web/1
    #4 after 2   container:web/1      start f5f2                           replace   compose.yaml:14 environment.DEBUG 0 -> 1
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_new_port_is_a_new_rule_and_nothing_else() {
    let mut world = World::with(&shop([("web", service())]));
    let desired = shop([("web", service().publish(HostPort::Range(80, 80), 80))]);
    assert_snapshot!(world.step(&desired), @r"
    #1           container:web/1      update 2885                          live      compose.yaml:2 ports [] -> [80:80]
    #2           ruleset              apply rules 1 ports                  live      follows container:web/1
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_new_port_that_is_taken_leaves_the_old_ones() {
    let taken = || service().publish(HostPort::Range(80, 80), 80);
    let mut world = World::with(&shop([("a", taken()), ("b", service().publish(HostPort::Range(81, 81), 81))]));
    let desired = shop([("a", taken()), ("b", taken())]);
    assert_snapshot!(world.step(&desired), @"blocked      container:b/1        update                               live      failed: b/1: host port 80 is taken by a/1");
    assert_eq!(world.observed.ruleset.as_ref().unwrap().ports.len(), 2);
}

#[test]
fn other_words_for_the_same_process_replace_nothing() {
    let mut world = World::with(&shop([("web", service())]));
    let desired = shop([(
        "web",
        service().edit(|service| {
            service.container.working_dir = Some("/".to_owned());
            service.container.command = Some(Vec::new());
        }),
    )]);
    assert_snapshot!(world.step(&desired), @"#1           container:web/1      update 2885                          live      compose.yaml:2 working_dir none -> /");
    assert!(world.plan(&desired).is_converged());
    assert!(matches!(world.container("web", 1).state, State::Running { .. }));
}
