//! Images, programs and accidents that mean harm.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stack_cgroup::Hierarchy;
use stack_model::{
    Container, Ending, Exit, Layout, NotExecuted, OutOfMemory, ProjectName, ResolvedMount, ResolvedSource, State,
    VolumeName,
};
use stack_runtime::{ExecOptions, RuntimeError, Spawner, StartSpec, complete_exit, ending_of_failure, exit_of};

use crate::bed::{Bed, container, end, wait};

/// The first argument that makes this program a supervisor of one container.
pub(crate) const SUPERVISE: &str = "supervise-one";

/// Starts the container whose record it is told, and waits to be killed.
pub(crate) fn supervise_main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let [root, run, layer, record] = words.as_slice() else { return ExitCode::from(2) };
    let spawner = Spawner::start(&std::env::current_exe().expect("a path")).expect("a spawner");
    let layout = Layout { root: root.into(), run: run.into() };
    let container: Container = serde_json::from_str(record).expect("a record");
    let (project, hierarchy) = (ProjectName::new("bed"), Hierarchy::detect().expect("cgroups"));
    let netns = fs_err::File::open("/proc/self/ns/net").expect("a namespace");
    let started = spawner.start_container(&StartSpec {
        layout: &layout,
        project: &project,
        container: &container,
        layers: vec![layer.into()],
        netns: Some(netns.file().as_fd()),
        mounted_layers: std::collections::BTreeMap::new(),
        pid_of: None,
        ipc_of: None,
        files: Vec::new(),
        hierarchy: &hierarchy,
        cgroup: layout.cgroup(&project).join(container.id.as_str()),
    });
    println!("{}", started.is_ok());
    // Until the test closes its end, or kills.
    drop(std::io::stdin().read_line(&mut String::new()));
    ExitCode::SUCCESS
}

#[expect(clippy::disallowed_methods, reason = "a supervisor that can be killed is another process")]
fn supervise(bed: &Bed, container: &Container) -> Child {
    stack_runtime::create_container(&bed.layout, &bed.project, container).expect("a record");
    Command::new(std::env::current_exe().expect("a path"))
        .arg(SUPERVISE)
        .args([&bed.layout.root, &bed.layout.run, &bed.layer()])
        .arg(serde_json::to_string(container).expect("a record"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a supervisor")
}

fn state(bed: &Bed, container: &Container) -> State {
    let all = stack_runtime::observe_containers(&bed.layout, &bed.project).expect("records");
    all.into_iter().find(|(found, _)| found.id == container.id).expect("it is there").1
}

/// Waits until something is so; there is no event for it.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

pub(crate) fn a_killed_supervisor_leaves_no_process_that_nobody_knows(bed: &Bed) {
    for micros in (0..24).map(|step| step * 700) {
        let sleeper = container(&format!("sleep 1000 # {micros}"));
        let cgroup = bed.layout.cgroup(&bed.project).join(sleeper.id.as_str());
        let procs = bed.hierarchy.directories(&cgroup).remove(0).join("cgroup.procs");
        let inside = || fs_err::read_to_string(&procs).unwrap_or_default();
        let mut supervisor = supervise(bed, &sleeper);
        // Killed at another moment of the start each time, beginning with the first sign of it.
        eventually("its cgroup is made", || procs.exists());
        let moment = Instant::now() + Duration::from_micros(micros);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        supervisor.kill().expect("a signal");
        supervisor.wait().expect("its end");
        eventually("what runs is known, or nothing runs", || match state(bed, &sleeper) {
            State::Running { pid, .. } => inside().split_whitespace().any(|one| one == pid.to_string()),
            State::Creating | State::Created | State::Exited { .. } | State::Removing => inside().is_empty(),
        });
    }
}

pub(crate) fn an_adopted_container_still_tells_its_exit_code(bed: &Bed) {
    let program = container("trap 'exit 7' TERM; echo ready; while true; do sleep 0.01; done");
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &program.id).expect("pipes");
    let mut supervisor = supervise(bed, &program);
    wait(&output);
    supervisor.kill().expect("a signal");
    supervisor.wait().expect("its end");
    let adopted = stack_runtime::adopt(&bed.layout, &bed.project, &program.id).expect("a process").expect("it runs");
    stack_runtime::signal(adopted.pidfd.as_fd(), 15).expect("a signal");
    wait(&adopted.pidfd);
    assert_eq!(exit_of(adopted.pidfd.as_fd()), Exit { code: Some(7), ..Exit::default() });
}

fn volume(bed: &Bed, name: &str) -> (ResolvedMount, PathBuf) {
    let name = VolumeName::new(name);
    let data = bed.layout.volume_data(&name);
    fs_err::create_dir_all(&data).expect("a volume");
    let source = ResolvedSource::Volume { name, copy: true };
    (ResolvedMount { source, target: "/data".to_owned(), read_only: false }, data)
}

/// CVE-2021-30465: the container that has the volume already swaps a directory for a link under the copy.
pub(crate) fn a_volume_that_changes_under_the_copy_does_not_lead_out(bed: &Bed) {
    let outside = bed.directory.path().join("outside");
    fs_err::create_dir(&outside).expect("a directory");
    for name in ["data/sub", "data/sub/deeper"] {
        fs_err::create_dir(bed.layer().join(name)).expect("a directory");
        for number in 0..40 {
            fs_err::write(bed.layer().join(name).join(format!("file-{number}")), "1").expect("a file");
        }
    }
    let (mount, data) = volume(bed, "bed_shared");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if fs_err::rename(data.join("sub"), data.join("aside")).is_ok() {
                    drop(fs_err::os::unix::fs::symlink(&outside, data.join("sub")));
                }
            }
        });
        for number in 0..40 {
            let mut filled = container(&format!("true {number}"));
            filled.mounts = vec![mount.clone()];
            // Whether the copy works is a matter of luck; where it goes is not.
            drop(bed.start(&filled).map(|started| end(&started)));
            for entry in fs_err::read_dir(&data).expect("the volume").flatten() {
                let path = entry.path();
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                drop(if is_directory { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) });
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs_err::read_dir(&outside).expect("it is there").count(), 0);
}

