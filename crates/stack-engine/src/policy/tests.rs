use stack_model::{
    Attachment, Condition, ContainerSpec, Dependency, LinkOptions, Mount, MountSource, Network, Origin, ProjectName,
    Volume, VolumeName,
};

use super::*;

fn spec() -> ContainerSpec {
    ContainerSpec {
        network: NetworkMode::Attached(BTreeMap::from([("default".into(), Attachment::default())])),
        stop_grace: Millis(10_000),
        ..ContainerSpec::new("app:1".into())
    }
}

fn service(depends_on: &[&str]) -> Service {
    let dependency =
        Dependency { condition: Condition::Started, restart: false, required: true, origin: Origin::default() };
    Service {
        container: spec(),
        replicas: 1,
        depends_on: depends_on.iter().map(|name| ((*name).into(), dependency.clone())).collect(),
        power: Power::On,
        build: None,
        accepted_image: None,
        restart_request: 0,
        restart_alone: false,
        start_request: StartRequest::default(),
        recreate_request: 0,
        renew_request: 0,
        keep: false,
        one_off: None,
        before: None,
        attach: true,
        origins: BTreeMap::new(),
        origin: Origin::default(),
    }
}

/// `web` needs `api`, which needs `db` with its volume on a network of its own; `tool` stands alone.
fn base() -> Desired {
    let mut db = service(&[]);
    db.container.network = NetworkMode::Attached(BTreeMap::from([("back".into(), Attachment::default())]));
    let source = MountSource::Volume { name: "shop_data".into(), no_copy: false };
    db.container.mounts.push(Mount { source, target: "/data".to_owned(), read_only: false });
    let network = Network {
        name: "n".to_owned(),
        external: false,
        internal: false,
        subnet: None,
        gateway: None,
        ip_range: None,
        reserved: BTreeMap::new(),
        bridge: None,
        ipv6: None,
        link: LinkOptions::default(),
        routed: false,
        labels: BTreeMap::new(),
        origin: Origin::default(),
    };
    let volume = |external| Volume { external, labels: BTreeMap::new(), origin: Origin::default() };
    Desired {
        project: ProjectName::new("shop"),
        instance: String::new(),
        generation: 0,
        networks: BTreeMap::from([("default".into(), network.clone()), ("back".into(), network)]),
        volumes: BTreeMap::from([("shop_data".into(), volume(false)), ("theirs".into(), volume(true))]),
        services: BTreeMap::from([
            ("web".into(), service(&["api"])),
            ("api".into(), service(&["db"])),
            ("db".into(), db),
            ("tool".into(), service(&[])),
        ]),
        discard_volumes: Vec::new(),
        stop_grace: None,
    }
}

fn names(desired: &Desired) -> Vec<&str> {
    desired.services.keys().map(ServiceName::as_str).collect()
}

fn up(policy: &mut Policy, services: &[&str]) -> Result<(), Failure> {
    let services = services.iter().map(|name| (*name).into()).collect();
    policy.up(&UpOptions { services, ..UpOptions::default() }, &base(), Now(1))
}

#[test]
fn what_is_asked_of_services_ends_when_they_are_asked_for_again() {
    let mut policy = Policy::default();
    up(&mut policy, &[]).unwrap();
    let of = |name: &str| vec![ServiceName::new(name)];
    let mut ask = |change: PolicyChange| policy.change(&change, &base(), Now(1)).unwrap();
    ask(PolicyChange::Pause { services: of("web") });
    ask(PolicyChange::Release { services: of("api") });
    ask(PolicyChange::Remove { services: of("tool") });
    let power = |policy: &Policy, name: &str| policy.apply(&base(), 1).services[name].power;
    assert_eq!((power(&policy, "web"), power(&policy, "api")), (Power::Paused, Power::Once));
    assert_eq!(policy.apply(&base(), 1).services["tool"].replicas, 0);
    // A stop lets what is frozen go on, to hear it.
    policy.change(&PolicyChange::Stop { services: of("web"), timeout: None }, &base(), Now(1)).unwrap();
    assert!(policy.paused.is_empty());
    for change in [PolicyChange::Start { services: Vec::new() }, PolicyChange::Unpause { services: of("web") }] {
        policy.change(&change, &base(), Now(2)).unwrap();
    }
    let all: Vec<Power> = policy.apply(&base(), 1).services.values().map(|service| service.power).collect();
    assert_eq!(all, [Power::On; 4]);
    assert_eq!(policy.apply(&base(), 1).services["tool"].replicas, 1);
}

