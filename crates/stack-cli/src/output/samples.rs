//! Events for the tests of the renderers.

use stack_model::{Effect, Event, Exit, Failure, Fault, Health, Key, Now, OpReport, Stamped};

fn op(key: Key, action: &str, effect: Effect, cause: &str) -> OpReport {
    OpReport { key, action: action.to_owned(), effect, cause: cause.to_owned(), container: None }
}

/// A project that comes up, badly.
pub(crate) fn events() -> Vec<Stamped> {
    let image = || op(Key::Image("web:2".into()), "pull", Effect::New, "missing");
    let network = || op(Key::Network("default".into()), "ensure bridge stk-1 10.89.0.0/26", Effect::New, "missing");
    let cause = "compose.yaml:9 image web:1 -> web:2";
    let web = || op(Key::Container("web".into(), 1), "create 12ab", Effect::Replace, cause);
    let db = || op(Key::Container("db".into(), 1), "start 77e2", Effect::New, "missing");
    let failure = Failure::new(Fault::Denied, "mount /data: permission denied");
    let unhealthy = Health::Unhealthy { failures: 3, output: "connection refused\n".to_owned() };
    let (id, service) = ("0011223344556677".into(), "db".into());
    let exit = Exit { code: Some(3), ..Exit::default() };
    let events = vec![
        Event::Started(image()),
        Event::Progress { key: image().key, text: "2 of 5 layers".to_owned(), done: 3 << 20, total: 12 << 20 },
        Event::Finished { op: image(), micros: 1_200_000 },
        Event::Started(network()),
        Event::Finished { op: network(), micros: 300 },
        Event::Started(web()),
        Event::Finished { op: web(), micros: 900 },
        Event::Started(db()),
        Event::Failed { op: db(), failure, retry: None },
        Event::Exited { id, service, index: 1, exit },
        Event::Health { id: "0011223344556677".into(), service: "db".into(), index: 1, health: unhealthy },
        Event::Warning { text: "cannot write the journal: no space left on device".to_owned() },
    ];
    (1..).zip(events).map(|(sequence, event)| Stamped { sequence, at: Now(sequence * 100), event }).collect()
}
