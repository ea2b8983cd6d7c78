//! What any container must do.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::{IFlags, fstatfs, ioctl_getflags};
use stack_model::{Exit, ResolvedMount, ResolvedSource, State, VolumeName};
use stack_runtime::ExecOptions;

use crate::bed::{Bed, container, end, wait};

/// `EXT4_SUPER_MAGIC` of statfs(2), the same of all three.
const EXT_SUPER_MAGIC: i64 = 0xEF53;

pub(crate) fn exit_codes_and_signals_are_told(bed: &Bed) {
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

pub(crate) fn a_process_sees_its_own_world(bed: &Bed) {
    let (exit, text) =
        bed.shell("echo pid $$; hostname; ls /; cat /proc/self/cgroup; ls /dev; touch /new && echo made");
    assert_eq!(exit.code, Some(0), "{text}");
    assert!(text.starts_with("pid 1\nbed\n") && text.ends_with("made\n"), "{text}");
    assert!(!text.contains("stack-"), "the host's cgroup paths are visible: {text}");
    assert!(!bed.layer().join("new").exists(), "the layer was written to");
}

pub(crate) fn only_three_descriptors_are_open(bed: &Bed) {
    let (_, text) = bed.shell("ls /proc/1/fd; true");
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"]);
}

pub(crate) fn capabilities_are_the_eleven(bed: &Bed) {
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

pub(crate) fn users_come_from_the_image(bed: &Bed) {
    let mut plain = container("id -u; id -g; id -G; echo $HOME; echo again >/dev/stdout");
    plain.process.user = "app".to_owned();
    assert_eq!(bed.run(&plain).1, "33\n44\n44 4\n/srv\nagain\n");
    let mut unknown = container("nobody");
    unknown.process.user = "who".to_owned();
    let error = bed.start(&unknown).expect_err("there is no such user").to_string();
    assert_eq!(error, "cannot find user who: it is not in the image's /etc/passwd");
}

pub(crate) fn secrets_of_the_kernel_are_covered(bed: &Bed) {
    let line =
        "cat /proc/kcore /proc/keys; ls /sys/firmware; echo 1 >/proc/sys/kernel/domainname; touch /sys/x; echo end";
    let (_, text) = bed.shell(line);
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
    assert!(text.len() < 400 && text.contains("end"), "{text}");
}

pub(crate) fn volumes_are_filled_once_and_kept(bed: &Bed) {
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

pub(crate) fn a_read_only_root_stays_as_it_is(bed: &Bed) {
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

pub(crate) fn containers_lie_apart_on_the_disk(bed: &Bed) {
    let record = container("true");
    stack_runtime::create_container(&bed.layout, &bed.project, &record).expect("a record");
    let directory = bed.layout.container(&bed.project, &record.id);
    let siblings = fs_err::File::open(directory.parent().expect("a parent")).expect("a directory");
    // Only ext2 and its successors choose the place by a flag.
    let has_flag = fstatfs(&siblings).expect("a filesystem").f_type == EXT_SUPER_MAGIC;
    let apart = ioctl_getflags(&siblings).is_ok_and(|flags| flags.contains(IFlags::TOPDIR));
    assert_eq!(apart, has_flag);
}

pub(crate) fn a_missing_bind_source_is_named(bed: &Bed) {
    let mut bound = container("bind");
    let path = bed.directory.path().join("nowhere");
    bound.mounts = vec![ResolvedMount {
        source: ResolvedSource::Bind { path: path.clone(), create: false, below: stack_model::Below::Seen },
        target: "/x".to_owned(),
        read_only: false,
    }];
    let error = bed.start(&bound).expect_err("the source is missing");
    assert_eq!(error.to_string(), format!("cannot bind {}: no such file or directory", path.display()));
    assert!(error.hint().expect("a hint").contains("volumes"));
}

pub(crate) fn a_missing_program_is_explained(bed: &Bed) {
    let mut missing = container("missing");
    missing.process.argv = vec!["nothing".to_owned()];
    let error = bed.start(&missing).expect_err("there is no program").to_string();
    assert_eq!(error, "cannot execute nothing: executable file not found in $PATH (/bin): no such file or directory");
    let script = bed.layer().join("bin/script");
    fs_err::write(&script, "#!/usr/bin/perl\n").expect("a script");
    fs_err::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("a mode");
    let mut missing = container("interpreter");
    missing.process.argv = vec!["script".to_owned()];
    let error = bed.start(&missing).expect_err("there is no perl").to_string();
    assert!(error.contains("its interpreter `/usr/bin/perl` is not in the image"), "{error}");
}

pub(crate) fn links_of_the_image_do_not_lead_out(bed: &Bed) {
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

pub(crate) fn a_working_directory_of_the_host_is_refused(bed: &Bed) {
    for number in 3..24 {
        let mut sly = container(&format!("cat /etc/passwd # {number}"));
        sly.process.cwd = format!("/proc/self/fd/{number}");
        if let Ok(started) = bed.start(&sly) {
            end(&started);
            panic!("descriptor {number} is a working directory");
        }
    }
}

pub(crate) fn init_passes_signals_on_and_reaps(bed: &Bed) {
    let mut front = container("trap 'exit 5' TERM; (sleep 0.01 &) ; echo ready; while true; do sleep 0.05; done");
    front.spec.init = true;
    let started = bed.start(&front).expect("it starts");
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &front.id).expect("pipes");
    wait(&output);
    assert!(stack_runtime::hears_signal(started.pid, 15));
    stack_runtime::signal(started.pidfd.as_fd(), 15).expect("a signal");
    assert_eq!(end(&started).code, Some(5));
}

pub(crate) fn a_terminal_is_held_by_process_one(bed: &Bed) {
    let mut terminal = container("tty; read line; echo got $line");
    terminal.spec.tty = true;
    let started = bed.start(&terminal).expect("it starts");
    let master = started.terminal.as_ref().expect("a terminal");
    // Another supervisor finds it again.
    let adopted = stack_runtime::adopt(&bed.layout, &bed.project, &terminal.id).expect("a process").expect("it runs");
    let mut other = fs_err::File::from_parts(adopted.terminal.expect("a terminal").into(), "terminal");
    // A supervisor that reads on when there is nothing must not be held up.
    let flags = rustix::fs::fcntl_getfl(other.file()).expect("its flags");
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
    rustix::io::write(master, b"hello\n").expect("it takes input");
    let mut text = String::new();
    while !text.contains("got hello") {
        let mut bytes = [0; 256];
        let ready = rustix::event::PollFd::new(other.file(), rustix::event::PollFlags::IN);
        rustix::event::poll(&mut [ready], None).expect("it will say something");
        let length = other.read(&mut bytes).expect("it gives output");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert!(text.contains("/dev/pts/0"), "{text}");
    assert_eq!(end(&started).code, Some(0));
}

pub(crate) fn programs_join_a_running_container(bed: &Bed) {
    let sleeper = container("sleep 1000 # to be joined");
    let started = bed.start(&sleeper).expect("it starts");
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let argv = ["/bin/sh", "-c", "echo $HOSTNAME; ps; exit 3"].map(str::to_owned).to_vec();
    let place = (&bed.layout, &bed.project, &sleeper);
    let probe = stack_runtime::exec_quietly(
        &bed.spawner,
        &bed.hierarchy,
        place,
        &ExecOptions { argv, ..ExecOptions::default() },
        writer,
    )
    .expect("it joins");
    assert_eq!(end(&probe).code, Some(3));
    let mut text = String::new();
    fs_err::File::from_parts(reader.into(), "pipe").read_to_string(&mut text).expect("text");
    assert!(text.starts_with("bed\n") && text.contains("sleep 1000"), "{text}");
    let inside = fs_err::read_to_string(format!("/proc/{}/cgroup", started.pid)).expect("cgroups");
    assert!(inside.contains(sleeper.id.as_str()));
}