#[test]
fn what_is_created_is_what_was_not_there_before() {
    let mut policy = Policy::default();
    up(&mut policy, &["api"]).unwrap();
    policy.up(&UpOptions { no_start: true, ..UpOptions::default() }, &base(), Now(1)).unwrap();
    let powers = |policy: &Policy| {
        let desired = policy.apply(&base(), 1);
        desired.services.iter().map(|(name, service)| (name.to_string(), service.power)).collect::<Vec<_>>()
    };
    let expected = [("api", Power::On), ("db", Power::On), ("tool", Power::Created), ("web", Power::Created)];
    assert_eq!(powers(&policy), expected.map(|(name, power)| (name.to_owned(), power)));
    policy.change(&PolicyChange::Start { services: vec!["web".into()] }, &base(), Now(1)).unwrap();
    assert_eq!(policy.created, BTreeSet::from(["tool".into()]));
}

#[test]
fn what_is_replaced_or_kept_is_what_was_asked_for() {
    let mut policy = Policy::default();
    let mut up = |services: &[&str], change: fn(&mut UpOptions), now: u64| {
        let services = services.iter().map(|name| (*name).into()).collect();
        let mut options = UpOptions { services, ..UpOptions::default() };
        change(&mut options);
        policy.up(&options, &base(), Now(now)).unwrap();
        policy.apply(&base(), 1).services
    };
    let requests = |services: &BTreeMap<ServiceName, Service>| {
        ["web", "api", "db", "tool"].map(|name| services.get(name).map_or(0, |service| service.recreate_request))
    };
    up(&[], |_| (), 1);
    let forced = up(&["api"], |options| options.recreate = Recreate::All, 5);
    assert_eq!(requests(&forced), [0, 5, 0, 0]);
    let along = up(&["api"], |options| options.recreate_dependencies = true, 6);
    assert_eq!(requests(&along), [0, 5, 6, 0]);
    // The clock has been put back.
    let again = up(&["api"], |options| options.recreate = Recreate::All, 2);
    assert_eq!(requests(&again), [0, 6, 6, 0]);
    let renewed = up(&["db"], |options| options.renew_volumes = true, 9);
    assert_eq!((renewed["db"].renew_request, renewed["api"].renew_request), (9, 0));
    let kept = up(&["api"], |options| options.recreate = Recreate::None, 9);
    assert_eq!(["web", "api", "db"].map(|name| kept[name].keep), [false, true, true]);
    assert!(!up(&["db"], |_| (), 9)["db"].keep);
    policy.reload();
    assert!(policy.apply(&base(), 1).services.values().all(|service| !service.keep));
}

#[test]
fn what_has_ended_is_asked_for_by_name_or_by_start() {
    let mut policy = Policy::default();
    let requests = |policy: &Policy| {
        let services = policy.apply(&base(), 1).services;
        ["web", "api", "tool"]
            .map(|name| services.get(name).map(|service| (service.start_request.at.0, service.start_request.done_too)))
    };
    let up = |policy: &mut Policy, services: &[&str], rerun: bool, now: u64| {
        let services = services.iter().map(|name| (*name).into()).collect();
        policy.up(&UpOptions { services, rerun, ..UpOptions::default() }, &base(), Now(now)).unwrap();
    };
    up(&mut policy, &["web"], false, 3);
    assert_eq!(requests(&policy), [Some((3, true)), Some((3, false)), None]);
    up(&mut policy, &[], false, 4);
    assert_eq!(requests(&policy), [Some((4, false)); 3]);
    policy.change(&PolicyChange::Start { services: vec!["api".into()] }, &base(), Now(5)).unwrap();
    assert_eq!(requests(&policy), [Some((4, false)), Some((5, true)), Some((4, false))]);
    up(&mut policy, &[], true, 6);
    assert_eq!(requests(&policy), [Some((6, true)); 3]);
}

