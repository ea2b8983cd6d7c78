//! Containers on the real kernel. The program is its own spawner, so it has no test harness: it runs each test in turn
//! and ends with the line that test runners end with.

#![expect(clippy::print_stdout, reason = "it is the reporter of its own results")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stack_cgroup::Hierarchy;
use stack_model::{
    Container, ContainerId, Exit, ImageId, Layout, Limits, NetworkMode, Process, ProjectName, ResolvedMount,
    ResolvedSource, ServiceName, State, VolumeName,
};
use stack_runtime::{RuntimeError, SPAWNER_ARGUMENT, Spawner, StartSpec, Started, exit_of, spawner_main};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SPAWNER_ARGUMENT) {
        return spawner_main();
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/usr/bin/busybox").exists() {
        println!("SKIP needs root and busybox-static");
        return ExitCode::SUCCESS;
    }
    let spawner = Spawner::start(&std::env::current_exe().expect("a path")).expect("a spawner");
    let tests: [(&str, fn(&Bed)); 15] = [
        ("exit_codes_and_signals_are_told", exit_codes_and_signals_are_told),
        ("a_process_sees_its_own_world", a_process_sees_its_own_world),
        ("only_three_descriptors_are_open", only_three_descriptors_are_open),
        ("capabilities_are_the_eleven", capabilities_are_the_eleven),
        ("users_come_from_the_image", users_come_from_the_image),
        ("secrets_of_the_kernel_are_covered", secrets_of_the_kernel_are_covered),
        ("volumes_are_filled_once_and_kept", volumes_are_filled_once_and_kept),
        ("a_read_only_root_stays_as_it_is", a_read_only_root_stays_as_it_is),
        ("a_missing_bind_source_is_named", a_missing_bind_source_is_named),
        ("a_missing_program_is_explained", a_missing_program_is_explained),
        ("links_of_the_image_do_not_lead_out", links_of_the_image_do_not_lead_out),
        ("a_working_directory_of_the_host_is_refused", a_working_directory_of_the_host_is_refused),
        ("init_passes_signals_on_and_reaps", init_passes_signals_on_and_reaps),
        ("a_terminal_is_held_by_process_one", a_terminal_is_held_by_process_one),
        ("programs_join_a_running_container", programs_join_a_running_container),
    ];
    let before = (mounts(), descriptors());
    let mut failed = 0;
    for (name, test) in tests {
        let bed = Bed::new(spawner.clone());
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bed))).is_ok();
        drop(bed);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    assert_eq!((mounts(), descriptors()), before, "something was left behind");
    println!(
        "\ntest result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        tests.len() - failed
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mounts() -> String {
    fs_err::read_to_string("/proc/self/mountinfo").expect("mounts")
}

fn descriptors() -> usize {
    fs_err::read_dir("/proc/self/fd").expect("descriptors").count()
}

/// A store with one layer: busybox.
struct Bed {
    directory: tempfile::TempDir,
    layout: Layout,
    project: ProjectName,
    hierarchy: Hierarchy,
    spawner: Spawner,
}

impl Bed {
    fn new(spawner: Spawner) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = Layout { root: directory.path().join("root"), run: directory.path().join("run") };
        let layer = directory.path().join("layer");
        for path in ["bin", "etc", "data", "proc"] {
            fs_err::create_dir_all(layer.join(path)).expect("a directory");
        }
        fs_err::copy("/usr/bin/busybox", layer.join("bin/busybox")).expect("busybox");
        for applet in
            ["sh", "cat", "id", "ls", "sleep", "hostname", "touch", "echo", "tty", "ps", "grep", "kill", "stty"]
        {
            fs_err::os::unix::fs::symlink("busybox", layer.join("bin").join(applet)).expect("an applet");
        }
        fs_err::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:33:44::/srv:/bin/sh\n")
            .expect("passwd");
        fs_err::write(layer.join("etc/group"), "root:x:0:\nlog:x:4:app\n").expect("group");
        fs_err::write(layer.join("data/from-image"), "1").expect("a file");
        fs_err::set_permissions(layer.join("data"), PermissionsExt::from_mode(0o2750)).expect("a mode");
        let hierarchy = Hierarchy::detect().expect("cgroups");
        let project = ProjectName::new("bed");
        hierarchy.ensure_project(&layout.cgroup(&project)).expect("a cgroup");
        Self { directory, layout, project, hierarchy, spawner }
    }

    fn layer(&self) -> PathBuf {
        self.directory.path().join("layer")
    }

    fn start(&self, container: &Container) -> Result<Started, RuntimeError> {
        stack_runtime::create_container(&self.layout, &self.project, container)?;
        let netns = fs_err::File::open("/proc/self/ns/net").expect("a namespace");
        self.spawner.start_container(&StartSpec {
            layout: &self.layout,
            project: &self.project,
            container,
            layers: vec![self.layer()],
            netns: Some(netns.file().as_fd()),
            files: Vec::new(),
            hierarchy: &self.hierarchy,
            cgroup: self.layout.cgroup(&self.project).join(container.id.as_str()),
        })
    }

    /// Runs a command line to its end; its exit and everything it printed.
    fn run(&self, container: &Container) -> (Exit, String) {
        // Open before the start, as the supervisor has them: what is in a pipe that nobody has open is gone.
        let (output, error) = stack_runtime::open_output(&self.layout, &self.project, &container.id).expect("pipes");
        let (mut text, started) = (String::new(), self.start(container).expect("it starts"));
        let exit = end(&started);
        for pipe in [output, error] {
            let mut bytes = vec![0; 65_536];
            if let Ok(length) = rustix::io::read(&pipe, bytes.as_mut_slice()) {
                text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        }
        (exit, text)
    }

    fn shell(&self, line: &str) -> (Exit, String) {
        self.run(&container(line))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for (container, _) in stack_runtime::observe_containers(&self.layout, &self.project).expect("records") {
            if let Some(adopted) = stack_runtime::adopt(&self.layout, &self.project, &container.id).expect("a process")
            {
                stack_runtime::signal(adopted.pidfd.as_fd(), 9).expect("a signal");
                wait(&adopted.pidfd);
                exit_of(adopted.pidfd.as_fd());
            }
            stack_runtime::remove_container(&self.layout, &self.project, &container.id, &self.hierarchy)
                .expect("it can be removed");
        }
        self.hierarchy.remove_project(&self.layout.cgroup(&self.project)).expect("the cgroup is empty");
    }
}

fn wait(pidfd: &impl AsFd) {
    let deadline = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&deadline)).expect("poll");
    assert_eq!(ready, 1, "it does not end");
}

