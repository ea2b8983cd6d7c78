//! Volumes: made when missing, deleted only when the user said so.

use insta::assert_snapshot;
use stack_model::{ImageReference, VolumeName};

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
    let mut empty = stack_plan::emptied(&desired);
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