#[test]
fn who_is_asked_for_alone_waits_for_nobody() {
    let mut policy = Policy::default();
    let alone = UpOptions { services: vec!["web".into()], no_deps: true, ..UpOptions::default() };
    policy.up(&alone, &base(), Now(1)).unwrap();
    let desired = policy.apply(&base(), 1);
    assert_eq!(names(&desired), ["web"]);
    assert!(desired.services["web"].depends_on.is_empty());
    up(&mut policy, &["web"]).unwrap();
    assert_eq!(names(&policy.apply(&base(), 1)), ["api", "db", "web"]);
    policy.change(&PolicyChange::Stop { services: vec!["db".into()], timeout: None }, &base(), Now(2)).unwrap();
    policy.up(&alone, &base(), Now(3)).unwrap();
    assert_eq!(policy.apply(&base(), 1).services["db"].power, Power::Off, "what was stopped stays so");
}

#[test]
fn an_errand_comes_alone_or_with_its_dependencies_and_goes_when_it_is_removed() {
    let mut policy = Policy::default();
    let mut errand = service(&[]);
    let source = MountSource::Volume { name: "mine".into(), no_copy: false };
    errand.container.mounts.push(Mount { source, target: "/mine".to_owned(), read_only: false });
    let errand = stack_model::Errand { name: "web-run-1".into(), service: errand };
    let options = UpOptions { errand: Some(Box::new(errand)), ..UpOptions::default() };
    policy.up(&options, &base(), Now(1)).unwrap();
    let desired = policy.apply(&base(), 1);
    assert_eq!(names(&desired), ["web-run-1"]);
    assert_eq!(desired.networks.len(), 1);
    assert!(desired.volumes.keys().eq([&VolumeName::new("mine")]));
    policy.up(&UpOptions { services: vec!["db".into()], ..options }, &base(), Now(1)).unwrap();
    assert_eq!(names(&policy.apply(&base(), 1)), ["db", "web-run-1"]);
    policy.change(&PolicyChange::Remove { services: vec!["web-run-1".into()] }, &base(), Now(1)).unwrap();
    assert_eq!(names(&policy.apply(&base(), 1)), ["db"]);
}

#[test]
fn a_selection_brings_its_dependencies_and_grows() {
    let mut policy = Policy::default();
    assert_eq!(names(&policy.apply(&base(), 1)), Vec::<&str>::new());
    up(&mut policy, &["api"]).unwrap();
    assert_eq!(names(&policy.apply(&base(), 1)), ["api", "db"]);
    up(&mut policy, &["tool"]).unwrap();
    let desired = policy.apply(&base(), 2);
    assert_eq!(names(&desired), ["api", "db", "tool"]);
    assert_eq!(desired.generation, 2);
    up(&mut policy, &[]).unwrap();
    assert_eq!(names(&policy.apply(&base(), 3)).len(), 4);
    up(&mut policy, &["tool"]).unwrap();
    assert_eq!(names(&policy.apply(&base(), 4)).len(), 4, "a later selection does not stop the rest");
}

#[test]
fn only_networks_and_volumes_of_the_selection_are_made() {
    let mut policy = Policy::default();
    up(&mut policy, &["tool"]).unwrap();
    let desired = policy.apply(&base(), 1);
    assert_eq!(desired.networks.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["default"]);
    assert!(desired.volumes.is_empty());
}

#[test]
fn stop_turns_off_and_up_turns_on_again() {
    let mut policy = Policy::default();
    up(&mut policy, &[]).unwrap();
    let stop = PolicyChange::Stop { services: vec!["db".into(), "tool".into()], timeout: Some(Millis(0)) };
    policy.change(&stop, &base(), Now(1)).unwrap();
    let desired = policy.apply(&base(), 1);
    assert_eq!((desired.services["db"].power, desired.services["web"].power), (Power::Off, Power::On));
    assert_eq!(desired.stop_grace, Some(Millis(0)));
    up(&mut policy, &["web"]).unwrap();
    let desired = policy.apply(&base(), 2);
    assert_eq!((desired.services["db"].power, desired.services["tool"].power), (Power::On, Power::Off));
    assert_eq!(desired.stop_grace, None);
    policy.change(&PolicyChange::Start { services: Vec::new() }, &base(), Now(1)).unwrap();
    assert_eq!(policy.apply(&base(), 3).services["tool"].power, Power::On);
}

