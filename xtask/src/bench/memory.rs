//! Memory of processes, in proportional shares: pages that several processes map count once in the sum.

/// A process of the machine.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// `comm` of proc(5), at most 15 bytes.
    pub(super) name: String,
    pub(super) executable: String,
    pub(super) arguments: Vec<String>,
}

/// Every process of the machine.
pub(super) fn processes() -> impl Iterator<Item = Process> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| describe(entry.file_name().to_str()?.parse().ok()?))
}

fn describe(pid: u32) -> Option<Process> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let arguments = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Process {
        pid,
        parent: tail.split(' ').nth(1)?.parse().ok()?,
        name: head.split_once('(')?.1.to_owned(),
        executable: fs_err::read_link(format!("/proc/{pid}/exe")).ok()?.to_string_lossy().into_owned(),
        arguments: arguments.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
    })
}

/// The sum over all processes that `counts`, in bytes.
pub(super) fn of(counts: impl Fn(&Process) -> bool) -> u64 {
    processes().filter(counts).filter_map(|process| share(process.pid)).sum()
}

/// `Pss` of smaps_rollup (proc(5)).
fn share(pid: u32) -> Option<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
