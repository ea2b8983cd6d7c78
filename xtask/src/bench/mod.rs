//! `stack` beside docker compose: the same files, the same image, in turn (A B A B), on the same machine.
//!
//! Every time is that of a whole command as a user types it, from its start to its end; only the edits of a running
//! project are measured up to the change itself, because `stack` applies them without a command.

mod archive;
mod build;
mod compose;
mod config;
mod docker;
mod edit;
mod layers;
mod memory;
mod oci;
mod pull;
mod report;
mod rest;
mod stack;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;

use crate::Outcome;
use crate::run::{self, workspace};
use compose::Shape;
use docker::Docker;
use report::{Report, Unit};
use stack::Stack;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Numbers of services
    #[arg(long, value_delimiter = ',', default_value = "1,20,100")]
    services: Vec<usize>,
    /// Only the OCI runtime, beside crun and runc
    #[arg(long, conflicts_with = "alone")]
    oci: bool,
    /// Only builds, pulls, and starts from many layers
    #[arg(long, conflicts_with = "oci")]
    images: bool,
    /// Only `config` over the corpus of real projects
    #[arg(long, conflicts_with_all = ["alone", "oci", "images"])]
    config: bool,
    /// Only `stack`, without anything beside it
    #[arg(long)]
    alone: bool,
    /// Where the results go as JSON; `target/bench.json` by default
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One of the two.
pub(crate) trait Side {
    /// Its column.
    fn name(&self) -> &'static str;
    /// A command in a project directory, not yet run.
    fn command(&self, project: &Path, words: &[&str]) -> Command;
    /// Proportional memory of every process that keeps the containers running, in bytes.
    fn helper_memory(&self) -> u64;
    /// The same of the supervisor alone, where the side has one.
    fn supervisor_memory(&self) -> Option<u64>;
    /// The memory limit that the kernel holds for the only container.
    fn memory_limit(&self, project: &Path) -> Option<u64>;
    /// Process 1 of each container of a project.
    fn processes(&self, project: &Path) -> Vec<u32>;
    /// Steps of a project that took 16 ms or more, where the side keeps count.
    fn stalls(&self, project: &Path) -> Option<u64>;
    /// Applying a saved file takes a command.
    fn needs_command(&self) -> bool;
}

/// Runs everything and prints the table.
pub(crate) fn run(args: &BenchArgs) -> Outcome {
    // Below /tmp, which the chroot of the peers shares.
    let directory = tempfile::Builder::new().prefix("stack-bench-").tempdir_in("/tmp")?;
    let binary = run::release()?;
    if args.config {
        println!("\n{}", config::measure(&binary, &peers()?, directory.path())?);
        return Ok(());
    }
    if !args.alone && !args.images {
        let report = oci::measure(&binary, &peers()?, directory.path())?;
        println!("\n{report}");
        if args.oci {
            return Ok(());
        }
    }
    let docker = if args.alone { None } else { Some(Docker::start(&peers()?)?) };
    let stack = Stack::prepare(&binary, directory.path(), docker.as_ref())?;
    let mut sides: Vec<&dyn Side> = vec![&stack];
    sides.extend(docker.as_ref().map(|docker| docker as &dyn Side));
    let mut columns: Vec<&'static str> = sides.iter().map(|side| side.name()).collect();
    if docker.is_some() {
        columns.extend(["podman", "buildah"]);
    }
    let mut report = Report::new(columns, args.rounds);
    let bench = Bench { directory: directory.path(), sides, rounds: args.rounds };
    let measured = build::measure(directory.path(), &stack, docker.as_ref(), args.rounds, &mut report);
    let measured = measured.and_then(|()| match &docker {
        Some(docker) => pull::measure(directory.path(), &binary, docker, args.rounds, &mut report),
        None => Ok(()),
    });
    let measured = measured.and_then(|()| pull::start(directory.path(), &stack, args.rounds, &mut report));
    if args.images {
        println!("\n{report}");
        return measured;
    }
    let measured = measured.and_then(|()| bench.measure(&args.services, &mut report));
    println!("\n{report}");
    let file = args.json.clone().unwrap_or_else(|| run::target().join("bench.json"));
    fs_err::write(&file, report.json())?;
    println!("written to {}", file.display());
    measured
}

/// The script that installs and starts docker beside this system: `STACK_PEERS`, else in the folder beside the checkout.
fn peers() -> Result<PathBuf, String> {
    let chosen = std::env::var_os("STACK_PEERS").map(PathBuf::from);
    let file = chosen.unwrap_or_else(|| workspace().join("../shared/peers/peers.sh"));
    if file.exists() {
        return Ok(file);
    }
    Err(format!(
        "{} is missing: name a script that runs its arguments where docker is in STACK_PEERS, or use --alone",
        file.display()
    ))
}

struct Bench<'a> {
    directory: &'a Path,
    sides: Vec<&'a dyn Side>,
    rounds: usize,
}

impl Bench<'_> {
    fn measure(&self, counts: &[usize], report: &mut Report) -> Outcome {
        for count in counts {
            self.life(&format!("{count} services"), Shape::flat(*count), report)?;
        }
        self.life("chain of 10", Shape::chain(10), report)?;
        self.life("20 services that ignore SIGTERM", Shape::deaf(20), report)?;
        edit::memory_limit(self, report)?;
        edit::image(self, report)
    }

    /// Cold up, up again, memory, down.
    fn life(&self, name: &str, shape: Shape, report: &mut Report) -> Outcome {
        println!("== {name}");
        for round in 0..self.rounds {
            for side in &self.sides {
                let mut add =
                    |what: &str, unit, value| report.add(&format!("{what}, {name}"), side.name(), unit, value);
                let project = self.project(*side, &format!("life{round}"), &compose::file(shape))?;
                rest::wait();
                add("up -d", Unit::Milliseconds, self.time(*side, &project, &["up", "-d"])?);
                add("up -d again", Unit::Milliseconds, self.time(*side, &project, &["up", "-d"])?);
                if shape.count >= 20 && !shape.deaf {
                    rest::wait();
                    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
                    add("memory of helpers", Unit::Mebibytes, mebibytes(side.helper_memory()));
                    if let Some(bytes) = side.supervisor_memory() {
                        add("memory of the supervisor", Unit::Mebibytes, mebibytes(bytes));
                    }
                }
                if let Some(stalls) = side.stalls(&project) {
                    add("steps of 16 ms and more", Unit::Times, stalls as f64);
                }
                add("down", Unit::Milliseconds, self.time(*side, &project, &["down"])?);
            }
        }
        Ok(())
    }

    /// A directory with a compose file for one side.
    fn project(&self, side: &dyn Side, name: &str, file: &str) -> Result<PathBuf, std::io::Error> {
        let project = self.directory.join(side.name()).join(name);
        fs_err::create_dir_all(&project)?;
        save(&project, file)?;
        Ok(project)
    }

    fn time(&self, side: &dyn Side, project: &Path, words: &[&str]) -> Result<f64, Box<dyn std::error::Error>> {
        let start = Instant::now();
        run::output(&mut side.command(project, words))?;
        Ok(milliseconds(start.elapsed()))
    }
}

/// Saves the way editors do.
fn save(project: &Path, file: &str) -> std::io::Result<()> {
    let part = project.join(".compose.yaml.part");
    fs_err::write(&part, file)?;
    fs_err::rename(&part, project.join("compose.yaml"))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
