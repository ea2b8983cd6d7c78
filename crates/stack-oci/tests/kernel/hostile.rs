//! Bundles and containers that are up to no good (the classes S1 to S8 of known escapes), and a number that is used
//! again (S25).

use std::os::unix::fs::symlink;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::json;

use crate::bed::Bed;

/// What the program of the host is, to see that it stays so.
fn program() -> Vec<u8> {
    fs_err::read(std::env::current_exe().expect("a path")).expect("a program")
}

/// CVE-2019-5736: the program that is executed is the runtime itself, which the container then tries to write.
pub(crate) fn the_runtime_is_not_written_through_its_own_process(bed: &Bed) {
    let before = program();
    let script = "#!/proc/self/exe\n";
    fs_err::write(bed.path("rootfs/bin/again"), script).expect("a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(bed.path("rootfs/bin/again"), mode).expect("a mode");
    let said = bed.run("true", |config| config["process"]["args"] = json!(["/bin/again"]));
    // Whatever it says of its arguments: it is not the program of the host that says it.
    assert_ne!(said.code, Some(0), "{said:?}");
    // Every process that appears is opened to be written, for as long as programs come in from outside.
    let line = "while :; do for exe in /proc/[0-9]*/exe; do (echo x >>$exe) 2>/dev/null && \
                echo $exe $(readlink $exe) >>/data/written; done; done";
    bed.configure(line, |_| ());
    bed.ok(&["run", "--detach", "bed"]);
    for _ in 0..30 {
        bed.ok(&["exec", "bed", "true"]);
    }
    bed.ok(&["delete", "--force", "bed"]);
    assert!(program() == before, "the program of the host was changed");
    let written = fs_err::read_to_string(bed.path("rootfs/data/written")).unwrap_or_default();
    assert_eq!(written, "");
}

/// CVE-2016-9962: a process that is on its way in is looked into.
pub(crate) fn descriptors_of_the_host_are_not_seen_on_the_way_in(bed: &Bed) {
    let line = "while :; do for fd in /proc/[0-9]*/fd/*; do to=$(readlink $fd) && \
                case $fd in */fd/[012]|/proc/1/*|/proc/$$/*) ;; *) echo $fd $to ;; esac; done; done >/data/seen 2>/dev/null";
    bed.configure(line, |_| ());
    bed.ok(&["run", "--detach", "bed"]);
    for _ in 0..60 {
        bed.ok(&["exec", "bed", "true"]);
    }
    bed.ok(&["delete", "--force", "bed"]);
    let seen = fs_err::read_to_string(bed.path("rootfs/data/seen")).expect("a file");
    // The pipes of the watcher's own substitutions are its own.
    let foreign: Vec<&str> =
        seen.lines().filter(|line| !line.contains(" pipe:[") && !line.contains("/data/")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// CVE-2025-31133: what covers secrets comes from the image.
pub(crate) fn a_null_device_of_the_image_covers_nothing(bed: &Bed) {
    symlink("/data/from-image", bed.path("rootfs/dev/null")).expect("a link");
    let said = bed.run("cat /data/hidden; echo x >/data/hidden; cat /data/from-image", |config| {
        config["mounts"].as_array_mut().expect("a list").retain(|mount| mount["destination"] == "/proc");
        config["linux"]["maskedPaths"] = json!(["/data/from-image"]);
    });
    assert!(said.code == Some(1) && said.err.contains("something else is in its place"), "{said:?}");
    assert_eq!(fs_err::read_to_string(bed.path("rootfs/data/from-image")).expect("a file"), "1");
}

/// CVE-2025-52565: the console of the image leads elsewhere.
pub(crate) fn a_console_that_is_a_link_is_refused(bed: &Bed) {
    symlink("/data/from-image", bed.path("rootfs/dev/console")).expect("a link");
    let said = bed.run("true", |config| {
        config["process"]["terminal"] = true.into();
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|mount| ["/proc", "/dev/pts"].iter().any(|place| mount["destination"] == *place));
    });
    assert!(said.code == Some(1) && said.err.contains("/dev/console"), "{said:?}");
}

/// CVE-2023-27561, CVE-2019-19921: the system's directories of the image lead elsewhere.
pub(crate) fn system_directories_that_are_links_are_refused(bed: &Bed) {
    for (name, target) in [("proc", "/tmp"), ("sys", "../../.."), ("proc", "/../../../etc")] {
        let place = bed.path("rootfs").join(name);
        fs_err::remove_dir(&place).expect("a directory");
        symlink(target, &place).expect("a link");
        let said = bed.run("true", |config| config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" }));
        assert!(
            said.code == Some(1) && said.err.contains(&format!("/{name}: ")) && said.err.contains("ordinary directory"),
            "{name} -> {target}: {said:?}"
        );
        fs_err::remove_file(&place).expect("a link");
        fs_err::create_dir(&place).expect("a directory");
    }
}

/// CVE-2024-21626: the working directory is a descriptor of the runtime.
pub(crate) fn a_working_directory_outside_is_refused(bed: &Bed) {
    for number in 3..12 {
        let cwd = format!("/proc/self/fd/{number}");
        let said = bed.run("pwd; ls", |config| config["process"]["cwd"] = cwd.clone().into());
        assert!(said.code == Some(1) && said.err.contains("working directory"), "{cwd}: {said:?}");
    }
    bed.configure("sleep 100", |_| ());
    bed.ok(&["run", "--detach", "bed"]);
    for number in 3..12 {
        let cwd = format!("/proc/self/fd/{number}");
        let said = bed.say(&["exec", "--cwd", &cwd, "bed", "ls"]);
        assert!(said.code == Some(255) && said.err.contains("working directory"), "{cwd}: {said:?}");
    }
}

/// CVE-2022-24769: capabilities come back with a program of another user.
pub(crate) fn nothing_is_inherited_that_was_not_asked_for(bed: &Bed) {
    let line = "grep -E 'Cap(Inh|Amb)' /proc/self/status";
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    for uid in [0, 5] {
        assert_eq!(bed.run(line, |config| config["process"]["user"] = json!({ "uid": uid, "gid": uid })).out, none);
    }
    bed.configure("sleep 100", |_| ());
    bed.ok(&["run", "--detach", "bed"]);
    for user in ["0", "5"] {
        assert_eq!(bed.ok(&["exec", "--user", user, "bed", "sh", "-c", line]), none);
    }
}

/// The number of a process that has ended passes to another one, whose turn it is not.
pub(crate) fn another_process_with_its_number_is_left_alone(bed: &Bed) {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    bed.configure("sleep 100", |_| ());
    // Whoever is left without a parent becomes this program's child, so that the number is free when it says so.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("orphans");
    bed.ok(&["run", "--detach", "bed"]);
    let number = i32::try_from(bed.state("bed")["pid"].as_i64().expect("a number")).expect("a number");
    let first = Pid::from_raw(number);
    let begun = start_ticks(number);
    kill(first, Signal::SIGKILL).expect("its end");
    waitpid(first, None).expect("its end");
    let mut bystander = loop {
        // Somebody else may be quicker to take the next number; and numbers do not come round within a hundredth of a
        // second, which is what processes are told apart by.
        fs_err::write(LAST_PID, (number - 1).to_string()).expect("CONFIG_CHECKPOINT_RESTORE");
        let mut child = sleeper();
        if child.id().cast_signed() == number && start_ticks(number) != begun {
            break child;
        }
        child.kill().and_then(|()| child.wait()).expect("its end");
    };
    assert_eq!(bed.state("bed")["status"], "stopped");
    for words in [["kill", "bed", "KILL"].as_slice(), &["exec", "bed", "true"], &["pause", "bed"]] {
        let said = bed.say(words);
        assert!(said.code != Some(0) && said.err.contains("stopped"), "{words:?}: {said:?}");
    }
    bed.ok(&["delete", "--force", "bed"]);
    assert!(bystander.try_wait().expect("a look").is_none(), "somebody else's process was ended");
    bystander.kill().and_then(|()| bystander.wait()).expect("its end");
    rustix::process::set_child_subreaper(None).expect("orphans");
}

/// When a process began, in hundredths of a second (proc_pid_stat(5)): the twentieth word behind its name.
fn start_ticks(number: i32) -> String {
    let stat = fs_err::read_to_string(format!("/proc/{number}/stat")).expect("a process");
    let (_, words) = stat.rsplit_once(')').expect("a name");
    words.split_whitespace().nth(19).expect("a time").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a process that has nothing to do with containers")]
fn sleeper() -> Child {
    Command::new("sleep").arg("100").spawn().expect("a process")
}
