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

/// The sum of resident sets of processes by their names, in bytes: `VmRSS` of proc(5), cheap enough to ask for often.
pub(super) fn resident(counts: impl Fn(&str) -> bool) -> u64 {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    let status = |pid: u32| fs_err::read_to_string(format!("/proc/{pid}/status")).ok();
    let all = entries.filter_map(|entry| status(entry.file_name().to_str()?.parse().ok()?));
    let size = |text: String| {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        field("Name:").filter(|name| counts(name))?;
        field("VmRSS:")?.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    all.filter_map(size).sum::<u64>() * 1024
}
