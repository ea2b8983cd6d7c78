//! `stack stats`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::Timespec;
use serde_json::json;
use stack_cgroup::{Hierarchy, Usage};
use stack_model::{Bytes, ContainerId, ObservedContainer, ProjectName, State};

use super::{Format, shown_size, targets};
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Between two looks: what a percentage of processor time is a mean of.
const PERIOD: Duration = Duration::from_secs(1);
/// Puts the cursor into the corner and clears the screen (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Options of `stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Containers that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Once, instead of again and again
    #[arg(long)]
    no_stream: bool,
    /// Whole identifiers
    #[arg(long)]
    no_trunc: bool,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only these; all by default
    services: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &StatsArgs) -> Result<u8, CliError> {
    let hierarchy = super::hierarchy()?;
    let memory = machine_memory();
    let mut before: BTreeMap<ContainerId, Sample> = BTreeMap::new();
    let mut is_first = true;
    loop {
        let (project, mut containers) = targets::of_services(context, &args.services)?;
        containers.retain(|container| args.all || container.is_running());
        let samples: BTreeMap<ContainerId, Sample> = containers
            .iter()
            .map(|it| (it.container.id.clone(), Sample::take(context, &hierarchy, (&project, it))))
            .collect();
        if !is_first {
            let lines: Vec<Line> = containers
                .iter()
                .filter_map(|it| Line::new(it, before.get(&it.container.id), samples.get(&it.container.id)?, memory))
                .collect();
            show(args, &lines)?;
            if args.no_stream {
                return Ok(0);
            }
        }
        (before, is_first) = (samples, false);
        let _ = rustix::event::poll(&mut [], Timespec::try_from(PERIOD).ok().as_ref());
    }
}

fn show(args: &StatsArgs, lines: &[Line]) -> Result<(), CliError> {
    let text = match args.format {
        Format::Json => lines.iter().map(|line| format!("{}\n", line.json(args.no_trunc))).collect(),
        Format::Table => {
            let rows: Vec<Vec<String>> = lines.iter().map(|line| line.row(args.no_trunc)).collect();
            output::table(&HEADS, &rows)
        }
    };
    let in_place = !args.no_stream && args.format == Format::Table && std::io::stdout().is_terminal();
    output::result(format!("{}{text}", if in_place { CLEAR } else { "" }).as_bytes())
}

/// What a container had used at a moment.
struct Sample {
    at: Instant,
    usage: Usage,
    /// Bytes received and sent on its interfaces.
    network: (u64, u64),
    /// Bytes that the processes that are there now have read from and written to disks.
    disk: (u64, u64),
}

impl Sample {
    fn take(context: &Context, hierarchy: &Hierarchy, (project, it): (&ProjectName, &ObservedContainer)) -> Self {
        let cgroup = context.machine.layout().cgroup(project).join(it.container.id.as_str());
        let pids = hierarchy.processes(&cgroup);
        let network = match it.state {
            State::Running { pid, .. } => network(&read(&format!("/proc/{pid}/net/dev"))),
            State::Creating | State::Created | State::Exited { .. } | State::Removing => (0, 0),
        };
        let disks = pids.iter().map(|pid| disk(&read(&format!("/proc/{pid}/io"))));
        let disk = disks.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        Self { at: Instant::now(), usage: hierarchy.usage(&cgroup), network, disk }
    }
}

fn read(path: &str) -> String {
    fs_err::read_to_string(path).unwrap_or_default()
}

/// proc_pid_net(5): after the name the bytes received are the first number, those sent the ninth.
fn network(text: &str) -> (u64, u64) {
    let interfaces = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    interfaces.fold((0, 0), |(received, sent), (_, rest)| {
        let numbers: Vec<u64> = rest.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        let number = |place: usize| numbers.get(place).copied().unwrap_or(0);
        (received + number(0), sent + number(8))
    })
}

/// proc_pid_io(5).
fn disk(text: &str) -> (u64, u64) {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0);
    (field("read_bytes:"), field("write_bytes:"))
}

/// All memory of the machine: the limit of a container without one.
fn machine_memory() -> Bytes {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Bytes(kibibytes.unwrap_or(0) << 10)
}

const HEADS: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];

/// A container in the columns of docker.
struct Line {
    id: ContainerId,
    name: String,
    /// In percent of one processor.
    cpu: f64,
    memory: Bytes,
    limit: Bytes,
    network: (u64, u64),
    disk: (u64, u64),
    tasks: u64,
}

impl Line {
    /// `None` for a container that has just come: there is nothing to compare it with.
    fn new(it: &ObservedContainer, before: Option<&Sample>, sample: &Sample, machine: Bytes) -> Option<Self> {
        let before = before?;
        let nanos = sample.at.duration_since(before.at).as_nanos().max(1) as f64;
        let limit = it.container.spec.limits.memory.unwrap_or(machine).min(machine);
        Some(Self {
            id: it.container.id.clone(),
            name: it.container.name.clone(),
            cpu: sample.usage.cpu_nanos.saturating_sub(before.usage.cpu_nanos) as f64 * 100.0 / nanos,
            memory: sample.usage.memory,
            limit,
            network: sample.network,
            disk: sample.disk,
            tasks: sample.usage.tasks,
        })
    }

    fn cells(&self, no_trunc: bool) -> [String; 8] {
        let pair = |(one, other): (u64, u64)| format!("{} / {}", shown_size(Bytes(one)), shown_size(Bytes(other)));
        let share = if self.limit.0 == 0 { 0.0 } else { self.memory.0 as f64 * 100.0 / self.limit.0 as f64 };
        [
            if no_trunc { self.id.to_string() } else { self.id.short().to_owned() },
            self.name.clone(),
            format!("{:.2}%", self.cpu),
            pair((self.memory.0, self.limit.0)),
            format!("{share:.2}%"),
            pair(self.network),
            pair(self.disk),
            self.tasks.to_string(),
        ]
    }

    fn row(&self, no_trunc: bool) -> Vec<String> {
        self.cells(no_trunc).to_vec()
    }

    fn json(&self, no_trunc: bool) -> serde_json::Value {
        let [id, name, cpu, usage, share, network, disk, tasks] = self.cells(no_trunc);
        json!({
            "BlockIO": disk,
            "CPUPerc": cpu,
            "Container": self.name,
            "ID": id,
            "MemPerc": share,
            "MemUsage": usage,
            "Name": name,
            "NetIO": network,
            "PIDs": tasks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_traffic() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo:  10 1 0 0 0 0 0 0  10 1 0 0 0 0 0 0\n  \
                    eth0: 700 1 0 0 0 0 0 0  80 1 0 0 0 0 0 0\n";
        assert_eq!(network(text), (700, 80));
        assert_eq!(disk("rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\n"), (4096, 8192));
    }
}
