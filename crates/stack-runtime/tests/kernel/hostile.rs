//! Images and neighbours that try to get out, or to take everything; afterwards the host is as it was.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stack_model::{Bytes, Exit, ResolvedMount, ResolvedSource, VolumeName};
use stack_runtime::exit_of;

use crate::attacks::probe;
use crate::bed::{Bed, container, end, wait};

fn volume(bed: &Bed, name: &str, target: &str) -> (ResolvedMount, PathBuf) {
    let name = VolumeName::new(name);
    let data = bed.layout.volume_data(&name);
    fs_err::create_dir_all(&data).expect("a volume");
    let source = ResolvedSource::Volume { name, copy: false };
    (ResolvedMount { source, target: target.to_owned(), read_only: false }, data)
}

/// CVE-2021-30465 and CVE-2024-45310: a mount point on a shared volume is a directory now and a link out of the
/// container a moment later. Neither the mount nor the directories made for it may land outside.
pub(crate) fn a_mount_point_that_changes_into_a_link_does_not_lead_out(bed: &Bed) {
    let outside = bed.directory.path().join("outside");
    fs_err::create_dir(&outside).expect("a directory");
    let (shared, data) = volume(bed, "bed_shared", "/data");
    let (inner, content) = volume(bed, "bed_inner", "/data/sub/made/here");
    fs_err::write(content.join("mark"), "1").expect("a file");
    fs_err::create_dir(data.join("sub")).expect("a directory");
    let up = "../".repeat(20);
    let target = format!("{up}{}", outside.strip_prefix("/").expect("absolute").display());
    fs_err::os::unix::fs::symlink(&target, data.join("link")).expect("a link");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, data.join("sub"), CWD, data.join("link"), RenameFlags::EXCHANGE);
            }
        });
        for number in 0..60 {
            let mut racer = container(&format!("cat /data/sub/made/here/mark # {number}"));
            racer.mounts = vec![shared.clone(), inner.clone()];
            // Whether it starts is a matter of luck; where it mounts is not.
            drop(bed.start(&racer).map(|started| end(&started)));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs_err::read_dir(&outside).expect("it is there").count(), 0);
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains("bed_inner") && !mounts.contains("/outside"), "{mounts}");
}

/// CVE-2019-5736: neither the interpreter `/proc/self/exe` nor the processes that come into a container give write
/// access to the host's program.
pub(crate) fn the_program_of_the_host_is_not_written(bed: &Bed) {
    let program = std::env::current_exe().expect("a path");
    let look = || {
        let facts = fs_err::metadata(&program).expect("it is there");
        (facts.len(), facts.modified().expect("a time"))
    };
    let before = look();
    let script = bed.layer().join("bin/again");
    fs_err::write(&script, "#!/proc/self/exe\n").expect("a script");
    fs_err::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let mut again = container("again");
    again.process.argv = vec!["/bin/again".to_owned()];
    // Whatever it runs, it is confined like the container, and ends.
    drop(bed.start(&again).map(|started| {
        drop(stack_runtime::signal(started.pidfd.as_fd(), 9));
        end(&started)
    }));
    let writer = container(
        "echo ready; while true; do for p in /proc/[0-9]*; do (echo x >$p/exe) 2>/dev/null && echo WROTE >>/data/log; done; done",
    );
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &writer.id).expect("pipes");
    let started = bed.start(&writer).expect("it starts");
    wait(&output);
    for _ in 0..30 {
        assert_eq!(probe(bed, &writer, &["/bin/true"]), Ok(Exit { code: Some(0), ..Exit::default() }));
    }
    let log = format!("/proc/{}/root/data/log", started.pid);
    assert!(!Path::new(&log).exists(), "a program was written");
    assert_eq!(look(), before);
}

/// CVE-2026-47262: what is read of an image on our side of the exec counts against the container and has an end.
pub(crate) fn a_password_file_of_a_gigabyte_is_not_read(bed: &Bed) {
    let passwd = bed.layer().join("etc/passwd");
    let file = fs_err::OpenOptions::new().write(true).open(&passwd).expect("it can be written");
    // Its end is where the users would be.
    file.set_len(1 << 30).expect("room");
    for user in ["app", "nobody"] {
        let mut fed = container(&format!("id -u # {user}"));
        fed.process.user = user.to_owned();
        fed.spec.limits.memory = Some(Bytes(32 << 20));
        match bed.start(&fed) {
            Ok(started) => assert_eq!((user, end(&started).code), ("app", Some(0))),
            Err(error) => assert_eq!(
                (user, error.to_string().as_str()),
                ("nobody", "cannot find user nobody: it is not in the image's /etc/passwd")
            ),
        }
    }
}

/// More processes than it may have: the container fails, nobody else does, and all of them end together.
pub(crate) fn a_fork_bomb_stays_in_its_limit(bed: &Bed) {
    let mut bomb = container("echo ready; f() { f | f & }; f; sleep 1000");
    bomb.spec.limits.pids = Some(60);
    let (output, _error) = stack_runtime::open_output(&bed.layout, &bed.project, &bomb.id).expect("pipes");
    let started = bed.start(&bomb).expect("it starts");
    wait(&output);
    let (exit, _) = bed.shell("true # beside the bomb");
    assert_eq!(exit.code, Some(0));
    let cgroup = bed.layout.cgroup(&bed.project).join(bomb.id.as_str());
    assert_eq!(bed.hierarchy.limits(&cgroup).expect("limits").pids, Some(60));
    bed.hierarchy.kill(&cgroup).expect("all of them end");
    wait(&started.pidfd);
    exit_of(started.pidfd.as_fd());
    // Without a word in the file there is a limit all the same.
    let (_, text) = bed.shell("cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null");
    assert_eq!(text, "4096\n");
}

/// A container has its own count of open files, and not the supervisor's.
pub(crate) fn open_files_have_a_limit(bed: &Bed) {
    let (_, text) = bed.shell("grep 'open files' /proc/self/limits | tr -s ' '");
    let ours = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert_eq!(text.trim(), format!("Max open files 1024 {} files", ours.min(524_288)));
}

/// CVE-2022-0492: what it would take to set a release agent is refused at each of its steps.
pub(crate) fn no_hierarchy_can_be_mounted(bed: &Bed) {
    let (_, text) = bed.shell(
        "mkdir /m; for o in memory pids blkio; do mount -t cgroup -o $o none /m && echo MOUNTED; done; \
         unshare -C true && echo UNSHARED; unshare -UrmC true && echo UNSHARED; \
         find /sys/fs/cgroup -name release_agent -o -name notify_on_release | while read f; do echo 1 >$f && echo WROTE; done",
    );
    for word in ["MOUNTED", "UNSHARED", "WROTE"] {
        assert!(!text.contains(word), "{text}");
    }
}
