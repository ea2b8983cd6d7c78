//! Builds: a Dockerfile of twenty steps, nothing made before, and everything. `buildah` keeps no steps unless it is told to,
//! and builds from nothing only.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use super::docker::Docker;
use super::report::{Report, Unit};
use super::stack::Stack;
use super::{Side, milliseconds};
use crate::Outcome;
use crate::run;

/// Pairs of COPY and RUN.
const PAIRS: usize = 10;
/// Builds after the cold one, in turn: the first still finds what that one has not written back.
const WARM_BUILDS: usize = 5;
/// Bytes of each file that is copied.
const FILE_BYTES: usize = 200_000;
/// How `buildah` builds on a machine with cgroups of both versions, where limits cannot be raised.
const BUILDAH: [&str; 12] = [
    "buildah",
    "build",
    "-q",
    "--no-cache",
    "--pull=never",
    "--isolation",
    "chroot",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1000:1000",
    "-t",
];

/// Builds with both in turn.
pub(super) fn measure(
    directory: &Path,
    stack: &Stack,
    docker: Option<&Docker>,
    rounds: usize,
    report: &mut Report,
) -> Outcome {
    println!("== build of {} steps", 2 * PAIRS);
    let context = directory.join("build");
    fs_err::create_dir_all(&context)?;
    let mut text = format!("FROM {}\n", super::compose::IMAGE);
    for pair in 0..PAIRS {
        fs_err::write(context.join(format!("file{pair}")), vec![u8::try_from(pair)?; FILE_BYTES])?;
        writeln!(text, "COPY file{pair} /files/{pair}\nRUN echo {pair} > /made{pair}")?;
    }
    fs_err::write(context.join("Dockerfile"), text)?;
    if let Some(docker) = docker {
        let image = super::compose::IMAGE;
        let theirs = format!("containers-storage:localhost/{image}");
        docker.run(&["skopeo", "copy", "-q", &format!("docker-daemon:{image}"), &theirs])?;
    }
    for _ in 0..rounds {
        let warm = std::iter::repeat_n(("build of 20 steps, all made before", false), WARM_BUILDS);
        for (name, cold) in std::iter::once(("build of 20 steps, cold", true)).chain(warm) {
            let fresh: &[&str] = if cold { &["--no-cache"] } else { &[] };
            let begin = Instant::now();
            run::output(&mut stack.command(&context, &[&["build", "-q", "-t", "bench20"], fresh, &["."]].concat()))?;
            report.add(name, stack.name(), Unit::Milliseconds, milliseconds(begin.elapsed()));
            let Some(docker) = docker else { continue };
            let place = context.display().to_string();
            let begin = Instant::now();
            docker.run(&[&["docker", "build", "-q", "-t", "bench20"], fresh, &[place.as_str()]].concat())?;
            report.add(name, docker.name(), Unit::Milliseconds, milliseconds(begin.elapsed()));
            if cold {
                let begin = Instant::now();
                docker.run(&[&BUILDAH[..], &["bench20", place.as_str()]].concat())?;
                report.add(name, "buildah", Unit::Milliseconds, milliseconds(begin.elapsed()));
            }
        }
    }
    Ok(())
}