pub(crate) fn probe(bed: &Bed, container: &Container, argv: &[&str]) -> Result<Exit, String> {
    let (_reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    let place = (&bed.layout, &bed.project, container);
    let started = stack_runtime::exec_quietly(
        &bed.spawner,
        &bed.hierarchy,
        place,
        &ExecOptions { argv, ..ExecOptions::default() },
        writer,
    );
    started.map(|started| end(&started)).map_err(|error| error.to_string())
}

/// Every file that is read on behalf of a probe is the container's, and a pipe in its place has no end.
pub(crate) fn pipes_in_place_of_files_do_not_stop_a_probe(bed: &Bed) {
    let hostile = container(
        "mkfifo /bin/pipe && chmod 755 /bin/pipe; for f in /etc/passwd /etc/group /dev/null; do rm -f $f; mkfifo $f; done; \
         echo ready; sleep 1000",
    );
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &hostile.id).expect("pipes");
    bed.start(&hostile).expect("it starts");
    wait(&output);
    assert_eq!(probe(bed, &hostile, &["/bin/true"]), Ok(Exit { code: Some(0), ..Exit::default() }));
    assert_eq!(
        probe(bed, &hostile, &["/bin/pipe"]),
        Err("cannot execute /bin/pipe: it is not executable: permission denied".to_owned())
    );
}

pub(crate) fn names_of_any_length_fit_into_a_report(bed: &Bed) {
    let mut long = container("long");
    long.process.argv = vec![format!("/bin/{}", "x".repeat(100_000))];
    let error = bed.start(&long).expect_err("there is no such program").to_string();
    assert!(error.starts_with("cannot execute /bin/xxx") && error.len() < 2000, "{error}");
    assert_eq!(state(bed, &long), State::Created);
}

