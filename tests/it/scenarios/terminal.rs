//! `run`, `attach` and `exec` with a terminal: typed into, resized, left, and given back as it was.

use std::process::Stdio;
use std::time::Duration;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Expect, Session};
use rustix::termios::LocalModes;
use stack_tests::{World, eventually};

use super::SLEEPER;

/// As typed: Ctrl-C, and Ctrl-P with Ctrl-Q.
const INTERRUPT: &[u8] = &[3];
const LEAVE: &[u8] = &[16, 17];

fn world(name: &str) -> World {
    let world = World::new(name);
    world.write("compose.yaml", &format!("services:\n  web:\n    {SLEEPER}\n    init: true\n"));
    world
}

/// A command on a terminal of 80 columns and 24 rows.
fn open(world: &World, arguments: &[&str]) -> OsSession {
    let mut command = world.command(arguments);
    command.stdin(Stdio::inherit());
    let mut session = Session::spawn(command).expect("a terminal");
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.get_process_mut().set_window_size(80, 24).expect("a size");
    session
}

/// Line by line, with Ctrl-C as a signal: what a shell expects to find again.
fn is_cooked(session: &OsSession) -> bool {
    let terminal = session.get_process().get_raw_handle().expect("the terminal");
    let modes = rustix::termios::tcgetattr(&terminal).expect("its modes").local_modes;
    modes.contains(LocalModes::ICANON | LocalModes::ISIG)
}

#[track_caller]
fn ends(session: &OsSession, code: i32) {
    let status = session.get_process().wait().expect("it ends");
    assert!(matches!(status, WaitStatus::Exited(_, ended) if ended == code), "{status:?}");
    assert!(is_cooked(session), "the terminal is not as it was");
}

#[test]
fn a_run_has_the_terminal_with_its_size_until_it_ends() {
    let world = world("sized");
    let mut session = open(&world, &["run", "--rm", "web", "demo", "size"]);
    session.expect("80x24").expect("the size that the terminal has");
    assert!(!is_cooked(&session));
    session.get_process_mut().set_window_size(97, 31).expect("another size");
    session.expect("97x31").expect("the size that it got");
    session.send(INTERRUPT).expect("a key");
    ends(&session, 0);
    assert!(!world.records().keys().any(|name| name.contains("-run-")), "{:?}", world.records().keys());
}

#[test]
fn a_container_is_left_and_found_again() {
    let world = world("left");
    let mut session = open(&world, &["run", "--name", "tool", "web", "demo", "sleep", "--say", "ready"]);
    session.expect("ready").expect("what it says");
    session.send(LEAVE).expect("keys");
    session.expect("left tool running").expect("a word of parting");
    ends(&session, 0);
    world.runs(&["tool"]);
    let mut session = open(&world, &["attach", "web"]);
    eventually("it is attached", || if is_cooked(&session) { Err("not yet".to_owned()) } else { Ok(()) });
    session.send(INTERRUPT).expect("a key");
    ends(&session, 0);
    world.runs(&[]);
    world.stack(&["attach", "web"]).fails(1, &["service `web` does not run"]);
}

#[test]
fn the_terminal_is_given_back_whoever_ends_what() {
    let world = world("given");
    let mut session = open(&world, &["run", "--name", "tool", "web", "demo", "size"]);
    session.expect("80x24").expect("its size");
    world.kill(world.runs(&["tool"])["tool"]);
    ends(&session, 137);
    let mut session = open(&world, &["run", "web", "demo", "size"]);
    session.expect("80x24").expect("its size");
    let own = session.get_process().pid();
    // A signal to the command is the program's, and the command ends with it.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(own.as_raw()), nix::sys::signal::Signal::SIGTERM)
        .expect("a signal");
    ends(&session, 0);
    let mut session = open(&world, &["run", "--entrypoint", "/missing", "web"]);
    session.expect("/missing").expect("what is missing");
    ends(&session, 127);
}

/// A supervisor that waits for the terminal would wait for ever.
#[test]
fn a_service_with_a_terminal_is_logged_and_does_not_hold_up_the_rest() {
    let world = World::new("screen");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep, --say, ready]\n    tty: true\n",
    );
    world.stack(&["up", "-d"]).ok();
    eventually("it is logged", || {
        let said = world.stack(&["logs", "--no-log-prefix"]).ok().stdout;
        if said.contains("ready") { Ok(()) } else { Err(said) }
    });
    world.stack(&["restart", "web"]).ok();
    world.runs(&["screen-web-1"]);
}

#[test]
fn exec_has_the_terminal_too() {
    let world = world("inside");
    world.stack(&["up", "-d"]).ok();
    let mut session = open(&world, &["exec", "web", "/stack", "demo", "size"]);
    session.expect("80x24").expect("the size that the terminal has");
    session.get_process_mut().set_window_size(50, 10).expect("another size");
    session.expect("50x10").expect("the size that it got");
    session.send(INTERRUPT).expect("a key");
    ends(&session, 0);
}
