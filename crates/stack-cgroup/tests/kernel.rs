//! The hierarchies of this machine.

#![expect(clippy::print_stderr, reason = "a skip has to be seen")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use stack_cgroup::{CgroupError, DeviceAccess, DeviceRule, Devices, Hierarchy, Tree};
use stack_model::{Bytes, Limits, NanoCpus};

const USUAL: Devices<'_> = Devices::Usual { and: &[] };

fn hierarchy() -> Option<Hierarchy> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP needs root");
        return None;
    }
    Some(Hierarchy::detect().expect("cgroups are mounted"))
}

fn project(name: &str) -> PathBuf {
    PathBuf::from(format!("stack-test-{}-{name}", std::process::id())).join("project")
}

#[test]
fn limits_are_held_changed_and_gone() {
    let Some(hierarchy) = hierarchy() else { return };
    let project = project("limits");
    let cgroup = project.join("c1");
    hierarchy.ensure_project(&project).unwrap();
    let limits = Limits {
        memory: Some(Bytes(64 << 20)),
        cpus: Some(NanoCpus(500_000_000)),
        pids: Some(20),
        ..Limits::default()
    };
    let join = hierarchy.create(&cgroup, &limits, USUAL).unwrap();
    assert!(!join.directories.is_empty());
    assert_eq!(hierarchy.limits(&cgroup).unwrap(), limits);

    let raised = Limits { memory: Some(Bytes(128 << 20)), cpus: None, ..limits };
    hierarchy.write_limits(&cgroup, &raised).unwrap();
    assert_eq!(hierarchy.limits(&cgroup).unwrap(), raised);
    // Memory and swap move together with memory, in either direction, whichever has to go first.
    for both in [Some(Bytes(160 << 20)), Some(Bytes(48 << 20)), None, Some(Bytes(300 << 20))] {
        let memory = both.map(|both| Bytes(both.0 / 2));
        let limits = Limits { memory, memory_and_swap: both.map(|both| Bytes(both.0 - 4096)), ..raised.clone() };
        hierarchy.write_limits(&cgroup, &limits).unwrap();
        assert_eq!(hierarchy.limits(&cgroup).unwrap(), limits);
    }
    assert_eq!(hierarchy.out_of_memory_kills(&cgroup).unwrap(), 0);

    assert!(hierarchy.remove(&cgroup).unwrap());
    assert!(!hierarchy.remove(&cgroup).unwrap());
    hierarchy.remove_project(&project).unwrap();
    assert!(matches!(hierarchy.limits(&cgroup), Err(CgroupError::Read { .. })));
}

/// A shell in the cgroup, whose script begins there with `read go`.
fn inside(join: &stack_cgroup::Join, script: &str) -> std::process::Child {
    #[expect(clippy::disallowed_methods, reason = "a process to put into the cgroup")]
    let mut child = std::process::Command::new("sh")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    for directory in &join.directories {
        fs_err::write(directory.join("cgroup.procs"), child.id().to_string()).expect("a way in");
    }
    drop(child.stdin.take());
    child
}

/// A process in the cgroup that holds `mebibytes` of memory.
fn occupy(join: &stack_cgroup::Join, mebibytes: u32) -> std::process::Child {
    let script =
        format!("read go; held=$(head -c {} /dev/zero | tr '\\0' a); echo held; sleep 60", u64::from(mebibytes) << 20);
    let mut child = inside(join, &script);
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "held\n");
    child
}

#[test]
fn a_process_joins_every_controller_and_blocks_the_removal() {
    let Some(hierarchy) = hierarchy() else { return };
    let project = project("join");
    let cgroup = project.join("c1");
    hierarchy.ensure_project(&project).unwrap();
    let join = hierarchy.create(&cgroup, &Limits::default(), USUAL).unwrap();
    let mut child = occupy(&join, 0);
    let inside = fs_err::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    assert_eq!(
        inside.lines().filter(|line| line.contains("-join") && line.ends_with("/c1")).count(),
        join.directories.len(),
        "{inside}"
    );
    assert!(hierarchy.remove(&cgroup).is_err());
    hierarchy.kill(&cgroup).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    hierarchy.kill(&cgroup).unwrap();
    assert!(hierarchy.remove(&cgroup).unwrap());
    hierarchy.kill(&cgroup).unwrap();
    hierarchy.remove_project(&project).unwrap();
}

