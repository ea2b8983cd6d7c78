//! From the results of probes to a verdict, and when to probe next. Pure; the host keeps the state.

use stack_model::{Health, Healthcheck, Millis, Now};

/// The first pause between probes of a container that is still starting.
const FIRST_PAUSE: Millis = Millis(50);
/// Shortest time between probes, so that an interval of zero does not spin.
const SHORTEST_PAUSE: Millis = Millis(10);

/// What is known about the health of one run of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthState {
    verdict: Verdict,
    /// Probes so far.
    probes: u32,
    /// Failures in a row that count.
    failures: u32,
    /// When the last probe was over.
    last: Option<Now>,
    /// When a failure last counted.
    counted: Option<Now>,
    /// What the last failed probe said.
    output: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Verdict {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

/// What one probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It passed.
    Passed,
    /// It failed or took too long; the text is its output.
    Failed(String),
}

impl HealthState {
    /// The verdict as the rest of the system sees it.
    pub fn health(&self) -> Health {
        match self.verdict {
            Verdict::Starting => Health::Starting,
            Verdict::Healthy => Health::Healthy,
            Verdict::Unhealthy => Health::Unhealthy { failures: self.failures, output: self.output.clone() },
        }
    }
}

/// When to probe next: at once after the start, then after 50, 100, 200 ms and so on up to the interval while there is
/// no verdict, and at the interval from then on. Never before `now`.
pub fn next_probe(state: &HealthState, check: &Healthcheck, started: Now, now: Now) -> Now {
    let Some(last) = state.last else { return started.max(now) };
    let pause = match state.verdict {
        Verdict::Healthy | Verdict::Unhealthy => check.interval,
        Verdict::Starting => {
            let doublings = state.probes.saturating_sub(1).min(20);
            let in_start_period = now.since(started) < check.start_period && check.start_interval.0 > 0;
            let longest = if in_start_period { check.interval.min(check.start_interval) } else { check.interval };
            Millis(FIRST_PAUSE.0 << doublings).min(longest)
        }
    };
    last.plus(pause.max(SHORTEST_PAUSE)).max(now)
}

/// The state after a probe that was over at `now`. A pass makes healthy at once. While there is no verdict yet, a failure
/// counts at most once an interval and not in the start period: probing early must not make anything unhealthy earlier.
#[must_use]
pub fn after_probe(
    mut state: HealthState,
    result: ProbeResult,
    check: &Healthcheck,
    started: Now,
    now: Now,
) -> HealthState {
    state.probes = state.probes.saturating_add(1);
    state.last = Some(now);
    match result {
        ProbeResult::Passed => {
            state.verdict = Verdict::Healthy;
            state.failures = 0;
            state.output.clear();
        }
        ProbeResult::Failed(output) => {
            state.output = output;
            let since = now.since(state.counted.unwrap_or(started));
            let counts = match state.verdict {
                Verdict::Starting => now.since(started) >= check.start_period && since >= check.interval,
                Verdict::Healthy | Verdict::Unhealthy => true,
            };
            if counts {
                state.counted = Some(now);
                state.failures = state.failures.saturating_add(1);
                if state.failures >= check.retries.max(1) {
                    state.verdict = Verdict::Unhealthy;
                }
            }
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use stack_model::Probe;

    use super::*;

    fn check(start_period: u64) -> Healthcheck {
        Healthcheck {
            probe: Probe::Shell("true".to_owned()),
            interval: Millis(1000),
            timeout: Millis(500),
            retries: 3,
            start_period: Millis(start_period),
            start_interval: Millis(300),
        }
    }

    /// Probes until `end`; each fails until `ready`. Returns the times of the probes and the last state.
    fn run(check: &Healthcheck, ready: u64, end: u64) -> (Vec<u64>, HealthState) {
        let (started, mut now) = (Now(0), Now(0));
        let (mut state, mut times) = (HealthState::default(), Vec::new());
        loop {
            now = next_probe(&state, check, started, now);
            if now.0 > end {
                return (times, state);
            }
            times.push(now.0);
            let result = if now.0 >= ready { ProbeResult::Passed } else { ProbeResult::Failed("no".to_owned()) };
            state = after_probe(state, result, check, started, now);
        }
    }

    #[test]
    fn probes_come_quickly_until_the_first_pass_and_then_at_the_interval() {
        let (times, state) = run(&check(0), 300, 2500);
        assert_eq!(times, [0, 50, 150, 350, 1350, 2350]);
        assert_eq!(state.health(), Health::Healthy);
    }

    #[test]
    fn the_pause_grows_up_to_the_interval() {
        let (times, _) = run(&check(0), u64::MAX, 5000);
        assert_eq!(times[..7], [0, 50, 150, 350, 750, 1550, 2550]);
    }

    #[test]
    fn the_start_interval_bounds_the_pause_in_the_start_period() {
        let (times, _) = run(&check(1500), u64::MAX, 1400);
        assert_eq!(times, [0, 50, 150, 350, 650, 950, 1250]);
    }

    #[test]
    fn early_probes_do_not_make_unhealthy_sooner_than_the_interval_would() {
        assert_eq!(run(&check(0), u64::MAX, 2999).1.health(), Health::Starting);
        let health = run(&check(0), u64::MAX, 4000).1.health();
        assert_eq!(health, Health::Unhealthy { failures: 3, output: "no".to_owned() });
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        assert_eq!(run(&check(60_000), u64::MAX, 59_000).1.health(), Health::Starting);
    }

    #[test]
    fn what_was_healthy_needs_the_retries_in_a_row_and_one_pass_to_recover() {
        let (check, mut now) = (check(0), Now(0));
        let mut state = after_probe(HealthState::default(), ProbeResult::Passed, &check, now, now);
        let mut verdicts = Vec::new();
        for passed in [false, false, true, false, false, false, true] {
            now = next_probe(&state, &check, Now(0), now);
            let result = if passed { ProbeResult::Passed } else { ProbeResult::Failed("no".to_owned()) };
            state = after_probe(state, result, &check, Now(0), now);
            verdicts.push(state.health() == Health::Healthy);
        }
        assert_eq!(verdicts, [true, true, true, true, true, false, true]);
        assert_eq!(now, Now(7000));
    }
}
