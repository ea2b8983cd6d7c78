//! Networks, addresses, rules and names.

use insta::assert_snapshot;
use ipnet::Ipv4Net;
use stack_model::{
    Action, Attachment, Bridge, ContainerId, Desired, HostPort, Ipv6Wish, Names, Neighbour, NetworkMode, NetworkName,
    ObservedNetwork, Plan, Ruleset,
};

use crate::project::{Build, service, shop};
use crate::world::World;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

#[test]
fn subnets_stay_clear_of_the_host_and_of_each_other() {
    let mut world = World::new();
    world.observed.host.routes = vec![net("10.89.0.0/25"), net("10.89.0.192/32")];
    let mut desired = shop([("web", service().on(&["a", "b", "c"]))]);
    desired.networks.get_mut("c").unwrap().subnet = Some(net("10.89.1.0/24"));
    assert_snapshot!(world.plan(&desired), @r"
    #1           network:a            ensure bridge stk-d15942ab 10.89.0.128/26 new       missing
    #2           network:b            ensure bridge stk-5e8eb82e 10.89.2.0/26 new       missing
    #3           network:c            ensure bridge stk-c66c49a4 10.89.1.0/24 new       missing
    #4           container:web/1      create 2885 10.89.0.130 10.89.2.2 10.89.1.2 new       missing
    #5 after 1,2,3 ruleset              apply rules 0 ports                  new       missing
    #6           names                publish names for 1 containers       new       missing
    #7 after 1,2,3,4 container:web/1      start 2885                           new       missing
    ");
}

#[test]
fn a_network_for_many_containers_is_larger() {
    let desired = shop([("web", service().replicas(100))]);
    let world = World::with(&desired);
    assert_eq!(world.observed.networks["default"].gateway, Some(net("10.89.0.1/24")));
    assert_eq!(world.observed.containers.len(), 100);
}

#[test]
fn a_wanted_subnet_that_the_host_uses_is_refused_by_name() {
    let mut world = World::new();
    world.observed.host.routes = vec![net("192.168.0.0/16")];
    let mut desired = shop([("a", service()), ("b", service().on(&["other"]))]);
    desired.networks.get_mut("default").unwrap().subnet = Some(net("192.168.7.0/24"));
    assert_snapshot!(world.plan(&desired), @r"
    #1           network:other        ensure bridge stk-34192c31 10.89.0.0/26 new       missing
    #2           container:b/1        create 232a 10.89.0.2                new       missing
    #3 after 1   ruleset              apply rules 0 ports                  new       missing
    #4           names                publish names for 1 containers       new       missing
    #5 after 1,2 container:b/1        start 232a                           new       missing
    blocked      network:default      ensure                               new       failed: network default: subnet 192.168.7.0/24 overlaps the host's route 192.168.0.0/16
    blocked      container:a/1        create                               new       until network:default is done
    ");
}

#[test]
fn a_chosen_subnet_stays_although_lower_ones_are_free() {
    let desired = shop([("web", service())]);
    let mut world = World::new();
    world.observed.host.routes = vec![net("10.89.0.0/24")];
    world.settle(&desired);
    world.observed.host.routes.clear();
    assert!(world.plan(&desired).is_converged());
}

/// After a restart of the machine, or while the project was down, somebody else may have taken it.
#[test]
fn a_chosen_subnet_that_was_taken_meanwhile_is_chosen_again() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    world.exit("web", 137);
    world.observed.networks.clear();
    world.observed.host.routes = vec![net("10.89.0.0/24")];
    world.settle(&desired);
    assert_eq!(world.observed.networks["default"].gateway, Some(net("10.89.1.1/26")));
    let web = world.container("web", 1);
    assert!(web.is_running());
    assert_eq!(web.container.endpoints[0].address, net("10.89.1.2/26"));
}

/// As where everything private leads to an office far away.
#[test]
fn a_chosen_subnet_stays_where_there_is_no_other() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    world.observed.networks.clear();
    world.container("web", 1).attached = false;
    world.observed.host.routes = vec![net("10.0.0.0/8")];
    world.settle(&desired);
    assert_eq!(world.observed.networks["default"].gateway, Some(net("10.89.0.1/26")));
}

