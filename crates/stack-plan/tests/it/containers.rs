//! New containers: every choice made in the plan, and nothing to do when nothing changed.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use stack_model::{
    Condition, Container, ContainerSpec, Exit, HostPort, IfName, ImageReference, Joint, Mount, MountSource, Namespace,
    NetworkMode, ObservedContainer, Plan, PortSpec, Probe, Protocol, PublishedPort, ResolvedSource, RestartPolicy,
    Service, State,
};

use crate::project::{Build, check, service, shop};
use crate::world::{World, facts};

fn created(plan: &Plan) -> Vec<&Container> {
    let creates = plan.ops.iter().filter_map(|op| match &op.action {
        stack_model::Action::CreateContainer(container) => Some(&**container),
        _ => None,
    });
    creates.collect()
}

/// The only container of a project with one service and this image configuration.
fn resolve(service: Service, change: impl FnOnce(&mut stack_model::ImageConfig)) -> Container {
    let mut world = World::new();
    let mut image = facts("app:1");
    change(&mut image.config);
    world.observed.images.insert(ImageReference::new("app:1"), image);
    created(&world.plan(&shop([("web", service)])))[0].clone()
}

#[test]
fn a_new_project_is_started_by_one_plan() {
    let web = service().publish(HostPort::Range(8080, 8080), 80).after("db", Condition::Started);
    let desired = shop([("db", service().mount("shop_data", "/data")), ("web", web)]);
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           volume:shop_data     ensure volume                        new       missing
    #3 after 2   container:db/1       create 7610 10.89.0.2                new       missing
    #4           container:web/1      create 2885 10.89.0.3                new       missing
    #5 after 1   ruleset              apply rules 1 ports                  new       missing
    #6           names                publish names for 2 containers       new       missing
    #7 after 1,3 container:db/1       start 7610                           new       missing
    #8 after 1,4,7 container:web/1      start 2885                           new       missing
    ");
}

#[test]
fn unchanged_config_plans_nothing() {
    let desired = shop([
        ("db", service().mount("shop_data", "/data").healthy()),
        ("job", service().on(&[])),
        ("web", service().replicas(3).publish(HostPort::Any, 80).after("db", Condition::Healthy)),
    ]);
    let world = World::with(&desired);
    assert_eq!(world.plan(&desired), Plan::default());
    assert_eq!(world.observed.containers.len(), 5);
}

#[test]
fn equal_arguments_give_equal_plans() {
    let desired = shop([("a", service().replicas(4).publish(HostPort::Any, 80)), ("b", service())]);
    assert_eq!(World::new().plan(&desired), World::new().plan(&desired));
}

#[test]
fn everything_about_an_interface_is_decided() {
    let desired = shop([("web", service().on(&["back", "front"]))]);
    let plan = World::new().plan(&desired);
    let endpoints = &created(&plan)[0].endpoints;
    let id = &created(&plan)[0].id;
    assert_eq!(endpoints[0].gateway.unwrap().to_string(), "10.89.0.1");
    assert_eq!(endpoints[0].address.to_string(), "10.89.0.2/26");
    assert_eq!(endpoints[0].mac, [0x02, 0x42, 10, 89, 0, 2]);
    assert_eq!(endpoints[0].host_interface, IfName::new(format!("stkv{}0", &id.as_str()[..10])));
    assert_eq!(endpoints[0].interface.as_str(), "eth0");
    assert_eq!((endpoints[1].gateway, endpoints[1].interface.as_str()), (None, "eth1"));
    assert_eq!(endpoints[1].address.to_string(), "10.89.0.66/26");
    let names: Vec<&str> = endpoints[0].names.iter().map(String::as_str).collect();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"web") && names.contains(&"shop-web-1") && names.contains(&id.short()));
}

#[test]
fn the_way_out_is_the_first_network_that_is_not_internal() {
    let mut desired = shop([("web", service().on(&["a", "b"]))]);
    desired.networks.get_mut("a").unwrap().internal = true;
    let plan = World::new().plan(&desired);
    let gateways: Vec<bool> = created(&plan)[0].endpoints.iter().map(|endpoint| endpoint.gateway.is_some()).collect();
    assert_eq!(gateways, [false, true]);
}