#[test]
fn memory_below_what_is_used_is_refused_with_a_reason() {
    let Some(hierarchy) = hierarchy() else { return };
    let project = project("below");
    let cgroup = project.join("c1");
    hierarchy.ensure_project(&project).unwrap();
    let before = Limits { memory: Some(Bytes(128 << 20)), pids: Some(20), ..Limits::default() };
    let join = hierarchy.create(&cgroup, &before, USUAL).unwrap();
    let mut child = occupy(&join, 24);
    let lower = Limits { memory: Some(Bytes(8 << 20)), ..before.clone() };
    let error = hierarchy.write_limits(&cgroup, &lower).unwrap_err();
    assert!(matches!(error, CgroupError::BelowUsage { usage, .. } if usage.0 > 24 << 20), "{error:?}");
    assert_eq!(hierarchy.limits(&cgroup).unwrap().memory, before.memory);
    assert!(hierarchy.memory_peak(&cgroup).unwrap().0 > 24 << 20);
    hierarchy.kill(&cgroup).unwrap();
    child.wait().unwrap();
    hierarchy.remove(&cgroup).unwrap();
    hierarchy.remove_project(&project).unwrap();
}

/// The messages of the kernel are no device that every program expects (1:11).
const MESSAGES: &str = "c 1:11 r";

#[test]
fn devices_are_held_back_and_given_by_rules() {
    let Some(hierarchy) = hierarchy() else { return };
    let project = project("devices");
    let cgroup = project.join("c1");
    hierarchy.ensure_project(&project).unwrap();
    let rules = [MESSAGES.to_owned()];
    let allowed = [(Devices::All, "yes yes yes"), (USUAL, "yes no no"), (Devices::Usual { and: &rules }, "yes yes no")];
    for (devices, expected) in allowed {
        let join = hierarchy.create(&cgroup, &Limits::default(), devices).unwrap();
        assert_eq!(opened(&join), expected, "{devices:?}");
    }
    hierarchy.remove(&cgroup).unwrap();
    hierarchy.remove_project(&project).unwrap();
}

/// On hybrid machines version 2 holds no controllers, but takes programs.
#[test]
fn a_program_of_version_2_holds_devices_back_until_the_next_one() {
    if hierarchy().is_none() {
        return;
    }
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let Some(root) = places.into_iter().find(|place| place.join("cgroup.procs").exists()) else {
        eprintln!("SKIP needs cgroup v2");
        return;
    };
    let tree = Tree::v2_at(root);
    let cgroup = project("program");
    tree.create(&cgroup).unwrap();
    let messages: DeviceRule = MESSAGES.parse().unwrap();
    let writing = DeviceRule { access: DeviceAccess::of_letters("w"), ..messages };
    for (more, expected) in [(vec![], "yes no no"), (vec![messages], "yes yes no"), (vec![writing], "yes no yes")] {
        let rules: Vec<DeviceRule> =
            std::iter::once(DeviceRule::NOTHING).chain(DeviceRule::usual()).chain(more).collect();
        tree.restrict_devices(&cgroup, &rules).unwrap();
        assert_eq!(opened(&tree.join(&cgroup).unwrap()), expected);
    }
    let refused = DeviceRule { allow: false, kind: None, ..messages };
    tree.restrict_devices(&cgroup, &[refused]).unwrap();
    assert_eq!(opened(&tree.join(&cgroup).unwrap()), "no no no");
    tree.remove(&cgroup).unwrap();
    tree.remove(cgroup.parent().unwrap()).unwrap();
}

/// Whether a process in the cgroup can open the null device, and the messages of the kernel to read and to write.
fn opened(join: &stack_cgroup::Join) -> String {
    let script = "read go; say() { (eval \"$1\") 2>/dev/null && printf '%s' yes || printf '%s' no; }; \
                  say ': </dev/null'; printf ' '; say ': </dev/kmsg'; printf ' '; say ': >/dev/kmsg'";
    let output = inside(join, script).wait_with_output().expect("its end");
    String::from_utf8(output.stdout).expect("text")
}

/// Controllers that few containers need are joined by those that ask, also while they run.
#[test]
fn processors_and_rates_are_held_by_those_that_ask() {
    let Some(hierarchy) = hierarchy() else { return };
    let project = project("further");
    let cgroup = project.join("c1");
    hierarchy.ensure_project(&project).unwrap();
    let join = hierarchy.create(&cgroup, &Limits::default(), USUAL).unwrap();
    let mut child = occupy(&join, 0);
    let status = || fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let held = |text: &str| text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).map(str::to_owned);
    let before = held(&status());
    let one = Limits { cpuset: Some("0".to_owned()), cpu_shares: Some(512), ..Limits::default() };
    hierarchy.write_limits(&cgroup, &one).unwrap();
    assert_eq!(held(&status()).as_deref(), Some("0"));
    hierarchy.write_limits(&cgroup, &Limits::default()).unwrap();
    assert_eq!(held(&status()), before);
    hierarchy.kill(&cgroup).unwrap();
    child.wait().unwrap();
    hierarchy.remove(&cgroup).unwrap();
    hierarchy.remove_project(&project).unwrap();
}
