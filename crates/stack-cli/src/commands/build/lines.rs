//! Progress of builds in lines.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stack_build::{BuildEvent, StepId};

use crate::output;

/// What is shown of an instruction.
const TEXT_CHARS_MAX: usize = 100;
/// Lines of a step that are kept for the case that it fails.
const KEPT_LINES_MAX: usize = 1000;

/// Progress in lines, each with its stage; several stages and services write at the same time.
#[derive(Debug)]
pub(super) struct Lines {
    /// Only what led to a failure is shown.
    is_quiet: bool,
    /// What steps wrote, by service and step.
    kept: Mutex<BTreeMap<(String, StepId), Vec<String>>>,
}

impl Lines {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self { is_quiet, kept: Mutex::default() }
    }

    /// Shows an event of the build of a service, or of a directory.
    pub(super) fn show(&self, service: Option<&str>, event: BuildEvent) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_quiet {
            return output::note(&line(service, &event));
        }
        let key = |step: &StepId| (service.unwrap_or_default().to_owned(), step.clone());
        match &event {
            BuildEvent::Output { step, .. } => {
                let lines = kept.entry(key(step)).or_default();
                if lines.len() < KEPT_LINES_MAX {
                    lines.push(line(service, &event));
                }
            }
            BuildEvent::Done { step, .. } => drop(kept.remove(&key(step))),
            BuildEvent::Failed { step } => {
                kept.remove(&key(step)).unwrap_or_default().iter().for_each(|line| output::note(line));
                output::note(&line(service, &event));
            }
            BuildEvent::Started { .. } => {}
        }
    }
}

fn line(service: Option<&str>, event: &BuildEvent) -> String {
    let service = service.map_or(String::new(), |service| format!("{service} "));
    let head = |step: &StepId| format!("[{service}{} {}/{}]", step.name, step.number, step.total);
    match event {
        BuildEvent::Started { step, text } => format!("{} {}", head(step), instruction(text)),
        BuildEvent::Output { step, line } => format!("{}   {line}", head(step)),
        BuildEvent::Done { step, cached: true, .. } if step.number > 1 => format!("{} done before", head(step)),
        BuildEvent::Done { step, milliseconds, .. } => {
            format!("{} done in {}.{} s", head(step), milliseconds / 1000, milliseconds / 100 % 10)
        }
        BuildEvent::Failed { step } => format!("{} failed", head(step)),
    }
}

/// An instruction on one line.
fn instruction(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
