//! Health checks: when to probe comes from `stack-plan`'s reducer, how is here.

use std::os::fd::AsFd;
use std::time::Duration;

use stack_engine::Wake;
use stack_model::{ContainerId, Event, Health, Healthcheck, Now, Probe};
use stack_plan::health::{HealthState, ProbeResult, after_probe, next_probe};
use stack_runtime::ExecOptions;
use tokio::io::AsyncReadExt;

use crate::exits::wait_end;
use crate::host::Shared;
use crate::inside::{self, Inside};
use crate::supervisor::now;

/// Between two looks whether a container that is due for a probe is still frozen.
const PAUSED_REST: Duration = Duration::from_millis(500);
/// What is kept of a probe's output.
const OUTPUT_BYTES_MAX: u64 = 4096;

/// Probes a container for as long as the task lives.
pub(crate) async fn watch_health(shared: Shared, id: ContainerId, check: Healthcheck, started: Now) {
    let mut state = HealthState::default();
    publish(&shared, &id, &state.health());
    loop {
        let at = next_probe(&state, &check, started, now());
        tokio::time::sleep(Duration::from_millis(at.since(now()).0)).await;
        if is_paused(&shared, &id) {
            tokio::time::sleep(PAUSED_REST).await;
            continue;
        }
        let result = run_probe(&shared, &id, &check).await;
        state = after_probe(state, result, &check, started, now());
        publish(&shared, &id, &state.health());
    }
}

/// A frozen container answers no probe, and its last verdict stands.
fn is_paused(shared: &Shared, id: &ContainerId) -> bool {
    shared.world.borrow().containers.get(id).is_some_and(|resident| resident.paused)
}

/// Makes a verdict known; says it only when it changed.
fn publish(shared: &Shared, id: &ContainerId, health: &Health) {
    let event = {
        let mut world = shared.world.borrow_mut();
        let Some(resident) = world.containers.get_mut(id) else { return };
        let same = std::mem::discriminant(&resident.health) == std::mem::discriminant(health);
        resident.health.clone_from(health);
        if same {
            return;
        }
        Event::Health {
            id: id.clone(),
            service: resident.container.service.clone(),
            index: resident.container.index,
            health: health.clone(),
        }
    };
    shared.wake(Wake::Tell(event));
    shared.wake(Wake::Dirty);
}

/// Runs one probe; a probe that takes too long is killed and counts as failed.
async fn run_probe(shared: &Shared, id: &ContainerId, check: &Healthcheck) -> ProbeResult {
    let argv = match &check.probe {
        Probe::None => return ProbeResult::Passed,
        Probe::Exec(argv) => argv.clone(),
        Probe::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
    };
    match exec_probe(shared, id, argv, Duration::from_millis(check.timeout.0)).await {
        Ok((Some(0), _)) => ProbeResult::Passed,
        Ok((Some(code), output)) => ProbeResult::Failed(format!("exit code {code}: {output}")),
        Ok((None, output)) => ProbeResult::Failed(format!("no answer within {}: {output}", check.timeout)),
        Err(text) => ProbeResult::Failed(text),
    }
}

/// The exit code (`None`: timed out) and the beginning of the output of a program run inside a container.
async fn exec_probe(
    shared: &Shared,
    id: &ContainerId,
    argv: Vec<String>,
    timeout: Duration,
) -> Result<(Option<i32>, String), String> {
    let options = ExecOptions { argv, ..ExecOptions::default() };
    let Inside { pidfd, output } = inside::start(shared, id, options).await?;
    let mut said = Vec::new();
    let ended = tokio::time::timeout(timeout, async {
        let mut limited = output.take(OUTPUT_BYTES_MAX);
        tokio::join!(limited.read_to_end(&mut said), wait_end(&pidfd)).1
    });
    let code = match ended.await {
        Ok(_) => Some(stack_runtime::exit_of(pidfd.as_fd()).shell_code()),
        Err(_) => {
            // It may have ended in this very moment.
            drop(stack_runtime::signal(pidfd.as_fd(), 9));
            drop(wait_end(&pidfd).await);
            stack_runtime::exit_of(pidfd.as_fd());
            None
        }
    };
    Ok((code, String::from_utf8_lossy(&said).trim_end().to_owned()))
}