#[test]
fn program_and_arguments_follow_docker() {
    let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let cases = [
        (None, None, "/entry img"),
        (None, list(&["own"]), "/entry own"),
        (None, list(&[]), "/entry"),
        (list(&["/mine"]), None, "/mine"),
        (list(&["/mine"]), list(&["own"]), "/mine own"),
        (list(&[]), list(&["own"]), "own"),
    ];
    for (entrypoint, command, expected) in cases {
        let service = service().edit(|service| {
            service.container.entrypoint = entrypoint;
            service.container.command = command;
        });
        let container = resolve(service, |image| {
            image.entrypoint = vec!["/entry".to_owned()];
            image.cmd = vec!["img".to_owned()];
        });
        assert_eq!(container.process.argv.join(" "), expected);
    }
}

#[test]
fn nothing_to_run_is_a_failure_with_a_hint() {
    let desired = shop([("web", service().edit(|service| service.container.entrypoint = Some(Vec::new())))]);
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2 after 1   ruleset              apply rules 0 ports                  new       missing
    blocked      container:web/1      create                               new       failed: image app:1 has no program and none is given
    ");
}

#[test]
fn variables_of_the_file_go_over_those_of_the_image() {
    let service = service().env("B", "file").env("NEW", "1").edit(|service| {
        service.container.environment.insert("GONE".to_owned(), None);
        service.container.tty = true;
    });
    let container = resolve(service, |image| {
        let pairs = [("A", "image"), ("B", "image"), ("GONE", "x"), ("PATH", "/opt")];
        image.env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    });
    let env: Vec<String> = container.process.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let hostname = format!("HOSTNAME={}", container.id.short());
    assert_eq!(env, ["PATH=/opt", hostname.as_str(), "TERM=xterm", "A=image", "B=file", "NEW=1"]);
}

#[test]
fn what_the_file_leaves_out_comes_from_the_image() {
    let container = resolve(service(), |image| {
        image.working_dir = "/srv".to_owned();
        image.user = "app".to_owned();
        image.stop_signal = Some(3);
        image.healthcheck = Some(check());
    });
    assert_eq!((container.process.cwd.as_str(), container.process.user.as_str()), ("/srv", "app"));
    assert_eq!(container.process.stop_signal, 3);
    assert_eq!(container.healthcheck, Some(check()));
    assert_eq!(container.process.hostname, container.id.short());
    let plain = resolve(service(), |_| {});
    assert_eq!((plain.process.cwd.as_str(), plain.process.stop_signal, plain.healthcheck), ("/", 15, None));
    let disabled = service().healthy().edit(|service| {
        service.container.healthcheck.as_mut().unwrap().probe = Probe::None;
    });
    assert_eq!(resolve(disabled, |image| image.healthcheck = Some(check())).healthcheck, None);
}

#[test]
fn volumes_of_the_image_get_one_of_their_own_unless_something_is_mounted_there() {
    let service = service().mount("shop_data", "/data/").edit(|service| {
        let source = MountSource::Tmpfs { size: None, mode: None };
        service.container.mounts.push(Mount { source, target: "/data/deep/tmp".to_owned(), read_only: false });
    });
    let container = resolve(service, |image| {
        image.volumes = ["/data", "/cache/"].iter().map(|path| (*path).to_owned()).collect();
    });
    let targets: Vec<&str> = container.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/data/", "/cache", "/data/deep/tmp"]);
    let ResolvedSource::Volume { name, copy: true } = &container.mounts[1].source else { panic!("no volume") };
    assert_eq!(name.as_str().len(), 64);
    assert_eq!(container.mounts[2].source, ResolvedSource::Tmpfs { size: None, mode: 0o1777 });
}