/// CVE-2019-5736: the file that process 1 runs from is not the host's.
pub(crate) fn process_one_of_ours_runs_sealed_and_without_power(bed: &Bed) {
    let mut front = container("echo ready; sleep 1000");
    front.spec.init = true;
    let started = bed.start(&front).expect("it starts");
    let status = fs_err::read_to_string(format!("/proc/{}/status", started.pid)).expect("status");
    for name in ["CapInh", "CapAmb"] {
        assert!(status.contains(&format!("{name}:\t{:016x}", 0)), "{status}");
    }
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        // Bit 5 is CAP_KILL.
        assert!(status.contains(&format!("{name}:\t{:016x}", 1 << 5)), "{status}");
    }
    let program = fs_err::OpenOptions::new().write(true).open(format!("/proc/{}/exe", started.pid));
    assert!(program.is_err(), "the program can be written");
    let descriptors = fs_err::read_dir(format!("/proc/{}/fd", started.pid)).expect("descriptors").flatten();
    let targets: Vec<PathBuf> = descriptors.filter_map(|entry| fs_err::read_link(entry.path()).ok()).collect();
    let harmless = |path: &PathBuf| {
        let path = path.to_string_lossy();
        path == "/dev/null" || path.starts_with("anon_inode:") || path.contains("/std")
    };
    assert!(targets.iter().all(harmless), "{targets:?}");
}

pub(crate) fn real_time_signals_reach_a_program_behind_process_one(bed: &Bed) {
    let mut front = container("trap 'exit 6' 37; echo ready; while true; do sleep 0.01; done");
    front.spec.init = true;
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &front.id).expect("pipes");
    let started = bed.start(&front).expect("it starts");
    wait(&output);
    stack_runtime::signal(started.pidfd.as_fd(), 37).expect("a signal");
    assert_eq!(end(&started).code, Some(6));
    let mut front = container("echo ready; kill -38 $$; sleep 1000");
    front.spec.init = true;
    let started = bed.start(&front).expect("it starts");
    assert_eq!(end(&started).code, Some(128 + 38));
}

/// CVE-2026-41579 and CVE-2025-54867: the places of the system's own mounts are real directories or nothing.
pub(crate) fn images_with_links_for_system_directories_are_refused(bed: &Bed) {
    let outside = bed.directory.path().join("outside");
    fs_err::create_dir(&outside).expect("a directory");
    for (name, target) in [("dev", "../../outside"), ("sys", "/data")] {
        let link = bed.layer().join(name);
        fs_err::os::unix::fs::symlink(target, &link).expect("a link");
        let error = bed.start(&container(name)).expect_err("it is refused").to_string();
        assert!(error.contains(&format!("cannot mount /{name}")), "{error}");
        fs_err::remove_file(link).expect("the link");
    }
    fs_err::os::unix::fs::symlink("../data", bed.layer().join("bin/linked")).expect("a link");
    assert_eq!(fs_err::read_dir(&outside).expect("it is there").count(), 0);
}

/// CVE-2022-0492 and CVE-2023-25809: the hierarchies are the container's own part, and closed.
pub(crate) fn cgroups_can_be_read_and_not_written(bed: &Bed) {
    let (_, text) = bed.shell(
        "cd /sys/fs/cgroup; ls; find . -name release_agent; for d in . *; do mkdir $d/new 2>/dev/null && echo MADE $d; done; \
         cat memory/cgroup.procs || cat cgroup.procs; grep -c /sys/fs/cgroup /proc/self/mountinfo",
    );
    assert!(!text.contains("MADE") && !text.contains("release_agent"), "{text}");
    assert!(text.contains("\n1\n"), "its own processes are shown: {text}");
}

pub(crate) fn devices_of_the_host_cannot_be_made_or_opened(bed: &Bed) {
    let (_, text) = bed.shell("mknod /disk b 8 0 || echo refused; mknod /dev/mem c 1 1 || echo refused; ls /dev");
    assert_eq!(text.matches("refused").count(), 2, "{text}");
    let mut maker = container("mknod /mem c 1 1; cat /mem; echo end");
    maker.spec.cap_add = ["MKNOD".to_owned()].into();
    let (_, text) = bed.run(&maker);
    // Version 1 forbids the device, an overlay without nodev would not: the filter of version 2 is another crate's.
    if bed.hierarchy.kind() == stack_cgroup::Kind::V1 {
        assert!(text.contains("not permitted"), "{text}");
    }
}

