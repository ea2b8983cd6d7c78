//! What the kernel and the disk hold: compared before and after, so that nothing is left behind.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;

/// Everything that a container runtime could forget to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Interfaces of this network namespace.
    pub links: BTreeSet<String>,
    /// Mount points of this mount namespace.
    pub mounts: BTreeSet<String>,
    /// Directories named `stack*` in any cgroup hierarchy, with all below them.
    pub cgroups: BTreeSet<String>,
    /// Network, mount and PID namespaces that a process is in.
    pub namespaces: BTreeSet<String>,
    /// Tables of nftables.
    pub tables: BTreeSet<String>,
}

impl Inventory {
    /// Looks at the machine.
    pub fn take() -> Self {
        Self {
            links: links(),
            mounts: mounts(),
            cgroups: names("/sys/fs/cgroup").iter().chain([&String::new()]).flat_map(|name| cgroups(name)).collect(),
            namespaces: namespaces(),
            tables: tables(),
        }
    }

    /// What `after` has that `self` has not, one line each; empty when nothing was left behind.
    pub fn left_behind(&self, after: &Self) -> Vec<String> {
        let pairs = [
            ("link", &self.links, &after.links),
            ("mount", &self.mounts, &after.mounts),
            ("cgroup", &self.cgroups, &after.cgroups),
            ("namespace", &self.namespaces, &after.namespaces),
            ("nft table", &self.tables, &after.tables),
        ];
        let new = |(kind, before, after): (&str, &BTreeSet<String>, &BTreeSet<String>)| {
            after.difference(before).map(|name| format!("{kind} {name}")).collect::<Vec<_>>()
        };
        pairs.into_iter().flat_map(new).collect()
    }
}

fn names(directory: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// From `/proc`, which shows the reader's own network; `/sys` shows that of whoever mounted it.
fn links() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    // systemd mounts these for its services, whenever it starts one.
    points.filter(|point| !point.starts_with("/run/credentials/")).map(str::to_owned).collect()
}

/// The cgroups that could be ours below one hierarchy.
fn cgroups(hierarchy: &str) -> Vec<String> {
    let base = Path::new("/sys/fs/cgroup").join(hierarchy);
    let ours = names(&base.to_string_lossy()).into_iter().filter(|name| name.starts_with("stack"));
    ours.flat_map(|name| tree(&base.join(name))).collect()
}

fn tree(directory: &Path) -> Vec<String> {
    let mut all = vec![directory.display().to_string()];
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(tree(&entry.path()));
        }
    }
    all
}

fn namespaces() -> BTreeSet<String> {
    let pids = names("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let links = pids.flat_map(|pid| ["net", "mnt", "pid"].map(|kind| format!("/proc/{pid}/ns/{kind}")));
    links.filter_map(|link| Some(fs::read_link(link).ok()?.display().to_string())).collect()
}

/// Tables as `nft` lists them: an independent reader of what we write.
fn tables() -> BTreeSet<String> {
    #[expect(clippy::disallowed_methods, reason = "an independent reader of the rules")]
    let output = std::process::Command::new("nft").args(["list", "tables"]).output();
    let Ok(output) = output else { return BTreeSet::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