fn end(started: &Started) -> Exit {
    wait(&started.pidfd);
    exit_of(started.pidfd.as_fd())
}

/// Two containers of a test have different command lines, and so different names.
fn container(line: &str) -> Container {
    let spec = serde_json::json!({ "image": "test", "network": "none", "stop_grace": 10_000 });
    let mut spec: stack_model::ContainerSpec = serde_json::from_value(spec).expect("a specification");
    spec.network = NetworkMode::Attached(BTreeMap::new());
    spec.limits = Limits::default();
    Container {
        schema: 1,
        id: ContainerId::new(stack_model::short_hex(&[line], 16)),
        name: "bed-test-1".to_owned(),
        service: ServiceName::new("test"),
        index: 1,
        spec,
        restart_request: 0,
        image: ImageId::new("sha256:test"),
        layers: Vec::new(),
        process: Process {
            argv: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: "bed".to_owned(),
            stop_signal: 15,
        },
        healthcheck: None,
        mounts: Vec::new(),
        endpoints: Vec::new(),
        ports: BTreeSet::new(),
        created: stack_model::Now(0),
    }
}

fn exit_codes_and_signals_are_told(bed: &Bed) {
    assert_eq!(bed.shell("exit 7").0, Exit { code: Some(7), ..Exit::default() });
    let sleeper = container("sleep 1000");
    let started = bed.start(&sleeper).expect("it starts");
    assert!(!stack_runtime::hears_signal(started.pid, 15), "a sleeping shell has no handler");
    let observed = stack_runtime::observe_containers(&bed.layout, &bed.project).expect("records");
    let found = observed.iter().find(|(found, _)| found.id == sleeper.id).expect("it is there");
    assert!(matches!(found.1, State::Running { pid, .. } if pid == started.pid));
    stack_runtime::signal(started.pidfd.as_fd(), 9).expect("a signal");
    assert_eq!(end(&started), Exit { signal: Some(9), ..Exit::default() });
    // Nobody wrote the exit down: the next look finds the process gone, and does not pretend to know why.
    let observed = stack_runtime::observe_containers(&bed.layout, &bed.project).expect("records");
    let found = observed.iter().find(|(found, _)| found.id == sleeper.id).expect("it is there");
    assert!(matches!(found.1, State::Exited { exit, .. } if exit == Exit::default()));
}