#[test]
fn ports_are_decided_and_stay() {
    let desired = shop([
        ("a", service().publish(HostPort::Any, 80).publish(HostPort::Any, 81)),
        ("b", service().replicas(2).publish(HostPort::Range(9000, 9005), 90)),
    ]);
    let mut world = World::new();
    let mut busy = busy_port(32_768);
    busy.0.host_ip = Some("127.0.0.1".parse().unwrap());
    world.observed.host.busy_ports.push(busy);
    let ports = |plan: &Plan| -> Vec<Vec<u16>> {
        created(plan).iter().map(|container| container.ports.iter().map(|port| port.host_port).collect()).collect()
    };
    assert_eq!(ports(&world.plan(&desired)), [vec![32_769, 32_770], vec![9000], vec![9001]]);
    world.settle(&desired);
    world.observed.host.busy_ports.clear();
    let changed = shop([("a", desired.services["a"].clone().env("A", "1")), ("b", desired.services["b"].clone())]);
    world.step(&changed);
    assert_eq!(ports(&world.plan(&changed)), [vec![32_769, 32_770]]);
}

fn busy_port(host_port: u16) -> (PublishedPort, String) {
    let (protocol, address) = (Protocol::Tcp, [0, 0, 0, 0].into());
    (PublishedPort { protocol, host_ip: None, host_port, address, target: host_port }, "nginx (pid 42)".to_owned())
}

#[test]
fn a_port_that_is_taken_names_its_owner_and_disturbs_nobody_else() {
    let mut world = World::new();
    world.observed.host.busy_ports.push(busy_port(80));
    let desired = shop([
        ("api", service().publish(HostPort::Range(8080, 8080), 80)),
        ("other", service().publish(HostPort::Range(8080, 8080), 80)),
        ("two", service().replicas(2).publish(HostPort::Range(7000, 7000), 80)),
        ("web", service().publish(HostPort::Range(80, 80), 80)),
    ]);
    assert_snapshot!(world.plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           container:api/1      create 77b6 10.89.0.2                new       missing
    #3           container:two/1      create baf2 10.89.0.4                new       missing
    #4 after 1   ruleset              apply rules 2 ports                  new       missing
    #5           names                publish names for 2 containers       new       missing
    #6 after 1,2 container:api/1      start 77b6                           new       missing
    #7 after 1,3 container:two/1      start baf2                           new       missing
    blocked      container:other/1    create                               new       failed: other/1: host port 8080 is taken by api/1
    blocked      container:two/2      create                               new       failed: two/2: host port 7000 is taken by another replica
    blocked      container:web/1      create                               new       failed: web/1: host port 80 is taken by nginx (pid 42)
    ");
}

#[test]
fn ports_on_different_addresses_do_not_clash() {
    let on = |address: &str| {
        let host_ip = Some(address.parse().unwrap());
        let (target, published, protocol) = (80, HostPort::Range(80, 80), Protocol::Tcp);
        service().edit(|service| service.container.ports.push(PortSpec { target, published, host_ip, protocol }))
    };
    let plan = World::new().plan(&shop([("a", on("127.0.0.1")), ("b", on("127.0.0.2")), ("c", on("0.0.0.0"))]));
    assert_eq!(created(&plan).len(), 2);
    assert!(plan.blocked[0].until.to_string().contains("host port 80 is taken by a/1"));
}

#[test]
fn identifiers_never_repeat() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    let first = world.id("web", 1);
    world.observed.containers.clear();
    world.settle(&desired);
    let second = world.id("web", 1);
    assert_ne!(first, second);
    // A lost journal counts from the beginning again.
    world.history = stack_model::History::default();
    world.settle(&shop([("web", service().env("A", "1"))]));
    assert_ne!(world.id("web", 1), second);
}