#[test]
fn restart_requests_grow_even_without_a_memory() {
    let restart = PolicyChange::Restart { services: vec!["db".into()], timeout: None, no_deps: false };
    let mut policy = Policy { selected: Selection::All, ..Policy::default() };
    policy.change(&restart, &base(), Now(500)).unwrap();
    policy.change(&restart, &base(), Now(500)).unwrap();
    let alone = PolicyChange::Restart { services: vec!["db".into()], timeout: None, no_deps: true };
    assert_eq!(policy.apply(&base(), 1).services["db"].restart_request, 501);
    policy.change(&alone, &base(), Now(600)).unwrap();
    assert!(policy.apply(&base(), 1).services["db"].restart_alone);
    policy.change(&restart, &base(), Now(700)).unwrap();
    assert!(!policy.apply(&base(), 1).services["db"].restart_alone, "that was for one request");
    let mut forgetful = Policy { selected: Selection::All, ..Policy::default() };
    forgetful.change(&restart, &base(), Now(900)).unwrap();
    assert_eq!(forgetful.apply(&base(), 1).services["db"].restart_request, 900);
}

#[test]
fn scale_lasts_until_the_service_is_brought_up_again() {
    let mut policy = Policy::default();
    let scale = BTreeMap::from([("tool".into(), 3)]);
    policy.up(&UpOptions { scale, ..UpOptions::default() }, &base(), Now(1)).unwrap();
    assert_eq!(policy.apply(&base(), 1).services["tool"].replicas, 3);
    policy.reload();
    up(&mut policy, &["web"]).unwrap();
    assert_eq!(policy.apply(&base(), 2).services["tool"].replicas, 3);
    up(&mut policy, &[]).unwrap();
    assert_eq!(policy.apply(&base(), 3).services["tool"].replicas, 1);
}

#[test]
fn a_named_container_cannot_be_scaled() {
    let mut base = base();
    base.services.get_mut("tool").unwrap().container.container_name = Some("the-tool".to_owned());
    let (mut policy, scale) = (Policy::default(), BTreeMap::from([("tool".into(), 2)]));
    let failure = policy.up(&UpOptions { scale, ..UpOptions::default() }, &base, Now(1)).unwrap_err();
    assert_eq!(failure.message, "tool cannot have 2 containers: its `container_name` is the-tool");
    assert_eq!(policy, Policy::default());
}

#[test]
fn down_wants_nothing_and_keeps_volumes_without_consent() {
    let mut policy = Policy { selected: Selection::All, ..Policy::default() };
    let down = |volumes| PolicyChange::Down { volumes, timeout: Some(Millis(1)) };
    policy.change(&down(false), &base(), Now(1)).unwrap();
    let desired = policy.apply(&base(), 1);
    assert!(desired.networks.is_empty() && desired.volumes.is_empty() && desired.discard_volumes.is_empty());
    assert!(desired.services.values().all(|service| service.replicas == 0));
    policy.change(&down(true), &base(), Now(1)).unwrap();
    let desired = policy.apply(&base(), 2);
    assert_eq!(desired.discard_volumes, [VolumeName::new("shop_data")], "an external volume is not ours to delete");
    let refused = policy.change(&PolicyChange::Start { services: Vec::new() }, &base(), Now(1)).unwrap_err();
    assert_eq!(refused.message, "the project is going down");
    up(&mut policy, &["tool"]).unwrap();
    assert_eq!(names(&policy.apply(&base(), 3)), ["tool"], "an up after down begins anew");
}

#[test]
fn an_unknown_service_is_refused_with_a_near_name() {
    let mut policy = Policy::default();
    let failure = up(&mut policy, &["wbe"]).unwrap_err();
    assert_eq!(failure.message, "there is no service `wbe`");
    assert_eq!(failure.hint.as_deref(), Some("the project has: api, db, tool, web"));
    let failure = up(&mut policy, &["tol"]).unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("did you mean `tool`?"));
    assert_eq!(policy, Policy::default());
    let stop = PolicyChange::Stop { services: vec!["db".into()], timeout: None };
    let failure = policy.change(&stop, &base(), Now(1)).unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("run `stack up db` first"));
}

#[test]
fn a_policy_survives_its_own_json() {
    let mut policy = Policy { selected: Selection::All, ..Policy::default() };
    policy
        .change(&PolicyChange::Restart { services: Vec::new(), timeout: None, no_deps: false }, &base(), Now(7))
        .unwrap();
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
}
