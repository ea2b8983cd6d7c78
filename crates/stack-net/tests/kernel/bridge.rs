use std::sync::Barrier;
use std::thread;

use stack_model::{Fault, IfName, NetworkName, NetworkPlan};
use stack_net::{Net, NetError, Notice};

use crate::world::{DEADLINE, INSTANCE, World, endpoint, link_names, plan};

fn setting(path: &str) -> String {
    fs_err::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn a_bridge_is_made_once_and_found_by_its_alias() {
    let Some(world) = World::new() else { return };
    let before = link_names();
    let front = world.network("front", "10.89.0.1/26", false);
    assert!(!world.net.ensure_network(&front, &world.alias("front")).unwrap());
    let observed = world.net.observe(INSTANCE, &world.project).unwrap();
    let found = &observed.networks[&NetworkName::new("front")];
    assert_eq!((found.bridge.as_str(), found.gateway, found.up), ("stk-front", Some(front.gateway), true));
    assert!(world.net.observe("other", &world.project).unwrap().networks.is_empty());
    assert_eq!(setting("/proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(setting("/proc/sys/net/ipv4/conf/stk-front/route_localnet"), "1");
    assert!(world.net.remove_network(&front.bridge).unwrap());
    assert!(!world.net.remove_network(&front.bridge).unwrap());
    assert_eq!(link_names(), before);
}

/// A bridge that lost what it had, by the one means we have for it here: another plan under the same alias.
#[test]
fn a_damaged_bridge_is_mended() {
    let Some(world) = World::new() else { return };
    let front = world.network("front", "10.89.0.1/26", false);
    let moved = NetworkPlan { gateway: "10.89.1.1/26".parse().unwrap(), ..front.clone() };
    assert!(world.net.ensure_network(&moved, &world.alias("front")).unwrap());
    let observed = world.net.observe(INSTANCE, &world.project).unwrap();
    assert_eq!(observed.networks[&NetworkName::new("front")].gateway, Some(moved.gateway));
    assert!(observed.routes.iter().all(|net| !net.contains(&front.gateway.addr())));
    fs_err::write("/proc/sys/net/ipv4/conf/stk-front/route_localnet", "0").unwrap();
    assert!(world.net.ensure_network(&moved, &world.alias("front")).unwrap());
    assert_eq!(setting("/proc/sys/net/ipv4/conf/stk-front/route_localnet"), "1");
    assert!(!world.net.ensure_network(&moved, &world.alias("front")).unwrap());
}

#[test]
fn a_subnet_that_leads_elsewhere_is_refused_and_nothing_is_made() {
    let Some(world) = World::new() else { return };
    world.network("front", "10.89.0.1/26", false);
    let before = link_names();
    let clash = plan("clash", "10.89.0.33/27", false);
    let error = world.net.ensure_network(&clash, &world.alias("clash")).unwrap_err();
    assert_eq!(error.fault(), Fault::Conflict);
    assert_eq!(
        error.to_string(),
        "subnet 10.89.0.32/27 of bridge stk-clash overlaps address 10.89.0.1/26 of interface stk-front"
    );
    assert!(error.hint().unwrap().contains("subnet"));
    let picked = NetworkPlan { picked: true, ..clash };
    let error = world.net.ensure_network(&picked, &world.alias("clash")).unwrap_err();
    assert_eq!((error.fault(), error.hint()), (Fault::Transient, None), "the next plan picks another");
    assert_eq!(link_names(), before);
}

/// A bridge may have been left without its address, and the subnet taken by somebody else since.
#[test]
fn a_subnet_is_looked_at_again_before_a_bridge_gets_it() {
    let Some(world) = World::new() else { return };
    let front = world.network("front", "10.89.0.1/26", false);
    let moved = NetworkPlan { gateway: "10.89.1.1/26".parse().unwrap(), ..front.clone() };
    assert!(world.net.ensure_network(&moved, &world.alias("front")).unwrap());
    world.network("other", "10.89.0.1/26", false);
    let error = world.net.ensure_network(&front, &world.alias("front")).unwrap_err();
    assert!(matches!(error, NetError::SubnetClash { .. }), "{error}");
}

/// Every pair of hands has its own view of what is free, and all look before anyone takes.
#[test]
fn of_many_who_take_one_subnet_at_once_one_has_it() {
    const HANDS: usize = 8;
    let Some(world) = World::new() else { return };
    let start = Barrier::new(HANDS);
    let plans: Vec<NetworkPlan> = (0..HANDS)
        .map(|number| NetworkPlan { picked: true, ..plan(&number.to_string(), "10.89.0.1/26", false) })
        .collect();
    let made = world.inside(&world.home, || {
        thread::scope(|scope| {
            let take = |plan: &NetworkPlan| {
                let net = Net::start().unwrap();
                start.wait();
                net.ensure_network(plan, &world.alias(plan.network.as_str())).is_ok()
            };
            let hands: Vec<_> = plans.iter().map(|plan| scope.spawn(move || take(plan))).collect();
            hands.into_iter().map(|hand| hand.join().unwrap()).filter(|made| *made).count()
        })
    });
    assert_eq!(made, 1);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(world) = World::new() else { return };
    let _lan = world.lan();
    for name in ["uplink", "uplink.50", "lo"] {
        let plan = NetworkPlan { bridge: name.into(), ..plan("front", "10.89.0.1/26", false) };
        let error = world.net.ensure_network(&plan, &world.alias("front")).unwrap_err();
        assert!(matches!(error, NetError::BridgeTaken { .. }), "{error}");
        assert!(matches!(world.net.remove_network(&IfName::new(name)), Err(NetError::BridgeTaken { .. })));
    }
}

#[test]
fn other_addresses_and_routes_are_observed() {
    let Some(world) = World::new() else { return };
    let _lan = world.lan();
    world.network("front", "10.89.0.1/26", false);
    let routes = world.net.observe(INSTANCE, &world.project).unwrap().routes;
    assert_eq!(routes, ["127.0.0.0/8".parse().unwrap(), "192.0.2.0/24".parse().unwrap()]);
}

#[test]
fn changes_are_noticed() {
    let Some(world) = World::new() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut notices = world.net.watch().unwrap();
    let mut noticed = || {
        let notice = runtime.block_on(async { tokio::time::timeout(DEADLINE, notices.recv()).await });
        assert!(matches!(notice, Ok(Some(Notice::Changed | Notice::Overflow))));
        // A burst of changes may be more than one notice.
        while runtime.block_on(async { tokio::time::timeout(DEADLINE / 100, notices.recv()).await }).is_ok() {}
    };
    let front = world.network("front", "10.89.0.1/26", false);
    noticed();
    world.apply(&crate::world::rules(&[&front], &[]));
    noticed();
    let sandbox = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    noticed();
    drop(sandbox);
    noticed();
    world.net.remove_network(&front.bridge).unwrap();
    noticed();
}

#[test]
fn the_network_thread_ends_with_its_last_handle() {
    let Some(world) = World::new() else { return };
    let threads = || {
        fs_err::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).filter(|task| {
            fs_err::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "stack-net")
        })
    };
    // Other tests have threads of the same name; the namespace tells ours.
    let here = |path: std::path::PathBuf| fs_err::read_link(path.join("ns/net")).ok();
    let home = fs_err::read_link("/proc/thread-self/ns/net").ok();
    let count = || threads().filter(|task| here(task.path()) == home).count();
    assert_eq!(count(), 1);
    let second = Net::start().unwrap();
    let clone = second.clone();
    assert_eq!(count(), 2);
    drop(second);
    clone.observe(INSTANCE, &world.project).unwrap();
    drop(clone);
    crate::world::eventually(|| count() == 1);
}

/// A list that takes more than one answer is still being read when the next one is asked for, which the kernel refuses
/// on one socket (`netlink_dump_start`, af_netlink.c).
#[test]
fn many_look_at_once_where_there_is_much_to_see() {
    const BRIDGES: u8 = 60;
    const HANDS: usize = 8;
    let Some(world) = World::new() else { return };
    for number in 0..BRIDGES {
        world.network(&number.to_string(), &format!("10.89.{number}.1/26"), false);
    }
    thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                for _ in 0..10 {
                    let observed = world.net.observe(INSTANCE, &world.project).unwrap();
                    assert_eq!(observed.networks.len(), usize::from(BRIDGES));
                }
            });
        }
    });
}
