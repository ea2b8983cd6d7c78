//! The hierarchies of this machine.

#![expect(clippy::print_stderr, reason = "a skip has to be seen")]

use std::path::PathBuf;

use stack_cgroup::{CgroupError, Hierarchy};
use stack_model::{Bytes, Limits, NanoCpus};

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
    let join = hierarchy.create(&cgroup, &limits, false).unwrap();
    assert!(!join.procs.is_empty());
    assert_eq!(hierarchy.limits(&cgroup).unwrap(), limits);

    let raised = Limits { memory: Some(Bytes(128 << 20)), cpus: None, ..limits };
    hierarchy.write_limits(&cgroup, &raised).unwrap();
    assert_eq!(hierarchy.limits(&cgroup).unwrap(), raised);
    assert_eq!(hierarchy.out_of_memory_kills(&cgroup).unwrap(), 0);

    assert!(hierarchy.remove(&cgroup).unwrap());
    assert!(!hierarchy.remove(&cgroup).unwrap());
    hierarchy.remove_project(&project).unwrap();
    assert!(matches!(hierarchy.limits(&cgroup), Err(CgroupError::Read { .. })));
}

#[test]
fn a_process_joins_every_controller_and_blocks_the_removal() {
    let Some(hierarchy) = hierarchy() else { return };
    let project = project("join");
    let cgroup = project.join("c1");
    hierarchy.ensure_project(&project).unwrap();
    let join = hierarchy.create(&cgroup, &Limits::default(), false).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a process to put into the cgroup")]
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    for procs in &join.procs {
        fs_err::write(procs, child.id().to_string()).unwrap();
    }
    let inside = fs_err::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    assert_eq!(inside.lines().filter(|line| line.ends_with("join/project/c1")).count(), join.procs.len(), "{inside}");
    assert!(hierarchy.remove(&cgroup).is_err());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(hierarchy.remove(&cgroup).unwrap());
    hierarchy.remove_project(&project).unwrap();
}
