//! Events in words, for both renderers that people read.

use stack_model::{Event, Key, OpReport, Stamped};

/// What a line of progress says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// What it is about, such as `Container web-1`.
    pub(super) subject: String,
    /// What happened, such as `Started`.
    pub(super) state: String,
    /// Whether more is to come about it.
    pub(super) is_final: bool,
    /// Whether it is bad news.
    pub(super) is_bad: bool,
}

/// What an event says to a person; `None` for what only programs want to know.
pub(super) fn words(stamped: &Stamped) -> Option<Words> {
    let plain = |subject: String, state: String, is_final| Some(Words { subject, state, is_final, is_bad: false });
    match &stamped.event {
        Event::Started(op) => plain(subject(&op.key), doing(op).to_owned(), false),
        Event::Finished { op, micros } => {
            let state = done(op)?;
            let seconds = f64::from(u32::try_from(*micros).unwrap_or(u32::MAX)) / 1e6;
            let cause = if matches!(op.cause.as_str(), "missing" | "not wanted") { String::new() } else { format!("  {}", op.cause) };
            plain(subject(&op.key), format!("{state}  {seconds:.1}s{cause}"), true)
        }
        Event::Failed { op, failure, .. } => {
            Some(Words { subject: subject(&op.key), state: format!("Failed  {failure}"), is_final: true, is_bad: true })
        }
        Event::Health { service, index, health, .. } => {
            let state = match health {
                stack_model::Health::None | stack_model::Health::Starting => return None,
                stack_model::Health::Healthy => "Healthy".to_owned(),
                stack_model::Health::Unhealthy { output, .. } => format!("Unhealthy  {output}"),
            };
            let is_bad = state.starts_with("Unhealthy");
            Some(Words { subject: format!("Container {service}-{index}"), state, is_final: true, is_bad })
        }
        Event::Exited { service, index, exit, .. } => {
            let is_bad = !exit.requested && exit.code != Some(0);
            let state = if exit.requested { "Stopped".to_owned() } else { format!("Exited  {exit}") };
            Some(Words { subject: format!("Container {service}-{index}"), state, is_final: true, is_bad })
        }
        Event::Progress { key, text, .. } => plain(subject(key), text.clone(), false),
        Event::Warning { text } => {
            Some(Words { subject: "warning".to_owned(), state: text.clone(), is_final: true, is_bad: true })
        }
        Event::Rejected { reason, diagnostics } => Some(Words {
            subject: "rejected".to_owned(),
            state: format!("{reason}: {}", diagnostics.first().map(ToString::to_string).unwrap_or_default()),
            is_final: true,
            is_bad: true,
        }),
        Event::Accepted { .. } | Event::Planned { .. } | Event::Converged { .. } | Event::Down => None,
    }
}

fn subject(key: &Key) -> String {
    match key {
        Key::Image(image) => format!("Image {image}"),
        Key::Network(name) => format!("Network {name}"),
        Key::Volume(name) => format!("Volume {name}"),
        Key::Container(service, index) => format!("Container {service}-{index}"),
        Key::Ruleset => "Ports".to_owned(),
        Key::Names => "Names".to_owned(),
    }
}

/// The first word of a step's plan line says which step it is.
fn doing(op: &OpReport) -> &'static str {
    match op.action.split(' ').next() {
        Some("pull") => "Pulling",
        Some("create") => "Creating",
        Some("start") => "Starting",
        Some("stop" | "kill") => "Stopping",
        Some("remove" | "delete") => "Removing",
        _ => "Applying",
    }
}

/// What is over when the step is; `None` where an event of its own follows.
fn done(op: &OpReport) -> Option<&'static str> {
    match op.action.split(' ').next() {
        Some("pull") => Some("Pulled"),
        Some("create" | "ensure") => Some("Created"),
        Some("start") => Some("Started"),
        Some("stop" | "kill") => None,
        Some("remove" | "delete") => Some("Removed"),
        Some("write" | "update") => Some("Updated"),
        _ => match op.key {
            // They follow from everything else and say nothing new.
            Key::Ruleset | Key::Names => None,
            Key::Image(_) | Key::Network(_) | Key::Volume(_) | Key::Container(..) => Some("Applied"),
        },
    }
}
