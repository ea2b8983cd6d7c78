//! How long steps take, by kind: coarse enough to keep for ever, fine enough to see a stall of 16 ms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stack_model::Action;

/// Latencies of every kind of step since the journal began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency {
    kinds: BTreeMap<String, Histogram>,
}

/// Counts by powers of two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// Lower bound in microseconds (0 or a power of two; the bound above is twice as much) to the number of steps.
    buckets: BTreeMap<u64, u64>,
}

impl Histogram {
    fn record(&mut self, micros: u64) {
        let floor = micros.checked_ilog2().map_or(0, |log| 1 << log);
        *self.buckets.entry(floor).or_default() += 1;
    }

    /// Pairs of a bucket's lower bound in microseconds and the number of steps in it; empty buckets are left out.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().map(|(floor, count)| (*floor, *count))
    }

    /// Steps in all.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// Steps in buckets that begin at `micros` or above.
    pub fn at_least(&self, micros: u64) -> u64 {
        self.buckets.range(micros..).map(|(_, count)| count).sum()
    }
}

impl Latency {
    pub(crate) fn record(&mut self, kind: &str, micros: u64) {
        if let Some(histogram) = self.kinds.get_mut(kind) {
            return histogram.record(micros);
        }
        self.kinds.entry(kind.to_owned()).or_default().record(micros);
    }

    /// The kinds of steps, such as `start_container`, with their counts.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        self.kinds.iter().map(|(kind, histogram)| (kind.as_str(), histogram))
    }
}

/// The name of a step's kind, as the journal has it.
pub(crate) fn kind(action: &Action) -> &'static str {
    match action {
        Action::PullImage { .. } => "pull_image",
        Action::EnsureNetwork(_) => "ensure_network",
        Action::RemoveNetwork { .. } => "remove_network",
        Action::EnsureVolume(_) => "ensure_volume",
        Action::RemoveVolume { .. } => "remove_volume",
        Action::CreateContainer(_) => "create_container",
        Action::StartContainer { .. } => "start_container",
        Action::RunHooks { .. } => "run_hooks",
        Action::PauseContainer { .. } => "pause_container",
        Action::UnpauseContainer { .. } => "unpause_container",
        Action::StopContainer { .. } => "stop_container",
        Action::KillContainer { .. } => "kill_container",
        Action::RemoveContainer { .. } => "remove_container",
        Action::WriteLimits { .. } => "write_limits",
        Action::UpdateRecord(_) => "update_record",
        Action::AttachContainer { .. } => "attach_container",
        Action::ApplyRuleset(_) => "apply_ruleset",
        Action::PublishNames(_) => "publish_names",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_stands_in_a_bucket_of_its_own() {
        let mut latency = Latency::default();
        for micros in [0, 1, 1_000, 1_023, 1_024, 17_000] {
            latency.record("start_container", micros);
        }
        let (kind, histogram) = latency.kinds().next().unwrap();
        assert_eq!(kind, "start_container");
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(0, 1), (1, 1), (512, 2), (1_024, 1), (16_384, 1)]);
        assert_eq!((histogram.count(), histogram.at_least(16_000)), (6, 1));
    }
}
