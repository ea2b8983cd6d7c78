//! What is missing after a request, in the words of errors.

use std::path::Path;

use stack_model::{Desired, Key, Origin, ServiceName};
use stack_runtime::log::{LogMerge, LogReader};

use crate::commands::pull::origin_of_image;
use crate::error::Casualty;
use crate::output;
use crate::settle::{Settlement, Trouble, Waiting};

/// Lines of a dead container's log that belong into an error.
const LAST_LINES: usize = 10;

/// Each trouble once, with what waits for it.
pub(crate) fn describe(desired: Option<&Desired>, settlement: &Settlement) -> Vec<Casualty> {
    let mut casualties: Vec<Casualty> =
        settlement.troubles().iter().map(|trouble| describe_trouble(desired, trouble)).collect();
    // Everything that waits stands under the last error: which of several it waits for is in its own words.
    if let Some(last) = casualties.last_mut() {
        last.waiting = waiting(desired, settlement);
    }
    casualties
}

/// What waits for something, one line each.
pub(crate) fn waiting(desired: Option<&Desired>, settlement: &Settlement) -> Vec<String> {
    let line = |waiting: &Waiting| format!("{} waits {}", subject(desired, &waiting.key), waiting.until);
    settlement.waiting().iter().map(line).collect()
}

fn describe_trouble(desired: Option<&Desired>, trouble: &Trouble) -> Casualty {
    let Trouble { key, step, failure } = trouble;
    Casualty {
        subject: subject(desired, key),
        message: output::complaint(step, &failure.message),
        place: place(desired, key),
        hint: failure.hint.clone(),
        ..Casualty::default()
    }
}

/// The name of a thing as errors begin: the service where it has one container, else the container.
fn subject(desired: Option<&Desired>, key: &Key) -> String {
    match key {
        Key::Container(service, index) => {
            let replicas = desired.and_then(|desired| desired.services.get(service)).map_or(0, |found| found.replicas);
            if replicas == 1 { service.to_string() } else { format!("{service}-{index}") }
        }
        Key::Image(_) | Key::Network(_) | Key::Volume(_) | Key::Ruleset | Key::Names => output::short_subject(key),
    }
}

/// What stands before the lines of a container.
pub(crate) fn container_label(desired: Option<&Desired>, service: &ServiceName, index: u32) -> String {
    let named = desired.and_then(|desired| desired.services.get(service)?.container.container_name.clone());
    named.unwrap_or_else(|| format!("{service}-{index}"))
}

/// Where the file speaks of it.
fn place(desired: Option<&Desired>, key: &Key) -> Option<String> {
    let desired = desired?;
    let origin: &Origin = match key {
        Key::Container(service, _) => &desired.services.get(service)?.origin,
        Key::Network(network) => &desired.networks.get(network)?.origin,
        Key::Volume(volume) => &desired.volumes.get(volume)?.origin,
        Key::Image(image) => origin_of_image(desired, image)?,
        Key::Ruleset | Key::Names => return None,
    };
    (origin.line > 0).then(|| origin.to_string())
}

/// The last lines of a log. What cannot be read is missing from an error that is about something else.
pub(crate) fn last_lines(directory: &Path) -> Vec<String> {
    let mut merge = LogMerge::default();
    let Ok(reader) = LogReader::open(directory) else { return Vec::new() };
    merge.push((), reader);
    drop(merge.keep_tail(Some(LAST_LINES), 0..=u64::MAX));
    drop(merge.finish(|()| true));
    let lines = std::iter::from_fn(|| merge.next().ok().flatten().map(|(_, line)| line));
    lines.map(|line| String::from_utf8_lossy(&line.text).trim_end().to_owned()).collect()
}