fn a_process_sees_its_own_world(bed: &Bed) {
    let (exit, text) =
        bed.shell("echo pid $$; hostname; ls /; cat /proc/self/cgroup; ls /dev; touch /new && echo made");
    assert_eq!(exit.code, Some(0), "{text}");
    assert!(text.starts_with("pid 1\nbed\n") && text.ends_with("made\n"), "{text}");
    assert!(!text.contains("stack-"), "the host's cgroup paths are visible: {text}");
    assert!(!bed.layer().join("new").exists(), "the layer was written to");
}

fn only_three_descriptors_are_open(bed: &Bed) {
    let (_, text) = bed.shell("ls /proc/1/fd; true");
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"]);
}

fn capabilities_are_the_eleven(bed: &Bed) {
    let (_, text) = bed.shell("grep ^Cap /proc/self/status");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let eleven = "00000000800405fb";
    let none = "0000000000000000";
    let wanted = [("CapInh:", none), ("CapPrm:", eleven), ("CapEff:", eleven), ("CapBnd:", eleven), ("CapAmb:", none)];
    assert_eq!(lines, wanted.map(|(name, value)| vec![name, value]));
    let mut plain = container("grep ^CapPrm /proc/self/status # as a user");
    plain.process.user = "app".to_owned();
    assert!(bed.run(&plain).1.contains(none));
}

fn users_come_from_the_image(bed: &Bed) {
    let mut plain = container("id -u; id -g; id -G; echo $HOME; echo again >/dev/stdout");
    plain.process.user = "app".to_owned();
    assert_eq!(bed.run(&plain).1, "33\n44\n44 4\n/srv\nagain\n");
    let mut unknown = container("nobody");
    unknown.process.user = "who".to_owned();
    let error = bed.start(&unknown).expect_err("there is no such user").to_string();
    assert_eq!(error, "cannot find user who: it is not in the image's /etc/passwd");
}

fn secrets_of_the_kernel_are_covered(bed: &Bed) {
    let line =
        "cat /proc/kcore /proc/keys; ls /sys/firmware; echo 1 >/proc/sys/kernel/domainname; touch /sys/x; echo end";
    let (_, text) = bed.shell(line);
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
    assert!(text.len() < 400 && text.contains("end"), "{text}");
}

fn volumes_are_filled_once_and_kept(bed: &Bed) {
    let name = VolumeName::new("bed_data");
    let data = bed.layout.volume_data(&name);
    fs_err::create_dir_all(&data).expect("a volume");
    let mount = || ResolvedMount {
        source: ResolvedSource::Volume { name: VolumeName::new("bed_data"), copy: true },
        target: "/data".to_owned(),
        read_only: false,
    };
    let mut first = container("cat /data/from-image; echo mine >/data/mine; rm -f /data/none; echo");
    first.mounts = vec![mount()];
    assert_eq!(bed.run(&first).1, "1\n");
    assert_eq!(fs_err::read_to_string(data.join("mine")).expect("it was written"), "mine\n");
    assert_eq!(fs_err::metadata(&data).expect("the volume").mode() & 0o7777, 0o2750);
    fs_err::remove_file(data.join("from-image")).expect("it was copied");
    let mut second = container("ls /data");
    second.mounts = vec![ResolvedMount { read_only: true, ..mount() }];
    assert_eq!(bed.run(&second).1, "mine\n");
}

fn a_read_only_root_stays_as_it_is(bed: &Bed) {
    let mut locked = container("touch /x; touch /tmp/x && echo tmp");
    locked.spec.read_only = true;
    locked.mounts = vec![ResolvedMount {
        source: ResolvedSource::Tmpfs { size: None, mode: 0o1777 },
        target: "/tmp".to_owned(),
        read_only: false,
    }];
    let (_, text) = bed.run(&locked);
    assert!(text.contains("Read-only file system") && text.contains("tmp\n"), "{text}");
}

fn a_missing_bind_source_is_named(bed: &Bed) {
    let mut bound = container("bind");
    let path = bed.directory.path().join("nowhere");
    bound.mounts = vec![ResolvedMount {
        source: ResolvedSource::Bind { path: path.clone(), create: false },
        target: "/x".to_owned(),
        read_only: false,
    }];
    let error = bed.start(&bound).expect_err("the source is missing");
    assert_eq!(error.to_string(), format!("cannot bind {}: no such file or directory", path.display()));
    assert!(error.hint().expect("a hint").contains("volumes"));
}

