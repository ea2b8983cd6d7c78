//! Which images are fetched and built before a project is started.

use std::collections::BTreeMap;

use stack_model::{
    Build, Condition, Desired, ImageReference, Millis, NamedContext, Now, PullPolicy, Service, ServiceName,
};
use stack_plan::{BuildWhen, Held, Otherwise, Refusal, Supply, SupplyOptions, build_waves, supply};

use crate::project::{Build as _, service, shop};

const NOW: Now = Now(1_000_000);

fn policy(image: &str, policy: PullPolicy) -> Service {
    service().image(image).edit(|service| service.container.pull_policy = policy)
}

fn builds(image: &str) -> Service {
    let build = Build { context: "/src".into(), tags: vec![image.to_owned()], ..Build::default() };
    service().image(image).edit(|service| service.build = Some(Box::new(build)))
}

/// Images of the store, and how long ago a registry was asked for them.
fn held(images: &[(&str, Option<u64>)]) -> BTreeMap<ImageReference, Held> {
    let held = |ago: Option<u64>| Held { asked: ago.map(|ago| Now(NOW.0 - ago)) };
    images.iter().map(|(name, ago)| (ImageReference::new(*name), held(*ago))).collect()
}

/// One line each, short.
fn shown(supply: &Supply) -> String {
    let pulls = supply.pulls.iter().map(|(image, otherwise)| match otherwise {
        Otherwise::Fail => format!("pull {image}"),
        Otherwise::Keep => format!("pull {image} or keep"),
        Otherwise::Build(service) => format!("pull {image} or build {service}"),
    });
    let builds = supply.builds.iter().map(|service| format!("build {service}"));
    let refused = supply.refused.iter().map(|(service, refusal)| match refusal {
        Refusal::MayNotPull => format!("{service} may not pull"),
        Refusal::MayNotBuild => format!("{service} may not build"),
    });
    pulls.chain(builds).chain(refused).collect::<Vec<_>>().join(", ")
}

fn decide(desired: &Desired, images: &[(&str, Option<u64>)], options: SupplyOptions) -> String {
    shown(&supply(desired, &[], &held(images), options, NOW))
}

#[test]
fn policies_of_fetched_images() {
    let every = PullPolicy::Every(Millis(5000));
    for (which, images, expected) in [
        (PullPolicy::Missing, vec![], ""),
        (PullPolicy::Always, vec![("i", Some(0))], "pull i"),
        (PullPolicy::Never, vec![], ""),
        (every, vec![("i", Some(4999))], ""),
        (every, vec![("i", Some(5000))], "pull i or keep"),
        (every, vec![("i", None)], "pull i or keep"),
        (every, vec![], ""),
    ] {
        let desired = shop([("a", policy("i", which))]);
        assert_eq!(decide(&desired, &images, SupplyOptions::default()), expected, "{which:?} {images:?}");
    }
}

#[test]
fn a_digest_that_is_here_is_not_asked_for() {
    let image = "i@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let desired = shop([("a", policy(image, PullPolicy::Always))]);
    assert_eq!(decide(&desired, &[(image, Some(0))], SupplyOptions::default()), "");
    assert_eq!(decide(&desired, &[], SupplyOptions::default()), format!("pull {image}"));
}

#[test]
fn what_is_missing_or_asked_for_is_built() {
    let desired = shop([("a", builds("shop-a")), ("b", builds("named:1"))]);
    let all = [("shop-a", None), ("named:1", None)];
    let with = |build, pull| SupplyOptions { build, pull, no_deps: false };
    assert_eq!(decide(&desired, &[], SupplyOptions::default()), "build a, build b");
    assert_eq!(decide(&desired, &all, SupplyOptions::default()), "");
    assert_eq!(decide(&desired, &all, with(BuildWhen::Always, None)), "build a, build b");
    assert_eq!(decide(&desired, &all[..1], with(BuildWhen::Never, None)), "b may not build");
    // A registry may have what the file names, and has not what the build names.
    let always = with(BuildWhen::Missing, Some(PullPolicy::Always));
    assert_eq!(decide(&desired, &all, always), "pull named:1 or build b");
    let desired = shop([("a", builds("shop-a").edit(|it| it.container.pull_policy = PullPolicy::Build))]);
    assert_eq!(decide(&desired, &all, SupplyOptions::default()), "build a");
    assert_eq!(decide(&desired, &all, with(BuildWhen::Never, None)), "");
}

#[test]
fn an_image_that_another_service_builds_is_built_there() {
    let desired = shop([("maker", builds("app:1")), ("user", service().image("app:1"))]);
    let user = [ServiceName::new("user")];
    assert_eq!(shown(&supply(&desired, &user, &held(&[]), SupplyOptions::default(), NOW)), "build maker");
}

#[test]
fn never_on_the_command_line_refuses_before_anything_is_done() {
    let desired = shop([("a", service().image("i"))]);
    let options = SupplyOptions { pull: Some(PullPolicy::Never), ..SupplyOptions::default() };
    assert_eq!(decide(&desired, &[], options), "a may not pull");
    assert_eq!(decide(&desired, &[("i", None)], options), "");
}

#[test]
fn only_what_was_asked_for_and_its_dependencies_count() {
    let desired = shop([
        ("a", builds("shop-a")),
        ("b", builds("shop-b").after("c", Condition::Started)),
        ("c", builds("shop-c")),
    ]);
    let services = [ServiceName::new("b")];
    let supply = supply(&desired, &services, &held(&[]), SupplyOptions::default(), NOW);
    assert_eq!(shown(&supply), "build b, build c");
}

#[test]
fn contexts_are_built_first() {
    let on = |image: &str, other: &str| {
        builds(image).edit(|service| {
            let build = service.build.as_mut().unwrap();
            build.contexts.insert("base".to_owned(), NamedContext::Built(other.to_owned()));
        })
    };
    let desired = shop([("a", on("shop-a", "shop-b")), ("b", on("shop-b", "shop-c")), ("c", builds("shop-c"))]);
    let waves = |names: &[&str], dependencies| {
        let names: Vec<ServiceName> = names.iter().map(|name| ServiceName::new(*name)).collect();
        let waves = build_waves(&desired, &names, dependencies);
        let words = waves.iter().map(|wave| wave.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" "));
        words.collect::<Vec<_>>().join(" | ")
    };
    assert_eq!(waves(&["a"], false), "c | b | a");
    assert_eq!(waves(&["c", "b"], false), "c | b");
    // A circle ends, too; the builder says what is missing.
    let circle = shop([("a", on("shop-a", "shop-b")), ("b", on("shop-b", "shop-a"))]);
    assert_eq!(build_waves(&circle, &[ServiceName::new("a")], false).len(), 1);
}
