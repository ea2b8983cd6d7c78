//! `exec` as a command runs it: in a process of its own, with and without a terminal.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use stack_cgroup::Hierarchy;
use stack_model::{Container, Layout, ProjectName};
use stack_runtime::ExecOptions;

use crate::bed::{Bed, container, wait};

/// The first argument that makes this program an `exec`.
pub(crate) const EXEC: &str = "exec-one";
/// Exit code when the program could not be executed.
const NOT_EXECUTED: u8 = 125;

/// Runs a program in a container: `exec-one ROOT RUN ID OPTIONS PROGRAM…`.
pub(crate) fn exec_main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let [root, run, id, options, argv @ ..] = words.as_slice() else { return ExitCode::from(2) };
    let layout = Layout { root: root.into(), run: run.into() };
    let (project, hierarchy) = (ProjectName::new("bed"), Hierarchy::detect().expect("cgroups"));
    let all = stack_runtime::observe_containers(&layout, &project).expect("records");
    let (container, _) = all.into_iter().find(|(container, _)| container.id.as_str() == id).expect("it is there");
    let options = ExecOptions {
        argv: argv.to_vec(),
        tty: options.contains("tty"),
        user: options.contains("user").then(|| "app".to_owned()),
        cwd: options.contains("cwd").then(|| "/etc".to_owned()),
        env: vec![("GREETING".to_owned(), "hello".to_owned())],
        ..ExecOptions::default()
    };
    match stack_runtime::run_exec(&hierarchy, (&layout, &project, &container), &options) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(NOT_EXECUTED)),
        Err(error) => {
            println!("{error}");
            ExitCode::from(NOT_EXECUTED)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command is a process of its own")]
fn command(bed: &Bed, container: &Container, options: &str, line: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.arg(EXEC).args([&bed.layout.root, &bed.layout.run]).args([
        container.id.as_str(),
        options,
        "/bin/sh",
        "-c",
        line,
    ]);
    command
}

fn sleeper(bed: &Bed) -> Container {
    let sleeper = container("sleep 1000");
    bed.start(&sleeper).expect("it starts");
    sleeper
}

pub(crate) fn a_program_has_the_streams_of_the_command(bed: &Bed) {
    let sleeper = sleeper(bed);
    let line = "cat; pwd; id -u; echo $GREETING $HOSTNAME; ls /proc/$$/fd; grep CapEff /proc/self/status; exit 3";
    let mut child = command(bed, &sleeper, "user,cwd", line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a command");
    child.stdin.take().expect("input").write_all(b"some input\n").expect("it takes input");
    let output = child.wait_with_output().expect("its end");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "some input\n/etc\n33\nhello bed\n0\n1\n2\nCapEff:\t0000000000000000\n");
    assert_eq!(output.status.code(), Some(3));
}

pub(crate) fn a_program_that_is_missing_is_named(bed: &Bed) {
    let sleeper = sleeper(bed);
    let mut missing = command(bed, &sleeper, "cwd", "true");
    let words: Vec<_> = missing.get_args().map(ToOwned::to_owned).collect();
    let mut missing_program = {
        #[expect(clippy::disallowed_methods, reason = "a command is a process of its own")]
        let mut command = Command::new(missing.get_program());
        command.args(&words[..5]).arg("nothing");
        command
    };
    let output = missing_program.output().expect("its end");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "cannot execute nothing: executable file not found in $PATH (/bin): no such file or directory\n"
    );
    assert_eq!(output.status.code(), Some(i32::from(NOT_EXECUTED)));
    assert_eq!(missing.status().expect("its end").code(), Some(0));
}

pub(crate) fn a_signal_of_the_command_is_the_programs(bed: &Bed) {
    let sleeper = sleeper(bed);
    let line = "trap 'exit 9' TERM; echo ready; while true; do sleep 0.01; done";
    let mut child = command(bed, &sleeper, "", line).stdout(Stdio::piped()).spawn().expect("a command");
    wait(child.stdout.as_ref().expect("output"));
    // CVE-2019-5736: what runs is not the host's file.
    let program = fs_err::OpenOptions::new().write(true).open(format!("/proc/{}/exe", child.id()));
    assert!(program.is_err(), "the program can be written");
    kill(&child, Signal::TERM);
    assert_eq!(child.wait().expect("its end").code(), Some(9));
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a signal");
}

fn terminal() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("a terminal");
    unlockpt(&master).expect("a terminal");
    let end =
        ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("an end");
    (master, end)
}

fn resize(master: &OwnedFd, ws_row: u16, ws_col: u16) {
    tcsetwinsize(master, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
}

fn read_until(master: &mut fs_err::File, words: &str) {
    let mut text = String::new();
    while !text.contains(words) {
        let deadline = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(master.file(), PollFlags::IN)], Some(&deadline)).expect("poll");
        assert_eq!(ready, 1, "{words:?} does not come after {text:?}");
        let mut bytes = [0; 1024];
        let length = master.read(&mut bytes).expect("text");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
}

pub(crate) fn a_terminal_passes_size_and_keys_and_is_left_as_it_was(bed: &Bed) {
    let sleeper = sleeper(bed);
    let (master, end) = terminal();
    let modes = |end: &OwnedFd| format!("{:?}", tcgetattr(end).expect("modes"));
    let before = modes(&end);
    resize(&master, 33, 101);
    let copy = || Stdio::from(end.try_clone().expect("a copy"));
    let line = "trap 'stty size; new=1' WINCH; stty size; until [ \"$new\" ]; do sleep 0.01; done; read a; echo got $a; \
                tty; exit 4";
    let mut child =
        command(bed, &sleeper, "tty", line).stdin(copy()).stdout(copy()).stderr(copy()).spawn().expect("a command");
    let mut ours = fs_err::File::from_parts(master.try_clone().expect("a copy").into(), "terminal");
    read_until(&mut ours, "33 101");
    assert_ne!(modes(&end), before, "it is raw while the program runs");
    resize(&master, 20, 70);
    kill(&child, Signal::WINCH);
    read_until(&mut ours, "20 70");
    ours.write_all(b"keys\r").expect("it takes keys");
    read_until(&mut ours, "got keys\r\n/dev/pts/0");
    assert_eq!(child.wait().expect("its end").code(), Some(4));
    assert_eq!(modes(&end), before, "it is as it was");
}

/// A program that leaves something in the background does not keep the command.
pub(crate) fn a_terminal_that_stays_open_does_not_keep_the_command(bed: &Bed) {
    let sleeper = sleeper(bed);
    let (_master, end) = terminal();
    let copy = || Stdio::from(end.try_clone().expect("a copy"));
    let mut child = command(bed, &sleeper, "tty", "trap '' HUP; sleep 1000 & exit 5")
        .stdin(copy())
        .stdout(copy())
        .spawn()
        .expect("a command");
    assert_eq!(child.wait().expect("its end").code(), Some(5));
}
