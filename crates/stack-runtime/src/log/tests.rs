use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err::File;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::log::{LogMerge, LogReader, LogWatch};

const LINES: usize = 100_000;

fn pipe() -> (OwnedFd, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, File::from_parts(writer.into(), "pipe"))
}

fn lines(directory: &Path) -> Vec<String> {
    let mut reader = LogReader::open(directory).unwrap();
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        lines.push(line);
    }
    lines.extend(reader.take_rest().unwrap());
    lines.into_iter().map(|line| String::from_utf8(line.text).unwrap()).collect()
}

/// Writes the lines from a thread, in pieces that do not respect line ends.
fn speak(mut pipe: File) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let text: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
        for piece in text.as_bytes().chunks(3001) {
            pipe.write_all(piece).unwrap();
        }
    })
}

/// What a kill can leave behind, in turn.
fn kill(mut writer: LogWriter, round: usize, source: &OwnedFd) {
    match round % 5 {
        // Between the bytes and their entry.
        0 => drop(writer.splice_from(source.as_fd())),
        // In the middle of an entry.
        1 => {
            if let Ok(moved) = writer.splice_from(source.as_fd()) {
                let length = u32::try_from(moved).unwrap();
                let entry = Entry { time_ns: 1, offset: writer.log_end, length, stream: Stream::Stdout };
                writer.index.file().write_all_at(&entry.to_bytes()[..11], writer.index_end).unwrap();
            }
        }
        // Between the two renames of a rotation.
        2 => fs_err::rename(&writer.paths.log, &writer.paths.old_log).unwrap(),
        // Before a new index has its header.
        3 => {
            writer.rotate().unwrap();
            writer.index.set_len(0).unwrap();
        }
        _ => {}
    }
}

#[test]
fn no_line_is_lost_or_doubled_when_the_writer_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (source, pipe) = pipe();
    // A small pipe needs many moves.
    rustix::pipe::fcntl_setpipe_size(&source, 4096).unwrap();
    let speaker = speak(pipe);
    let mut follower = LogReader::open(directory.path()).unwrap();
    let mut followed = Vec::new();
    let mut round = 0;
    'all: loop {
        let mut writer = LogWriter::open_with_limits(directory.path(), 60_000, 1 << 20).unwrap();
        for _ in 0..7 {
            poll_in(source.as_fd());
            if writer.pump(source.as_fd(), Stream::Stdout).unwrap() == 0 {
                break 'all;
            }
            while let Some(line) = follower.next_line().unwrap() {
                followed.push(line);
            }
        }
        // What is left of the old generation is read before the next rotation can take it away.
        kill(writer, round, &source);
        drop(LogWriter::open_with_limits(directory.path(), 60_000, 1 << 20).unwrap());
        while let Some(line) = follower.next_line().unwrap() {
            followed.push(line);
        }
        round += 1;
    }
    speaker.join().unwrap();
    while let Some(line) = follower.next_line().unwrap() {
        followed.push(line);
    }
    assert!(round > 20, "only {round} kills");
    assert_eq!(followed.len(), LINES);
    for (number, line) in followed.iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(&line.text), format!("line {number}"));
    }
    assert!(followed.is_sorted_by_key(|line| line.time_ns / 1_000_000_000), "time runs backwards");
}

fn poll_in(fd: BorrowedFd<'_>) {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).unwrap();
}

#[test]
fn everything_is_there_without_a_rotation_and_a_partial_line_is_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let (source, pipe) = pipe();
    let mut tail = pipe.file().try_clone().map(|file| File::from_parts(file, "pipe")).unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    let speaker = std::thread::spawn(move || {
        speak(pipe).join().unwrap();
        tail.write_all(b"no end").unwrap();
    });
    loop {
        poll_in(source.as_fd());
        if writer.pump(source.as_fd(), Stream::Stdout).unwrap() == 0 {
            break;
        }
    }
    speaker.join().unwrap();
    let lines = lines(directory.path());
    assert_eq!(lines.len(), LINES + 1);
    assert!(lines[..LINES].iter().enumerate().all(|(number, line)| *line == format!("line {number}")));
    assert_eq!(lines[LINES], "no end");
}

