//! Volumes: made when missing, deleted only when the user said so.

use insta::assert_snapshot;
use stack_model::{Condition, ImageReference, Mount, MountSource, VolumeName, VolumesFrom};
use stack_plan::emptied;

use crate::project::{Build, service, shop};
use crate::world::{World, facts};

#[test]
fn a_volume_outlives_its_service() {
    let mut world = World::with(&shop([("db", service().mount("shop_data", "/data"))]));
    world.settle(&shop([]));
    assert!(world.observed.volumes.contains("shop_data"));
}

#[test]
fn volumes_are_discarded_after_their_users() {
    let desired = shop([("db", service().mount("shop_data", "/data"))]);
    let mut world = World::with(&desired);
    let mut empty = emptied(&desired);
    empty.discard_volumes = vec![VolumeName::new("shop_data"), VolumeName::new("never_made")];
    assert_snapshot!(world.step(&empty), @r"
    #1           container:db/1       stop 7610 grace 10s                  remove    not wanted
    blocked      container:db/1       remove                               remove    until 7610 ended
    blocked      network:default      remove                               remove    until 7610 ended
    blocked      volume:shop_data     delete                               data-loss until 7610 ended
    ");
    assert_snapshot!(world.step(&empty), @r"
    #1           container:db/1       remove 7610                          remove    not wanted
    #2 after 1   network:default      remove bridge stk-d38021d9           remove    not wanted
    #3 after 1   volume:shop_data     delete volume                        data-loss requested: delete volumes
    #4           ruleset              apply rules 0 ports                  remove    not wanted
    #5           names                publish names for 0 containers       remove    not wanted
    ");
    assert!(world.plan(&empty).is_converged());
}

#[test]
fn an_external_volume_must_exist() {
    let mut desired = shop([("db", service().mount("theirs", "/data")), ("web", service())]);
    desired.volumes.get_mut("theirs").unwrap().external = true;
    assert_snapshot!(World::new().plan(&desired), @r"
    #1           network:default      ensure bridge stk-d38021d9 10.89.0.0/26 new       missing
    #2           container:web/1      create 2885 10.89.0.2                new       missing
    #3 after 1   ruleset              apply rules 0 ports                  new       missing
    #4           names                publish names for 1 containers       new       missing
    #5 after 1,2 container:web/1      start 2885                           new       missing
    blocked      container:db/1       create                               new       failed: db/1: volume theirs is external and does not exist
    ");
}

#[test]
fn a_volume_without_a_name_passes_on_to_the_next_container_and_goes_with_the_last() {
    let mut world = World::new();
    let mut image = facts("app:1");
    image.config.volumes.insert("/data".to_owned());
    world.observed.images.insert(ImageReference::new("app:1"), image);
    world.settle(&shop([("db", service())]));
    let before = world.observed.volumes.clone();
    assert_eq!(before.len(), 1);
    world.settle(&shop([("db", service().env("A", "1"))]));
    assert_eq!(world.observed.volumes, before);
    let text: Vec<String> = {
        world.step(&shop([]));
        let plan = world.step(&shop([]));
        plan.ops.iter().map(|op| format!("{} {}", op.action, op.effect)).collect()
    };
    assert_eq!(text[0], "delete volume data-loss");
    assert!(text[1].starts_with("remove"));
    assert!(world.observed.volumes.is_empty());
}

#[test]
fn new_volumes_without_a_name_take_the_place_of_the_old_ones() {
    let anonymous = |renewal: u64| {
        let db = service().mount("data", "/data").edit(|service| {
            let source = MountSource::Anonymous;
            service.container.mounts.push(Mount { source, target: "/anon".into(), read_only: false });
            service.renew_request = renewal;
        });
        // Whoever shares them follows.
        let web = service().after("db", Condition::Started).edit(|service| {
            service.container.volumes_from.push(VolumesFrom { service: "db".into(), read_only: false });
        });
        shop([("db", db), ("web", web)])
    };
    let mut world = World::with(&anonymous(0));
    let before = world.observed.volumes.clone();
    assert_eq!(before.len(), 2);
    world.settle(&anonymous(3));
    let after = world.observed.volumes.clone();
    assert_eq!((after.len(), after.intersection(&before).count()), (2, 1), "the named one stays, nothing is left over");
    assert!(world.plan(&anonymous(3)).is_converged());
    world.settle(&shop([]));
    assert_eq!(world.observed.volumes.len(), 1);
}

#[test]
fn volumes_of_another_service_are_its_own_and_stay_with_it() {
    let sharing = |target: &str| {
        let db = service().mount("data", target).edit(|service| {
            let source = MountSource::Anonymous;
            service.container.mounts.push(Mount { source, target: "/anon".into(), read_only: false });
        });
        let web = service().edit(|service| {
            service.container.volumes_from.push(VolumesFrom { service: "db".into(), read_only: true });
        });
        shop([("db", db), ("web", web)])
    };
    let mut world = World::with(&sharing("/data"));
    let mounts = |world: &mut World, service: &str| world.container(service, 1).container.mounts.clone();
    let (own, shared) = (mounts(&mut world, "db"), mounts(&mut world, "web"));
    assert_eq!(own.len(), 2);
    assert!(own.iter().zip(&shared).all(|(a, b)| (&a.source, &a.target) == (&b.source, &b.target) && b.read_only));
    // It follows what the other one has.
    let moved = sharing("/elsewhere");
    assert!(world.step(&moved).to_string().contains("follows container:db/1"));
    world.settle(&moved);
    assert!(mounts(&mut world, "web").iter().any(|mount| mount.target == "/elsewhere"));
    assert!(world.plan(&moved).is_converged());
    // Only the one whose they are takes them away.
    let mut alone = moved.clone();
    alone.services.remove("web");
    world.settle(&alone);
    assert_eq!(world.observed.volumes.len(), 2);
    world.settle(&emptied(&alone));
    assert_eq!(world.observed.volumes.len(), 1, "the named one stays");
}
