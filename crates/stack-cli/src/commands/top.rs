//! `stack top`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use stack_model::ObservedContainer;

use super::targets;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Only these; all by default
    services: Vec<String>,
}

const HEADS: [&str; 10] = ["SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// Clock ticks in a second: what programs see of time is fixed on every architecture we run on (`USER_HZ`, time(7)).
const TICKS: u64 = 100;
/// Major number of pseudo-terminals (the kernel's devices.txt).
const PTS_MAJOR: i64 = 136;

pub(crate) fn run(context: &Context, args: &TopArgs) -> Result<u8, CliError> {
    let (project, mut containers) = targets::of_services(context, &args.services)?;
    containers.retain(ObservedContainer::is_running);
    let hierarchy = super::hierarchy()?;
    let host = HostFacts::read();
    let mut rows = Vec::new();
    for container in &containers {
        let record = &container.container;
        let mut pids = hierarchy.processes(&context.machine.layout().cgroup(&project).join(record.id.as_str()));
        pids.sort_unstable();
        for process in pids.into_iter().filter_map(Process::read) {
            let service = record.one_off.as_ref().map_or(&record.service, |one_off| &one_off.of);
            let mut row = vec![service.to_string(), record.index.to_string()];
            row.extend(process.columns(&host));
            rows.push(row);
        }
    }
    if !rows.is_empty() {
        output::result(output::table(&HEADS, &rows).as_bytes())?;
    }
    Ok(0)
}

/// What the numbers of `/proc` mean on this machine.
struct HostFacts {
    users: BTreeMap<u32, String>,
    /// When it was started, and how long ago, in seconds.
    boot: u64,
    uptime: u64,
    zone: TimeZone,
    today: jiff::civil::Date,
}

impl HostFacts {
    fn read() -> Self {
        let text = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let users = text("/etc/passwd")
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            })
            .collect();
        let boot = text("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).unwrap_or(0);
        let uptime = text("/proc/uptime").split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        let zone = TimeZone::system();
        let today = Timestamp::now().to_zoned(zone.clone()).date();
        Self { users, boot, uptime, zone, today }
    }
}

/// A process as `/proc` has it (proc_pid_stat(5)); times in clock ticks.
struct Process {
    uid: u32,
    pid: i32,
    parent: i64,
    busy: u64,
    started: u64,
    terminal: i64,
    command: String,
}

impl Process {
    /// `None` when it has ended meanwhile.
    fn read(pid: i32) -> Option<Self> {
        let directory = std::path::PathBuf::from(format!("/proc/{pid}"));
        let stat = fs_err::read_to_string(directory.join("stat")).ok()?;
        let words = fs_err::read(directory.join("cmdline")).ok()?;
        let uid = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(&directory).ok()?);
        // The name is in parentheses and may contain anything.
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<i64> = rest.split_ascii_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
        // The first of them is field 4.
        let field = |number: usize| fields.get(number - 4).copied();
        let ticks = |number| field(number).and_then(|ticks| u64::try_from(ticks).ok());
        let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let line = words.join(" ").trim_end().to_owned();
        Some(Self {
            uid,
            pid,
            parent: field(4)?,
            busy: ticks(14)? + ticks(15)?,
            started: ticks(22)?,
            terminal: field(7)?,
            command: if line.is_empty() { format!("[{name}]") } else { line },
        })
    }

    fn columns(&self, host: &HostFacts) -> [String; 8] {
        let age = host.uptime.saturating_sub(self.started / TICKS);
        let busy = self.busy / TICKS;
        let load = (self.busy * 100 / TICKS).checked_div(age).unwrap_or(0).min(99);
        [
            host.users.get(&self.uid).cloned().unwrap_or_else(|| self.uid.to_string()),
            self.pid.to_string(),
            self.parent.to_string(),
            load.to_string(),
            start_time(host, host.boot + self.started / TICKS),
            terminal_name(self.terminal),
            format!("{:02}:{:02}:{:02}", busy / 3600, busy / 60 % 60, busy % 60),
            self.command.clone(),
        ]
    }
}

/// The hour of today, or the day, as ps(1) has it.
fn start_time(host: &HostFacts, seconds: u64) -> String {
    let started = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let Some(started) = started.map(|started| started.to_zoned(host.zone.clone())) else { return "?".to_owned() };
    started.strftime(if started.date() == host.today { "%H:%M" } else { "%b%d" }).to_string()
}

fn terminal_name(device: i64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    if (PTS_MAJOR..PTS_MAJOR + 8).contains(&major) {
        format!("pts/{}", ((major - PTS_MAJOR) << 8) | minor)
    } else {
        "?".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_the_names_of_ps() {
        assert_eq!((terminal_name(0), terminal_name((136 << 8) | 3)), ("?".to_owned(), "pts/3".to_owned()));
    }

    #[test]
    fn this_process_is_found_and_one_that_is_not_there_is_not() {
        let host = HostFacts::read();
        let own = i32::try_from(std::process::id()).unwrap();
        let process = Process::read(own).unwrap();
        let columns = process.columns(&host);
        assert_eq!((columns[1].clone(), process.pid), (own.to_string(), own));
        assert!(columns[6].starts_with("00:"), "{columns:?}");
        assert!(Process::read(i32::MAX).is_none());
    }
}