fn a_missing_program_is_explained(bed: &Bed) {
    let mut missing = container("missing");
    missing.process.argv = vec!["nothing".to_owned()];
    let error = bed.start(&missing).expect_err("there is no program").to_string();
    assert_eq!(error, "cannot execute nothing: no such file or directory");
    let script = bed.layer().join("bin/script");
    fs_err::write(&script, "#!/usr/bin/perl\n").expect("a script");
    fs_err::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("a mode");
    let mut missing = container("interpreter");
    missing.process.argv = vec!["script".to_owned()];
    let error = bed.start(&missing).expect_err("there is no perl").to_string();
    assert!(error.contains("its interpreter `/usr/bin/perl` is not in the image"), "{error}");
}

fn links_of_the_image_do_not_lead_out(bed: &Bed) {
    let outside = bed.directory.path().join("outside");
    fs_err::create_dir(&outside).expect("a directory");
    fs_err::os::unix::fs::symlink(&outside, bed.layer().join("out")).expect("a link");
    let mut linked = container("ls /out");
    linked.mounts = vec![ResolvedMount {
        source: ResolvedSource::Tmpfs { size: None, mode: 0o755 },
        target: "/out/deep".to_owned(),
        read_only: false,
    }];
    // The link is followed inside the root, where its target does not exist and is not made.
    drop(bed.start(&linked).map(|started| end(&started)));
    assert_eq!(fs_err::read_dir(&outside).expect("it is there").count(), 0);
    fs_err::remove_dir(bed.layer().join("proc")).expect("a directory");
    fs_err::os::unix::fs::symlink("/data", bed.layer().join("proc")).expect("a link");
    let error = bed.start(&container("proc is a link")).expect_err("it is refused").to_string();
    assert!(error.contains("cannot mount /proc"), "{error}");
}

fn a_working_directory_of_the_host_is_refused(bed: &Bed) {
    for number in 3..24 {
        let mut sly = container(&format!("cat /etc/passwd # {number}"));
        sly.process.cwd = format!("/proc/self/fd/{number}");
        if let Ok(started) = bed.start(&sly) {
            end(&started);
            panic!("descriptor {number} is a working directory");
        }
    }
}

fn init_passes_signals_on_and_reaps(bed: &Bed) {
    let mut front = container("trap 'exit 5' TERM; (sleep 0.01 &) ; echo ready; while true; do sleep 0.05; done");
    front.spec.init = true;
    let started = bed.start(&front).expect("it starts");
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &front.id).expect("pipes");
    wait(&output);
    assert!(stack_runtime::hears_signal(started.pid, 15));
    stack_runtime::signal(started.pidfd.as_fd(), 15).expect("a signal");
    assert_eq!(end(&started).code, Some(5));
}

fn a_terminal_is_held_by_process_one(bed: &Bed) {
    let mut terminal = container("tty; read line; echo got $line");
    terminal.spec.tty = true;
    let started = bed.start(&terminal).expect("it starts");
    let master = started.terminal.as_ref().expect("a terminal");
    // Another supervisor finds it again.
    let adopted = stack_runtime::adopt(&bed.layout, &bed.project, &terminal.id).expect("a process").expect("it runs");
    let mut other = fs_err::File::from_parts(adopted.terminal.expect("a terminal").into(), "terminal");
    rustix::io::write(master, b"hello\n").expect("it takes input");
    let mut text = String::new();
    while !text.contains("got hello") {
        let mut bytes = [0; 256];
        let length = other.read(&mut bytes).expect("it gives output");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert!(text.contains("/dev/pts/0"), "{text}");
    assert_eq!(end(&started).code, Some(0));
}

fn programs_join_a_running_container(bed: &Bed) {
    let sleeper = container("sleep 1000 # to be joined");
    let started = bed.start(&sleeper).expect("it starts");
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let argv = ["/bin/sh", "-c", "echo $HOSTNAME; ps; exit 3"].map(str::to_owned).to_vec();
    let place = (&bed.layout, &bed.project, &sleeper);
    let probe = stack_runtime::exec_quietly(&bed.spawner, &bed.hierarchy, place, argv, writer).expect("it joins");
    assert_eq!(end(&probe).code, Some(3));
    let mut text = String::new();
    fs_err::File::from_parts(reader.into(), "pipe").read_to_string(&mut text).expect("text");
    assert!(text.starts_with("bed\n") && text.contains("sleep 1000"), "{text}");
    let inside = fs_err::read_to_string(format!("/proc/{}/cgroup", started.pid)).expect("cgroups");
    assert!(inside.contains(sleeper.id.as_str()));
}
