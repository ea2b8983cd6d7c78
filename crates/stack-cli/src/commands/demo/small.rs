//! Programs of a few lines.

use std::io::{self, Write};

use nix::sys::signal::{SigSet, Signal};

/// Waits for the signal that asks it to stop.
pub(super) fn wait_for_stop() -> io::Result<()> {
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTERM);
    stops.add(Signal::SIGINT);
    stops.thread_block()?;
    stops.wait()?;
    Ok(())
}

pub(super) fn sleep(say: Option<String>, last_words: Option<String>, code: u8) -> io::Result<u8> {
    let print = |line: Option<String>| line.map_or(Ok(()), |line| writeln!(io::stdout(), "{line}"));
    print(say)?;
    wait_for_stop()?;
    print(last_words)?;
    Ok(code)
}

pub(super) fn ignore_every_signal() -> io::Result<u8> {
    loop {
        nix::unistd::pause();
    }
}

pub(super) fn flood(lines: u64) -> io::Result<u8> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for number in 1..=lines {
        writeln!(out, "line {number}")?;
    }
    out.flush()?;
    drop(out);
    wait_for_stop()?;
    Ok(0)
}

/// One fact a line, for tests of what a container's process is given.
pub(super) fn show() -> io::Result<u8> {
    let mut out = io::stdout().lock();
    for (name, value) in std::env::vars() {
        writeln!(out, "env {name}={value}")?;
    }
    writeln!(out, "hostname {}", fs_err::read_to_string("/proc/sys/kernel/hostname")?.trim())?;
    let mut open: Vec<u32> = fs_err::read_dir("/proc/self/fd")?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // The listing has a descriptor of its own.
            let own = fs_err::read_link(entry.path()).ok()?.starts_with("/proc");
            (!own).then(|| entry.file_name().to_str()?.parse().ok()).flatten()
        })
        .collect();
    open.sort_unstable();
    let open: Vec<String> = open.iter().map(u32::to_string).collect();
    writeln!(out, "descriptors {}", open.join(" "))?;
    for line in fs_err::read_to_string("/proc/self/status")?.lines() {
        if ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp"].iter().any(|name| line.starts_with(name)) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(0)
}

pub(super) fn size() -> io::Result<u8> {
    let mut awaited = SigSet::empty();
    for signal in [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGINT] {
        awaited.add(signal);
    }
    awaited.thread_block()?;
    loop {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout())?;
        writeln!(io::stdout(), "{}x{}", size.ws_col, size.ws_row)?;
        if awaited.wait()? != Signal::SIGWINCH {
            return Ok(0);
        }
    }
}

pub(super) fn copy() -> io::Result<u8> {
    io::copy(&mut io::stdin().lock(), &mut io::stdout().lock())?;
    Ok(0)
}

pub(super) fn eat(mebibytes: usize) -> io::Result<u8> {
    let eaten = vec![1_u8; mebibytes << 20];
    writeln!(io::stdout(), "holding {mebibytes} MiB, sum {}", eaten.iter().map(|byte| u64::from(*byte)).sum::<u64>())?;
    wait_for_stop()?;
    drop(eaten);
    Ok(0)
}

pub(super) fn say_error(error: &io::Error) -> io::Result<()> {
    writeln!(io::stderr(), "{error}")
}
