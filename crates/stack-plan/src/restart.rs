//! What follows when a process has ended.

use stack_model::{
    Cause, ContainerSpec, Exit, Millis, Now, ObservedContainer, RestartPolicy, Restarts, Service, State,
};

/// The first pause of a crash loop.
const FIRST_PAUSE: Millis = Millis(100);
/// The longest pause, for crash loops and failed operations alike.
const LONGEST_PAUSE: Millis = Millis(30_000);
/// A run of this length ends a crash loop.
const STABLE_RUN: Millis = Millis(10_000);
/// SIGKILL, signal(7).
const SIGKILL: i32 = 9;

/// The pause before attempt `count` + 1: 100 ms, doubling, at most 30 s.
pub fn backoff(count: u32) -> Millis {
    let pause = 1_u64.checked_shl(count.min(32)).and_then(|factor| FIRST_PAUSE.0.checked_mul(factor));
    Millis(pause.map_or(LONGEST_PAUSE.0, |pause| pause.min(LONGEST_PAUSE.0)))
}

/// What to do about a container whose process has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AfterExit {
    /// Leave it; the text is a warning.
    Stay(Option<String>),
    /// Start it.
    Start(Cause),
    /// Start it at that time.
    Wait(Now, String),
}

/// Restarts of the crash loop that a container is in: none after a stable run, nor for a container that is younger.
pub(crate) fn loop_count(restarts: Option<&Restarts>, container: &ObservedContainer, window: Option<Millis>) -> u32 {
    let Some(restarts) = restarts else { return 0 };
    let stable = match container.state {
        State::Exited { started, finished, .. } => finished.since(started) >= window.unwrap_or(STABLE_RUN),
        State::Creating | State::Created | State::Running { .. } | State::Removing => false,
    };
    if stable || restarts.last < container.container.created { 0 } else { restarts.count }
}

/// Nobody watched: the supervisor was killed too. What should run is not left down for that.
fn is_unseen(exit: Exit) -> bool {
    exit.code.is_none() && exit.signal.is_none()
}

/// Something else than the program, its limits or its user has ended it.
fn is_drift(exit: Exit) -> bool {
    (exit.signal == Some(SIGKILL) || is_unseen(exit)) && !exit.out_of_memory
}

/// A container of `wanted` that was restarted so often in a row already is not started again after it has ended like
/// this, without being asked to.
pub fn stays_down(wanted: &ContainerSpec, exit: Exit, restarts: u32) -> bool {
    match wanted.restart {
        _ if is_drift(exit) => false,
        RestartPolicy::No => true,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => false,
        RestartPolicy::OnFailure(_) if exit.code == Some(0) => true,
        RestartPolicy::OnFailure(most) => most.is_some_and(|most| restarts >= most),
    }
}

/// Decides for a container of `service`, given that it should run.
pub(crate) fn after_exit(
    service: &Service,
    container: &ObservedContainer,
    restarts: Option<&Restarts>,
    now: Now,
) -> AfterExit {
    let State::Exited { exit, finished, .. } = container.state else { return AfterExit::Stay(None) };
    let (wanted, asked) = (&service.container, service.start_request);
    let is_asked_for = finished < asked.at && (asked.done_too || exit.code != Some(0));
    if exit.requested || is_asked_for {
        return AfterExit::Start(Cause::Requested("start".to_owned()));
    }
    let policy = wanted.restart;
    let count = loop_count(restarts, container, wanted.restart_window);
    if is_drift(exit) {
        // Once is an accident and is mended at once; again and again is a loop.
        let pause = if count == 0 { Millis(0) } else { backoff(count - 1) };
        let what = if is_unseen(exit) { "ended while nobody watched" } else { "killed from outside" };
        return after_pause(Cause::Drift(what.to_owned()), finished.plus(pause), exit, now);
    }
    if !stays_down(wanted, exit, count) {
        let pause = wanted.restart_delay.unwrap_or_else(|| backoff(count));
        return after_pause(Cause::Policy(exit.to_string()), finished.plus(pause), exit, now);
    }
    let name = format!("{}/{}", container.container.service, container.container.index);
    AfterExit::Stay((exit.code != Some(0)).then(|| match policy {
        RestartPolicy::OnFailure(_) => format!("{name} stays down after {count} restarts: {exit}"),
        RestartPolicy::No | RestartPolicy::Always | RestartPolicy::UnlessStopped => {
            format!("{name} has ended ({exit}) and its restart policy is `no`")
        }
    }))
}

fn after_pause(cause: Cause, at: Now, exit: Exit, now: Now) -> AfterExit {
    if now >= at { AfterExit::Start(cause) } else { AfterExit::Wait(at, format!("back-off after {exit}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 8, 9, 31, 32, u32::MAX].map(|count| backoff(count).0).to_vec();
        assert_eq!(pauses, [100, 200, 400, 800, 25_600, 30_000, 30_000, 30_000, 30_000]);
    }
}