pub(crate) fn terminals_belong_to_the_user(bed: &Bed) {
    let mut terminal = container("echo one >/dev/tty; echo two >/dev/stdout; echo three >/dev/console; read end");
    terminal.spec.tty = true;
    terminal.process.user = "app".to_owned();
    let started = bed.start(&terminal).expect("it starts");
    let master = started.terminal.as_ref().expect("a terminal");
    let mut text = String::new();
    while !text.contains("three") && !text.contains("denied") {
        wait(master);
        text.push_str(&read(master));
    }
    assert!(text.contains("one") && text.contains("two") && !text.contains("denied"), "{text}");
    rustix::io::write(master, b"\n").expect("it takes input");
    assert_eq!(end(&started).code, Some(0));
}

fn read(from: &OwnedFd) -> String {
    let mut bytes = [0; 1024];
    let length = rustix::io::read(from, bytes.as_mut_slice()).expect("text");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

pub(crate) fn a_read_only_root_has_its_working_directory(bed: &Bed) {
    let mut locked = container("pwd; touch x");
    locked.spec.read_only = true;
    locked.process.cwd = "/made/for/it".to_owned();
    let (_, text) = bed.run(&locked);
    assert!(text.starts_with("/made/for/it\n") && text.contains("Read-only"), "{text}");
    assert!(!Path::new("/made").exists());
}

pub(crate) fn programs_of_the_image_say_why_they_cannot_run(bed: &Bed) {
    let bin = bed.layer().join("bin");
    let write = |name: &str, content: &[u8], mode: u32| {
        fs_err::write(bin.join(name), content).expect("a program");
        fs_err::set_permissions(bin.join(name), PermissionsExt::from_mode(mode)).expect("a mode");
    };
    let mut foreign = fs_err::read("/usr/bin/busybox").expect("a program")[..4096].to_vec();
    // e_machine of another architecture: 183 is AArch64, 62 is x86-64.
    foreign[18] = if foreign[18] == 183 { 62 } else { 183 };
    write("foreign", &foreign, 0o755);
    write("text", b"echo hello\n", 0o755);
    write("plain", b"#!/bin/sh\n", 0o644);
    write("windows", b"#!/bin/sh\r\necho\r\n", 0o755);
    for (name, words, why) in [
        ("foreign", "for another architecture", NotExecuted::OtherArchitecture),
        ("text", "neither a program nor a script", NotExecuted::UnknownFormat),
        ("plain", "it is not executable", NotExecuted::NotExecutable),
        ("windows", "its interpreter `/bin/sh` is not in the image", NotExecuted::MissingInterpreter),
    ] {
        let mut wrong = container(name);
        wrong.process.argv = vec![name.to_owned()];
        let error = bed.start(&wrong).expect_err("it cannot run");
        assert!(error.to_string().contains(words), "{name}: {error}");
        let RuntimeError::Init(failure) = &error else { panic!("{error}") };
        let ending = ending_of_failure(failure).expect("it is the program's fault");
        assert_eq!(ending, Ending::NotExecuted { program: format!("/bin/{name}"), why });
    }
}

/// The kernel's numbers say why: its limit, and that it was the kernel's kill and not somebody's.
pub(crate) fn a_container_that_takes_too_much_memory_says_so(bed: &Bed) {
    let mut greedy = container("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done");
    greedy.spec.limits.memory = Some(stack_model::Bytes(16 << 20));
    greedy.spec.limits.memory_and_swap = Some(stack_model::Bytes(16 << 20));
    let exit = end(&bed.start(&greedy).expect("it starts"));
    let cgroup = bed.layout.cgroup(&bed.project).join(greedy.id.as_str());
    let exit = complete_exit(exit, &bed.hierarchy, &cgroup, 0);
    let OutOfMemory { limit, peak, killed, .. } = exit.memory.expect("it was out of memory");
    assert_eq!((limit, killed), (Some(stack_model::Bytes(16 << 20)), 1));
    assert!(peak.is_some_and(|peak| peak.0 > 8 << 20), "{peak:?}");
}
