//! Steps in the words of people.

use std::time::Duration;

use stack_model::{Effect, Key, OpReport};

/// How a step is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// `container web-1`.
    pub(crate) subject: String,
    /// `creating`.
    pub(crate) doing: &'static str,
    /// `created`.
    pub(crate) done: &'static str,
}

/// The thing an operation is about: `container web-1`, `network default`.
pub(crate) fn subject(key: &Key) -> String {
    match key {
        Key::Image(image) => format!("image {image}"),
        Key::Network(name) => format!("network {name}"),
        Key::Volume(name) => format!("volume {name}"),
        Key::Container(service, index) => format!("container {service}-{index}"),
        Key::Ruleset => "port rules".to_owned(),
        Key::Names => "names".to_owned(),
    }
}

/// The same without its kind, as errors begin: `web-1`.
pub(crate) fn short_subject(key: &Key) -> String {
    match key {
        Key::Container(service, index) => format!("{service}-{index}"),
        Key::Image(_) | Key::Network(_) | Key::Volume(_) | Key::Ruleset | Key::Names => subject(key),
    }
}

/// A step in words. The first word of an action is its verb.
pub(crate) fn step(op: &OpReport) -> Step {
    let (doing, done) = match op.action.split(' ').next().unwrap_or_default() {
        "pull" => ("pulling", "pulled"),
        "ensure" | "create" => ("creating", "created"),
        "start" => ("starting", "started"),
        "stop" => ("stopping", "asked to stop"),
        "kill" => ("killing", "killed"),
        "run" => ("beginning its hooks", "has begun its hooks"),
        "pause" => ("pausing", "paused"),
        "unpause" => ("unpausing", "unpaused"),
        "remove" => ("removing", "removed"),
        "delete" => ("deleting", "deleted"),
        "attach" => ("attaching", "attached"),
        "apply" | "publish" => ("publishing", "published"),
        _ => ("updating", "updated"),
    };
    Step { subject: subject(&op.key), doing, done }
}

/// The step only sends a signal.
pub(crate) fn is_signal(op: &OpReport) -> bool {
    op.action.starts_with("stop ")
}

/// The cause of a step, where it says more than that something was missing or is not wanted.
pub(crate) fn reason(op: &OpReport) -> Option<&str> {
    let is_plain = matches!(op.effect, Effect::New | Effect::Remove) && !op.cause.contains(' ');
    (!is_plain && !matches!(op.cause.as_str(), "missing" | "not wanted")).then_some(op.cause.as_str())
}

/// `cannot start: …`, unless the message says so itself.
pub(crate) fn complaint(step: &str, message: &str) -> String {
    // A hook is named like its step.
    if step.is_empty() || message.starts_with("cannot ") || step == "post_start" {
        return message.to_owned();
    }
    let verb = if step == "ensure" { "create" } else { step };
    format!("cannot {verb}: {message}")
}

/// A duration the way people read it: `0.4ms`, `120ms`, `3.2s`, `2m5s`.
pub(crate) fn elapsed(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..10_000 => format!("{}.{}ms", micros / 1000, micros % 1000 / 100),
        10_000..1_000_000 => format!("{}ms", micros / 1000),
        1_000_000..60_000_000 => format!("{}.{}s", micros / 1_000_000, micros % 1_000_000 / 100_000),
        _ => format!("{}m{}s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// A duration as `docker ps` words it: `3 seconds`, `About an hour`.
pub(crate) fn roughly(seconds: u64) -> String {
    let several = |count: u64, unit: &str| format!("{count} {unit}");
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => several(seconds, "seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => several(seconds / 60, "minutes"),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => several(seconds / 3600, "hours"),
        172_800..1_209_600 => several(seconds / 86_400, "days"),
        1_209_600..5_184_000 => several(seconds / 604_800, "weeks"),
        5_184_000..63_072_000 => several(seconds / 2_592_000, "months"),
        _ => several(seconds / 31_536_000, "years"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [420, 12_000, 3_240_000, 125_000_000].map(|micros| elapsed(Duration::from_micros(micros)));
        assert_eq!(shown, ["0.4ms", "12ms", "3.2s", "2m5s"]);
        assert_eq!([0, 1, 59, 61, 4000, 200_000].map(roughly)[3..], ["About a minute", "About an hour", "2 days"]);
    }

    #[test]
    fn a_complaint_names_the_step_once() {
        assert_eq!(
            complaint("start", "mount /data: permission denied"),
            "cannot start: mount /data: permission denied"
        );
        assert_eq!(complaint("start", "cannot execute /x"), "cannot execute /x");
        assert_eq!(complaint("post_start", "post_start `a` exited with code 1"), "post_start `a` exited with code 1");
    }
}