#[test]
fn a_bridge_that_was_changed_by_hand_is_mended() {
    let desired = shop([("web", service())]);
    let settled = World::with(&desired);
    let mut down = settled.clone();
    down.observed.networks.get_mut("default").unwrap().up = false;
    assert_snapshot!(down.plan(&desired), @"#1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 live      drift: bridge is down");
    let mut lost = settled.clone();
    lost.observed.networks.get_mut("default").unwrap().gateway = None;
    assert_snapshot!(lost.plan(&desired), @"#1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 live      drift: address is missing");
    let mut moved = settled.clone();
    moved.observed.networks.get_mut("default").unwrap().gateway = Some(net("10.1.2.3/24"));
    assert_snapshot!(moved.plan(&desired), @"#1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 live      drift: address is 10.1.2.3/24");
    let mut gone = settled;
    gone.observed.networks.clear();
    gone.container("web", 1).attached = false;
    assert_snapshot!(gone.step(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 live      drift: bridge is gone
    #2 after 1   container:web/1      attach 2885                          live      drift: interface is missing
    ");
    assert!(gone.plan(&desired).is_converged());
}

#[test]
fn rules_and_names_that_were_lost_are_put_back() {
    let desired = shop([("web", service().publish(HostPort::Range(80, 80), 80))]);
    let mut world = World::with(&desired);
    world.observed.ruleset = None;
    world.observed.names = None;
    assert_snapshot!(world.step(&desired), @r"
    #1           ruleset              apply rules 1 ports                  live      drift: lost
    #2           names                publish names for 1 containers       live      drift: lost
    ");
    assert!(world.plan(&desired).is_converged());
}

#[test]
fn a_new_subnet_replaces_what_is_on_the_network() {
    let desired = shop([("a", service()), ("b", service().on(&["default", "other"])), ("c", service().on(&["other"]))]);
    let mut world = World::with(&desired);
    let mut changed = desired;
    changed.networks.get_mut("default").unwrap().subnet = Some(net("10.7.0.0/24"));
    assert_snapshot!(world.step(&changed), @r"
    #1           container:a/1        stop 7aad grace 10s                  replace   follows network:default
    #2           container:b/1        stop 232a grace 10s                  replace   follows network:default
    blocked      container:a/1        create                               replace   until 7aad ended
    blocked      container:b/1        create                               replace   until 232a ended
    blocked      network:default      remove                               replace   until 232a ended
    ");
    assert_snapshot!(world.step(&changed), @r"
    #1           container:a/1        remove 7aad                          replace   follows network:default
    #2           container:b/1        remove 232a                          replace   follows network:default
    #3 after 1,2 network:default      remove bridge stk-d38021d9           replace   compose.yaml:80 subnet 10.89.0.0/26 -> 10.7.0.0/24
    #4 after 3   network:default      ensure bridge stk-d38021d9 10.7.0.0/24 replace   compose.yaml:80 subnet 10.89.0.0/26 -> 10.7.0.0/24
    #5 after 1   container:a/1        create 2dab 10.7.0.2                 replace   follows network:default
    #6 after 2   container:b/1        create f8b5 10.7.0.3 10.89.0.66      replace   follows network:default
    #7 after 4   ruleset              apply rules 0 ports                  live      follows container:a/1
    #8           names                publish names for 3 containers       live      follows container:a/1
    #9 after 4,5 container:a/1        start 2dab                           replace   follows network:default
    #10 after 4,6 container:b/1        start f8b5                           replace   follows network:default
    ");
    assert!(world.plan(&changed).is_converged());
}

#[test]
fn a_new_subnet_waits_while_something_on_it_cannot_be_replaced() {
    let desired = shop([("a", service()), ("b", service())]);
    let world = World::with(&desired);
    let mut changed = shop([("a", service()), ("b", service().image("new:1"))]);
    changed.networks.get_mut("default").unwrap().subnet = Some(net("10.7.0.0/24"));
    assert_snapshot!(world.plan(&changed), @r"
    #1           image:new:1          pull                                 new       missing
    blocked      network:default      remove                               replace   until 232a ended
    blocked      container:a/1        create                               replace   until network:default is done
    blocked      container:b/1        create                               replace   until image new:1 present
    ");
}

#[test]
fn a_network_that_becomes_internal_replaces_what_is_on_it() {
    let desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    let mut changed = desired;
    changed.networks.get_mut("default").unwrap().internal = true;
    assert_snapshot!(world.step(&changed), @r"
    #1           container:web/1      stop 2885 grace 10s                  replace   follows network:default
    blocked      container:web/1      create                               replace   until 2885 ended
    ");
    world.settle(&changed);
    let id = world.id("web", 1);
    assert!(world.container("web", 1).container.endpoints[0].gateway.is_none());
    assert!(!world.observed.names.as_ref().unwrap().views[&id].forward);
}

#[test]
fn fixed_addresses_are_kept_for_their_owners() {
    let desired = shop([
        ("a", service().replicas(2)),
        ("b", service().fixed("default", "10.89.0.2")),
        ("c", service().fixed("default", "10.89.0.2")),
        ("d", service().fixed("default", "10.1.1.1")),
    ]);
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           container:a/1        create 7aad 10.89.0.3                new       missing
    #3           container:a/2        create c662 10.89.0.4                new       missing
    #4           container:b/1        create 232a 10.89.0.2                new       missing
    #5 after 1   ruleset              apply rules 0 ports                  new       missing
    #6           names                publish names for 3 containers       new       missing
    #7 after 1,2 container:a/1        start 7aad                           new       missing
    #8 after 1,3 container:a/2        start c662                           new       missing
    #9 after 1,4 container:b/1        start 232a                           new       missing
    blocked      container:c/1        create                               new       failed: c/1: 10.89.0.2 on network default belongs to b/1
    blocked      container:d/1        create                               new       failed: d/1: 10.1.1.1 is not an address of network default (10.89.0.0/26)
    ");
}

#[test]
fn two_containers_may_swap_their_addresses() {
    let project = |a: &str, b: &str| shop([("a", service().fixed("default", a)), ("b", service().fixed("default", b))]);
    let mut world = World::with(&project("10.89.0.5", "10.89.0.6"));
    let swapped = project("10.89.0.6", "10.89.0.5");
    world.settle(&swapped);
    assert!(world.plan(&swapped).is_converged());
    assert_eq!(world.container("a", 1).container.endpoints[0].address, net("10.89.0.6/26"));
}

#[test]
fn a_replacement_keeps_its_address() {
    let mut world = World::with(&shop([("a", service()), ("b", service())]));
    world.settle(&shop([("b", service())]));
    let before = world.container("b", 1).container.endpoints[0].address;
    world.settle(&shop([("b", service().env("A", "1"))]));
    assert_eq!(world.container("b", 1).container.endpoints[0].address, before);
    assert_eq!(before, net("10.89.0.3/26"));
}

#[test]
fn a_full_network_says_so() {
    let mut desired = shop([("web", service().replicas(6))]);
    desired.networks.get_mut("default").unwrap().subnet = Some(net("10.7.0.0/29"));
    let plan = World::new().plan(&desired);
    assert_eq!(plan.blocked.len(), 1);
    assert_eq!(plan.blocked[0].until.to_string(), "failed: web/6: network default (10.7.0.0/29) has no free address");
}

#[test]
fn each_container_sees_the_names_of_its_own_networks_only() {
    let alias = Attachment { aliases: ["Cache".to_owned()].into(), ..Attachment::default() };
    let api = service().on(&["back", "front"]);
    let db = service().replicas(2).on(&["back"]).edit(|service| {
        let NetworkMode::Attached(map) = &mut service.container.network else { return };
        map.insert("back".into(), alias);
    });
    let mut desired = shop([("api", api), ("db", db), ("web", service().on(&["front"]))]);
    desired.networks.get_mut("back").unwrap().internal = true;
    let world = World::with(&desired);
    let names = world.observed.names.unwrap();
    let mut lines = Vec::new();
    for id in names.views.keys() {
        let zone = names.zone(id).unwrap();
        let container = &world.observed.containers[id].container;
        lines.push(format!("{}/{} forward {}", container.service, container.index, zone.forward));
        let hosts = zone.hosts.iter().filter(|(name, _)| name.len() != 12);
        lines.extend(hosts.map(|(name, addresses)| format!("  {name} {addresses:?}")));
    }
    assert_snapshot!(lines.join("\n"), @r"
    web/1 forward true
      api [10.89.0.66]
      shop-api-1 [10.89.0.66]
      shop-web-1 [10.89.0.67]
      web [10.89.0.67]
    db/1 forward false
      api [10.89.0.2]
      cache [10.89.0.3, 10.89.0.4]
      db [10.89.0.3, 10.89.0.4]
      shop-api-1 [10.89.0.2]
      shop-db-1 [10.89.0.3]
      shop-db-2 [10.89.0.4]
    api/1 forward true
      api [10.89.0.2, 10.89.0.66]
      cache [10.89.0.3, 10.89.0.4]
      db [10.89.0.3, 10.89.0.4]
      shop-api-1 [10.89.0.2, 10.89.0.66]
      shop-db-1 [10.89.0.3]
      shop-db-2 [10.89.0.4]
      shop-web-1 [10.89.0.67]
      web [10.89.0.67]
    db/2 forward false
      api [10.89.0.2]
      cache [10.89.0.3, 10.89.0.4]
      db [10.89.0.3, 10.89.0.4]
      shop-api-1 [10.89.0.2]
      shop-db-1 [10.89.0.3]
      shop-db-2 [10.89.0.4]
    ");
}

#[test]
fn rules_hold_the_networks_and_the_ports_of_what_runs() {
    let mut desired = shop([
        ("api", service().on(&["back"]).publish(HostPort::Range(81, 81), 81)),
        ("job", service().on(&["front"]).publish(HostPort::Range(82, 82), 82)),
        ("web", service().on(&["back", "front"]).publish(HostPort::Range(80, 80), 8080)),
    ]);
    desired.networks.get_mut("back").unwrap().internal = true;
    let mut world = World::with(&desired);
    let ports = |world: &World| -> Vec<(u16, String)> {
        let Ruleset { ports, .. } = world.observed.ruleset.clone().unwrap();
        ports.into_iter().map(|port| (port.host_port, format!("{}:{}", port.address, port.target))).collect()
    };
    // What is on internal networks alone is not published; `web` is reached where it has its way out.
    assert_eq!(ports(&world), [(80, "10.89.0.67:8080".to_owned()), (82, "10.89.0.66:82".to_owned())]);
    world.exit("job", 0);
    assert_snapshot!(world.step(&desired), @r"
    #1           ruleset              apply rules 1 ports                  live      drift: a container has started or ended
    #2           names                publish names for 2 containers       live      drift: a container has started or ended
    warning      the ports of api are not published: all its networks are internal
    ");
    assert_eq!(ports(&world), [(80, "10.89.0.67:8080".to_owned())]);
}

#[test]
fn a_port_moves_to_its_new_owner_when_the_old_one_is_gone() {
    let publisher = || service().publish(HostPort::Range(80, 80), 80);
    let mut world = World::with(&shop([("old", publisher())]));
    let desired = shop([("new", publisher())]);
    let address = |world: &World| world.observed.ruleset.as_ref().unwrap().ports.first().unwrap().address.to_string();
    world.step(&desired);
    assert_eq!(address(&world), "10.89.0.2");
    world.settle(&desired);
    assert_eq!(address(&world), "10.89.0.3");
}

#[test]
fn an_empty_project_publishes_nothing() {
    let mut world = World::new();
    assert_eq!(world.plan(&shop([])), Plan::default());
    world.observed.names = Some(Names::default());
    world.observed.ruleset = Some(Ruleset::default());
    assert_eq!(world.plan(&shop([])), Plan::default());
}

#[test]
fn addresses_stay_in_their_range_and_clear_of_those_of_others() {
    let mut desired = shop([("web", service().replicas(2))]);
    let network = desired.networks.get_mut("default").unwrap();
    network.subnet = Some("10.7.0.0/24".parse().unwrap());
    network.ip_range = Some("10.7.0.128/29".parse().unwrap());
    network.reserved.insert("router".to_owned(), "10.7.0.129".parse().unwrap());
    let mut world = World::with(&desired);
    let mut address = |index| world.container("web", index).container.endpoints[0].address.addr().to_string();
    assert_eq!((address(1), address(2)), ("10.7.0.128".to_owned(), "10.7.0.130".to_owned()));
}

#[test]
fn the_way_out_the_names_and_the_hardware_addresses_are_the_files() {
    let web = service().edit(|service| {
        let networks = [
            ("back", Attachment { interface: Some("eth0".to_owned()), ..Attachment::default() }),
            ("default", Attachment { mac: Some([2, 0, 0, 0, 0, 9]), ..Attachment::default() }),
            ("front", Attachment { gateway_priority: 5, ..Attachment::default() }),
        ];
        let networks = networks.map(|(name, attachment)| (NetworkName::new(name), attachment));
        service.container.network = NetworkMode::Attached(networks.into());
    });
    let mut world = World::with(&shop([("web", web)]));
    let endpoints = &world.container("web", 1).container.endpoints;
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.interface.as_str()).collect();
    assert_eq!(names, ["eth0", "eth1", "eth2"]);
    assert_eq!(endpoints[1].mac, [2, 0, 0, 0, 0, 9]);
    let ways: Vec<bool> = endpoints.iter().map(|endpoint| endpoint.gateway.is_some()).collect();
    assert_eq!(ways, [false, false, true]);
}

#[test]
fn the_network_with_the_highest_priority_has_the_first_interface() {
    let prior = |priority| Attachment { priority, ..Attachment::default() };
    let map = [("a", prior(0)), ("b", prior(5)), ("c", prior(0))];
    let map = map.into_iter().map(|(name, attachment)| (NetworkName::new(name), attachment)).collect();
    let desired = shop([("web", service().edit(|service| service.container.network = NetworkMode::Attached(map)))]);
    let mut world = World::with(&desired);
    let endpoints = &world.container("web", 1).container.endpoints;
    let order: Vec<_> = endpoints.iter().map(|it| format!("{} {}", it.network, it.interface)).collect();
    assert_eq!(order, ["b eth0", "a eth1", "c eth2"]);
}

#[test]
fn another_name_for_a_bridge_rebuilds_the_network() {
    let mut desired = shop([("web", service())]);
    let mut world = World::with(&desired);
    desired.networks.get_mut("default").unwrap().bridge = Some("mine".into());
    let plan = world.step(&desired).to_string();
    assert!(plan.contains("stop"), "{plan}");
    world.settle(&desired);
    assert!(world.plan(&desired).is_converged());
    assert_eq!(world.container("web", 1).container.endpoints[0].bridge.as_str(), "mine");
    assert_eq!(world.observed.networks["default"].bridge.as_str(), "mine");
    // A larger packet is a change under the bridge, and a new interface for containers.
    desired.networks.get_mut("default").unwrap().link.mtu = Some(9000);
    world.settle(&desired);
    assert_eq!(world.container("web", 1).container.endpoints[0].link.mtu, Some(9000));
    world.observed.networks.get_mut("default").unwrap().mtu = Some(1500);
    let plan = world.step(&desired).to_string();
    assert!(plan.contains("drift: its largest packet has 1500 bytes instead of 9000"), "{plan}");
    assert!(world.plan(&desired).is_converged());
}

/// A network of the file that somebody else makes under the name `meeting`.
fn guest() -> Desired {
    let mut desired = shop([("web", service())]);
    let network = desired.networks.get_mut("default").unwrap();
    (network.external, network.name) = (true, "meeting".to_owned());
    desired
}

fn meeting() -> Bridge {
    let gateway = Some("10.70.0.1/24".parse().unwrap());
    Bridge { name: "meeting".to_owned(), bridge: "stk-other".into(), gateway, gateway6: None, internal: false }
}

fn neighbour(address: &str, id: &str) -> Neighbour {
    let (bridge, names) = ("stk-other".into(), [id.to_owned()].into());
    Neighbour { id: ContainerId::new(id), bridge, address: address.parse().unwrap(), address6: None, names, runs: true }
}

#[test]
fn an_external_network_must_be_there_and_is_never_touched() {
    let desired = guest();
    let mut world = World::new();
    let plan = world.settle(&desired).to_string();
    assert!(plan.contains("the external network meeting (compose.yaml:80) does not exist"), "{plan}");
    world.observed.host.bridges.push(meeting());
    world.observed.networks.clear();
    let plan = world.plan(&desired).to_string();
    assert!(plan.contains("10.70.0.2") && !plan.contains("bridge"), "{plan}");
    // The machine of these tests knows no foreign bridges.
    let seen = ObservedNetwork {
        bridge: "stk-other".into(),
        gateway: meeting().gateway,
        gateway6: None,
        up: true,
        name: None,
        mtu: None,
    };
    world.observed.networks.insert("default".into(), seen);
    let ops = world.plan(&desired).ops;
    assert!(ops.iter().any(|op| matches!(op.action, Action::RemoveNetwork { .. })), "one that was its own goes");
}

#[test]
fn addresses_of_neighbours_are_taken_and_their_names_are_known() {
    let desired = guest();
    let mut world = World::new();
    world.observed.host.bridges.push(meeting());
    world.observed.host.neighbours = vec![neighbour("10.70.0.2", "aaaa"), neighbour("10.70.0.3", "bbbb")];
    let plan = world.plan(&desired);
    let names = plan.ops.iter().find_map(|op| match &op.action {
        Action::PublishNames(names) => Some(names.networks["default"].clone()),
        _ => None,
    });
    let names = names.unwrap();
    assert_eq!(names["aaaa"], ["10.70.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(names["web"], ["10.70.0.4".parse::<std::net::IpAddr>().unwrap()]);
    let rules = plan.ops.iter().find(|op| matches!(op.action, Action::ApplyRuleset(_)));
    assert!(rules.is_none(), "{rules:?}");
    // Both have given the same address: the greater identifier gives in.
    for op in plan.ops.iter().filter(|op| !matches!(op.action, Action::StartContainer { .. })) {
        world.apply(op);
    }
    for (id, gives_in) in [("0000", true), ("ffff", false)] {
        world.observed.host.neighbours = vec![neighbour("10.70.0.4", id)];
        let plan = world.plan(&desired).to_string();
        assert_eq!(plan.contains("10.70.0.2"), gives_in, "{plan}");
    }
}

#[test]
fn ipv6_comes_and_goes_with_the_file() {
    let plain = shop([("web", service())]);
    let mut six = plain.clone();
    six.networks.get_mut("default").unwrap().ipv6 = Some(Ipv6Wish::default());
    let mut world = World::with(&six);
    let endpoint = world.container("web", 1).container.endpoints[0].clone();
    let (address, gateway) = (endpoint.address6.unwrap(), world.observed.networks["default"].gateway6.unwrap());
    assert!(gateway.contains(&address.addr()) && endpoint.gateway6 == Some(gateway.addr()));
    assert_eq!(gateway.addr().octets()[0], 0xfd);
    let rules = world.observed.ruleset.as_ref().unwrap();
    assert_eq!(rules.networks["default"].subnet6, Some(gateway.trunc()));
    let names = &world.observed.names.as_ref().unwrap().networks["default"];
    assert!(names["web"].contains(&address.addr().into()));
    world.observed.networks.get_mut("default").unwrap().gateway6 = None;
    let plan = world.step(&six).to_string();
    assert!(plan.contains("drift: address of IPv6 is missing"), "{plan}");
    assert!(world.plan(&six).is_converged());
    world.settle(&plain);
    assert!(world.plan(&plain).is_converged());
    assert_eq!(world.container("web", 1).container.endpoints[0].address6, None);
    assert_eq!(world.observed.networks["default"].gateway6, None);
}
