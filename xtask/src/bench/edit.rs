//! From the save of the file to the change in the kernel.

use std::path::Path;
use std::time::{Duration, Instant};

use super::compose::{IMAGE, OTHER_IMAGE, OTHER_MARK, limited};
use super::report::{Report, Unit};
use super::{Bench, Side, milliseconds, save};
use crate::{Outcome, run};

/// A change that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the kernel: small against what is measured.
const PAUSE: Duration = Duration::from_micros(200);

/// One memory limit is edited.
pub(super) fn memory_limit(bench: &Bench<'_>, report: &mut Report) -> Outcome {
    let applied = |side: &dyn Side, project: &Path| side.memory_limit(project) == Some(96 << 20);
    edit(bench, report, "edited memory limit", &limited(IMAGE, 96), &applied)
}

/// One image is edited.
pub(super) fn image(bench: &Bench<'_>, report: &mut Report) -> Outcome {
    let applied = |side: &dyn Side, project: &Path| side.processes(project).iter().any(|pid| runs_other(*pid));
    edit(bench, report, "edited image", &limited(OTHER_IMAGE, 64), &applied)
}

fn runs_other(pid: u32) -> bool {
    // The program itself, not a stage before it.
    let is_shell = fs_err::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sh\0"));
    let environment = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    is_shell && environment.split(|byte| *byte == 0).any(|variable| variable == OTHER_MARK.as_bytes())
}

fn edit(
    bench: &Bench<'_>,
    report: &mut Report,
    name: &str,
    edited: &str,
    applied: &dyn Fn(&dyn Side, &Path) -> bool,
) -> Outcome {
    println!("== {name}");
    for round in 0..bench.rounds {
        for side in &bench.sides {
            let project = bench.project(*side, &format!("edit{round}"), &limited(IMAGE, 64))?;
            bench.time(*side, &project, &["up", "-d"])?;
            let start = Instant::now();
            save(&project, edited)?;
            if side.needs_command() {
                run::output(&mut side.command(&project, &["up", "-d"]))?;
            }
            // What docker says is asked with a command; its time is not the edit's.
            let mut end = start.elapsed();
            while !applied(*side, &project) {
                if start.elapsed() > PATIENCE {
                    return Err(format!("{}: {name} was not applied in {PATIENCE:?}", side.name()).into());
                }
                std::thread::park_timeout(PAUSE);
                end = start.elapsed();
            }
            report.add(
                name,
                side.name(),
                Unit::Milliseconds,
                milliseconds(if side.needs_command() { end } else { start.elapsed() }),
            );
            bench.time(*side, &project, &["down"])?;
        }
    }
    Ok(())
}