#[test]
fn streams_keep_their_own_partial_lines() {
    let directory = tempfile::tempdir().unwrap();
    let ((out, mut to_out), (err, mut to_err)) = (pipe(), pipe());
    let mut writer = LogWriter::open(directory.path()).unwrap();
    let empty = writer.pump(out.as_fd(), Stream::Stdout).unwrap_err();
    assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    to_out.write_all(b"one ").unwrap();
    writer.pump(out.as_fd(), Stream::Stdout).unwrap();
    to_err.write_all(b"two\nthree").unwrap();
    writer.pump(err.as_fd(), Stream::Stderr).unwrap();
    to_out.write_all(b"line\n").unwrap();
    writer.pump(out.as_fd(), Stream::Stdout).unwrap();
    let mut reader = LogReader::open(directory.path()).unwrap();
    let next = |reader: &mut LogReader| {
        let line = reader.next_line().unwrap()?;
        Some((line.stream, String::from_utf8(line.text).unwrap()))
    };
    assert_eq!(next(&mut reader), Some((Stream::Stderr, "two".to_owned())));
    assert_eq!(next(&mut reader), Some((Stream::Stdout, "one line".to_owned())));
    assert_eq!(next(&mut reader), None);
    assert_eq!(reader.take_rest().unwrap()[0].text, b"three");
}

#[test]
fn a_terminal_is_copied_and_its_end_is_an_end() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let directory = tempfile::tempdir().unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::io::write(&slave, b"hello\n").unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    poll_in(master.as_fd());
    writer.pump(master.as_fd(), Stream::Stdout).unwrap();
    drop(slave);
    poll_in(master.as_fd());
    assert_eq!(writer.pump(master.as_fd(), Stream::Stdout).unwrap(), 0);
    assert_eq!(lines(directory.path()), ["hello\r"]);
}

#[test]
fn two_generations_bound_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (source, mut pipe) = pipe();
    let mut writer = LogWriter::open_with_limits(directory.path(), 1000, 1 << 20).unwrap();
    for number in 0..1000 {
        writeln!(pipe, "line {number}").unwrap();
        writer.pump(source.as_fd(), Stream::Stdout).unwrap();
    }
    let names = ["log", "log.1"].map(|name| fs_err::metadata(directory.path().join(name)).unwrap().len());
    assert!(names.iter().all(|bytes| *bytes < 1100), "{names:?}");
    let lines = lines(directory.path());
    assert_eq!(lines.last().unwrap(), "line 999");
    assert!(lines.len() > 100);
}

#[test]
fn logs_are_merged_by_time_and_cut_to_their_tails() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (source, mut pipe) = pipe();
    for number in 0..10 {
        writeln!(pipe, "line {number}").unwrap();
        let mut writer = LogWriter::open(directories[number % 2].path()).unwrap();
        writer.pump(source.as_fd(), Stream::Stdout).unwrap();
    }
    let merged = |tail: Option<usize>| {
        let mut merge = LogMerge::default();
        for (tag, directory) in directories.iter().enumerate() {
            merge.push(tag, LogReader::open(directory.path()).unwrap());
        }
        merge.keep_tail(tail, 0..=u64::MAX).unwrap();
        let mut lines = Vec::new();
        while let Some((tag, line)) = merge.next().unwrap() {
            lines.push((*tag, String::from_utf8(line.text).unwrap()));
        }
        lines
    };
    let all: Vec<_> = (0..10).map(|number| (number % 2, format!("line {number}"))).collect();
    assert_eq!(merged(None), all);
    assert_eq!(merged(Some(2)), all[6..]);
}

#[test]
fn a_watch_wakes_for_new_lines_and_new_logs() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = LogWatch::new().unwrap();
    watch.add(directory.path()).unwrap();
    assert!(!watch.drain().unwrap());
    let (source, mut pipe) = pipe();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    assert!(watch.drain().unwrap());
    pipe.write_all(b"line\n").unwrap();
    writer.pump(source.as_fd(), Stream::Stdout).unwrap();
    poll_in(watch.as_fd());
    assert!(watch.drain().unwrap());
}
