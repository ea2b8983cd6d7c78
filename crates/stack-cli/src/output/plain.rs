//! Progress as lines, one a finished step: for logs of build servers and for everything that is no terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use stack_model::{Event, Key, OpReport, Stamped};

use super::words;

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The last reason of each thing: several steps follow from one edit.
    reasons: BTreeMap<Key, String>,
}

impl Lines {
    /// The line for an event, if it deserves one. Failures are reported at the end.
    pub(crate) fn line(&mut self, stamped: &Stamped) -> Option<String> {
        match &stamped.event {
            Event::Finished { op, .. } if matches!(op.key, Key::Names | Key::Ruleset) || words::is_signal(op) => None,
            Event::Finished { op, micros } => {
                let step = words::step(op);
                let time = words::elapsed(Duration::from_micros(*micros));
                let reason = self.reason(op).map(|reason| format!(": {reason}")).unwrap_or_default();
                Some(format!("{} {} in {time}{reason}", step.subject, step.done))
            }
            Event::Started(op) if matches!(op.key, Key::Image(_)) => {
                let step = words::step(op);
                Some(format!("{} {}", step.subject, step.doing))
            }
            Event::Exited { service, index, exit, .. } if exit.requested => {
                Some(format!("container {service}-{index} stopped"))
            }
            Event::Exited { service, index, exit, .. } => Some(format!("container {service}-{index} ended: {exit}")),
            Event::Health { service, index, health, .. } => health_line(service.as_str(), *index, health),
            Event::Warning { text } => Some(format!("warning: {text}")),
            Event::Accepted { reason, .. } if reason.ends_with(" saved") => {
                self.reasons.clear();
                Some(format!("{reason}: applying"))
            }
            Event::Accepted { .. }
            | Event::Rejected { .. }
            | Event::Planned { .. }
            | Event::Started(_)
            | Event::Failed { .. }
            | Event::Progress { .. }
            | Event::Converged { .. }
            | Event::Down => None,
        }
    }

    /// The reason of a step, unless it is that of the step before.
    fn reason<'a>(&mut self, op: &'a OpReport) -> Option<&'a str> {
        let reason = words::reason(op)?;
        let before = self.reasons.insert(op.key.clone(), reason.to_owned());
        (before.as_deref() != Some(reason)).then_some(reason)
    }
}

fn health_line(service: &str, index: u32, health: &stack_model::Health) -> Option<String> {
    use stack_model::Health;
    let verdict = match health {
        Health::None | Health::Starting => return None,
        Health::Healthy => "healthy".to_owned(),
        Health::Unhealthy { output, .. } => format!("unhealthy: {}", output.lines().next().unwrap_or_default()),
    };
    Some(format!("container {service}-{index} {verdict}"))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::Lines;

    #[test]
    fn one_line_a_finished_step() {
        let mut shown = Lines::default();
        let lines: Vec<String> = samples::events().iter().filter_map(|event| shown.line(event)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        image web:2 pulling
        image web:2 pulled in 1.2s
        network default created in 0.3ms
        container web-1 created in 0.9ms: compose.yaml:9 image web:1 -> web:2
        container db-1 ended: exit code 3
        container db-1 unhealthy: connection refused
        warning: cannot write the journal: no space left on device
        ");
    }
}