#[test]
fn containers_without_a_network_need_none() {
    let host = service().edit(|service| service.container.network = NetworkMode::Host);
    let none = service().edit(|service| service.container.network = NetworkMode::None);
    assert_snapshot!(World::new().plan(&shop([("host", host), ("none", none)])), @r"
    #1           container:host/1     create 90c9                          new       missing
    #2           container:none/1     create 50f9                          new       missing
    #3 after 1   container:host/1     start 90c9                           new       missing
    #4 after 2   container:none/1     start 50f9                           new       missing
    ");
}

#[test]
fn ports_that_cannot_be_reached_are_a_warning() {
    let port = || service().publish(HostPort::Any, 80);
    let mut desired = shop([
        ("host", port().edit(|service| service.container.network = NetworkMode::Host)),
        ("inner", port().on(&["inner"])),
        ("web", port()),
    ]);
    desired.networks.get_mut("inner").unwrap().internal = true;
    let warnings = World::with(&desired).plan(&desired).warnings;
    assert_eq!(
        warnings,
        [
            "the ports of host are not published: it is on the host's own network",
            "the ports of inner are not published: all its networks are internal",
        ]
    );
}

#[test]
fn half_made_containers_are_removed_and_made_anew() {
    let desired = shop([("a", service()), ("b", service())]);
    let mut world = World::with(&desired);
    world.container("a", 1).state = State::Creating;
    world.container("b", 1).state = State::Removing;
    assert_snapshot!(world.step(&desired), @r"
    #1           container:a/1        remove 7aad                          replace   left half-made
    #2           container:b/1        remove 232a                          replace   left half-made
    #3 after 1   container:a/1        create dce8 10.89.0.2                new       missing
    #4 after 2   container:b/1        create a66c 10.89.0.3                new       missing
    #5           names                publish names for 2 containers       live      follows container:a/1
    #6 after 3   container:a/1        start dce8                           new       missing
    #7 after 4   container:b/1        start a66c                           new       missing
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn of_two_containers_of_one_replica_the_one_that_runs_stays() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    let mut twin = world.container("web", 1).clone();
    twin.container.id = stack_model::ContainerId::new("ffffffffffffffff");
    twin.state = State::Created;
    world.observed.containers.insert(twin.container.id.clone(), twin);
    assert_snapshot!(world.plan(&desired), @"#1           container:web/1      remove ffff                          replace   not wanted");
}

#[test]
fn a_failed_start_is_tried_again_later() {
    let desired = shop([("web", service())]);
    let mut world = World::new();
    let plan = world.plan(&desired);
    for op in &plan.ops[..plan.ops.len() - 1] {
        world.apply(op);
    }
    let failure = stack_model::Failure::new(stack_model::Fault::User, "cannot start: exec /app: no such file");
    let mut retries = BTreeMap::new();
    for attempt in 1..=12 {
        let start = world.plan(&desired).ops.last().unwrap().clone();
        let retry = stack_plan::note_failure(&mut world.history, &start, failure.clone(), 1, world.now);
        retries.insert(attempt, retry.0 - world.now.0);
        assert_eq!(world.plan(&desired).next_time(), Some(retry));
        world.now = retry;
    }
    assert_eq!((retries[&1], retries[&2], retries[&9], retries[&12]), (100, 200, 25_600, 30_000));
    world.now = stack_model::Now(world.now.0 - 1);
    assert_snapshot!(world.plan(&desired), @r"
    blocked      container:web/1      start                                new       failed: cannot start: exec /app: no such file
    blocked      container:web/1      start                                new       retry after: cannot start: exec /app: no such file
    ");
}

#[test]
fn an_image_that_is_mounted_is_fetched_first() {
    let mounted = |image: &str, path: Option<&str>| {
        let source = MountSource::Image { image: ImageReference::new(image), path: path.map(str::to_owned) };
        let mount = Mount { source, target: "/tool".to_owned(), read_only: true };
        shop([("web", service().edit(|service| service.container.mounts.push(mount))), ("other", service())])
    };
    let mut world = World::new();
    world.registry.insert(ImageReference::new("tool:1"), facts("tool:1"));
    world.observed.images.insert(ImageReference::new("app:1"), facts("app:1"));
    let first = world.step(&mounted("tool:1", None));
    assert!(
        first
            .ops
            .iter()
            .any(|op| matches!(&op.action, stack_model::Action::PullImage { image } if image.as_str() == "tool:1"))
    );
    world.settle(&mounted("tool:1", None));
    let record = world.container("web", 1).container.clone();
    let ResolvedSource::Image { id, layers, path: None } = &record.mounts[0].source else { panic!("{record:?}") };
    assert_eq!((id, layers), (&facts("tool:1").id, &facts("tool:1").layers));
    assert_eq!(record.images().count(), 2);
    // Another path inside of it is another container, and the only one.
    let other = world.id("other", 1);
    world.settle(&mounted("tool:1", Some("bin")));
    assert_ne!(world.id("web", 1), record.id);
    assert_eq!(world.id("other", 1), other);
}

/// A service that has something of another one's first container.
fn follower(leader: &str, share: impl FnOnce(&mut ContainerSpec)) -> Service {
    service().edit(|service| share(&mut service.container)).depends(leader, |dependency| dependency.restart = true)
}

#[test]
fn whoever_is_on_the_network_of_another_follows_it() {
    let project = |image: &str| {
        let app = follower("vpn", |spec| spec.network = NetworkMode::Service("vpn".into()));
        shop([("app", app), ("vpn", service().image(image))])
    };
    let mut world = World::with(&project("app:1"));
    let app = world.container("app", 1).container.clone();
    assert_eq!(app.joins, [(Joint::Network, world.id("vpn", 1))].into());
    assert_eq!(app.process.hostname, world.container("vpn", 1).container.process.hostname);
    assert!(app.endpoints.is_empty());
    // A new leader is a new network.
    world.settle(&project("app:2"));
    let renewed = world.container("app", 1).container.clone();
    assert_ne!(renewed.id, app.id);
    assert_eq!(renewed.joins, [(Joint::Network, world.id("vpn", 1))].into());
    assert!(world.plan(&project("app:2")).is_converged());
}

/// `a` is among the processes of `b`, which is on the network of `c`.
fn chain(image: &str) -> stack_model::Desired {
    let a = follower("b", |spec| {
        spec.namespaces.pid = Namespace::Service("b".into());
        spec.namespaces.ipc = Namespace::Service("b".into());
    });
    let b = follower("c", |spec| spec.network = NetworkMode::Service("c".into()));
    shop([("a", a.publish(HostPort::Range(8080, 8080), 80)), ("b", b), ("c", service().image(image)), ("d", service())])
}

#[test]
fn whoever_is_in_the_namespaces_of_another_follows_it_through_several() {
    let mut world = World::with(&chain("app:1"));
    let before = ["a", "b", "c", "d"].map(|name| world.id(name, 1));
    let joins = world.container("a", 1).container.joins.clone();
    assert_eq!(joins, [(Joint::Pid, before[1].clone()), (Joint::Ipc, before[1].clone())].into());
    world.settle(&chain("app:2"));
    let after = ["a", "b", "c", "d"].map(|name| world.id(name, 1));
    assert!((0..3).all(|at| before[at] != after[at]) && before[3] == after[3]);
    assert_eq!(world.container("a", 1).container.joins[&Joint::Pid], after[1]);
    // It has the port of the container before it.
    assert_eq!(world.container("a", 1).container.ports.first().unwrap().host_port, 8080);
    assert!(world.plan(&chain("app:2")).is_converged());
}

#[test]
fn whoever_is_in_the_namespaces_of_a_process_is_restarted_after_that_was() {
    let mut desired = chain("app:1");
    desired.services.get_mut("b").unwrap().container.restart = RestartPolicy::Always;
    let mut world = World::with(&desired);
    let before = ["a", "b"].map(|name| world.id(name, 1));
    world.now = stack_model::Now(world.now.0 + 60_000);
    world.exit_after("b", 50_000, Exit { code: Some(1), ..Exit::default() });
    world.settle(&desired);
    assert_eq!(["a", "b"].map(|name| world.id(name, 1)), before);
    let started = |container: &ObservedContainer| match container.state {
        State::Running { started, .. } => started,
        ref other => panic!("{other:?}"),
    };
    assert!(started(world.container("a", 1)) >= started(world.container("b", 1)));
    assert!(world.plan(&desired).is_converged());
}
