//! Processes as ps(1) shows them.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};

/// Clock ticks in a second: what programs see of time is fixed on every architecture we run on (`USER_HZ`, time(7)).
const TICKS: u64 = 100;
/// Major number of pseudo-terminals (the kernel's devices.txt).
const PTS_MAJOR: i64 = 136;

/// What the numbers of `/proc` mean on this machine.
#[derive(Debug)]
pub struct HostFacts {
    users: BTreeMap<u32, String>,
    /// When it was started, and how long ago, in seconds.
    boot: u64,
    uptime: u64,
    zone: TimeZone,
    today: jiff::civil::Date,
}

impl HostFacts {
    /// Reads them.
    pub fn read() -> Self {
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
#[derive(Debug)]
pub struct ProcessRow {
    uid: u32,
    pid: i32,
    parent: i64,
    busy: u64,
    started: u64,
    terminal: i64,
    /// One letter.
    state: String,
    command: String,
}

impl ProcessRow {
    /// `None` when it has ended meanwhile.
    pub fn read(pid: i32) -> Option<Self> {
        let directory = std::path::PathBuf::from(format!("/proc/{pid}"));
        let stat = fs_err::read_to_string(directory.join("stat")).ok()?;
        let words = fs_err::read(directory.join("cmdline")).ok()?;
        let uid = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(&directory).ok()?);
        // The name is in parentheses and may contain anything.
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let state = rest.split_ascii_whitespace().next()?.to_owned();
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
            state,
            command: if line.is_empty() { format!("[{name}]") } else { line },
        })
    }

    /// User, id, parent, load in percent, start, terminal, processor time, command: `ps -ef` of ps(1).
    pub fn columns(&self, host: &HostFacts) -> [String; 8] {
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

    /// Id, terminal, state, processor time, command: `ps x` of ps(1).
    pub fn short_columns(&self) -> [String; 5] {
        let busy = self.busy / TICKS;
        [
            self.pid.to_string(),
            terminal_name(self.terminal),
            self.state.clone(),
            format!("{}:{:02}", busy / 60, busy % 60),
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
        let process = ProcessRow::read(own).unwrap();
        let columns = process.columns(&host);
        assert_eq!((columns[1].clone(), process.pid), (own.to_string(), own));
        assert!(columns[6].starts_with("00:"), "{columns:?}");
        let short = process.short_columns();
        assert_eq!((&short[0], short[3].as_bytes()[1]), (&columns[1], b':'));
        assert!(ProcessRow::read(i32::MAX).is_none());
    }
}
