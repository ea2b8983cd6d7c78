//! The system calls of one start, so that growth is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bed::Bed;

/// Name, number and how often.
macro_rules! calls {
    ($($name:ident $count:literal),+ $(,)?) => {
        &[$((stringify!($name), libc::$name, $count)),+]
    };
}

/// Between its clone and the execution of its program, without what is passed over, and without the three calls for
/// each cgroup of version 1. A change of this list is no mistake, but has to have a reason.
const EXPECTED: &[(&str, i64, usize)] = calls! {
    SYS_accept4 1,
    SYS_capget 4,
    SYS_capset 3,
    SYS_chdir 1,
    SYS_close 59,
    SYS_close_range 1,
    SYS_execve 1,
    SYS_fchdir 3,
    SYS_fchmodat 6,
    SYS_fchownat 6,
    SYS_fsconfig 26,
    SYS_fsmount 8,
    SYS_fsopen 8,
    SYS_fstat 12,
    SYS_getcwd 1,
    SYS_keyctl 1,
    SYS_mkdirat 6,
    SYS_mknodat 6,
    SYS_mount 6,
    SYS_mount_setattr 5,
    SYS_move_mount 16,
    SYS_open 5,
    SYS_open_tree 8,
    SYS_openat2 41,
    SYS_pivot_root 1,
    SYS_prlimit64 1,
    SYS_recvmsg 3,
    SYS_rt_sigaction 62,
    SYS_rt_sigprocmask 1,
    SYS_sendmsg 2,
    SYS_setgroups 1,
    SYS_sethostname 1,
    SYS_setresgid 1,
    SYS_setresuid 1,
    SYS_setsid 1,
    SYS_symlinkat 5,
    SYS_umask 1,
    SYS_umount2 1,
    SYS_unlinkat 1,
    SYS_unshare 1,
};

/// What depends on how much memory there is to move, on how many capabilities the kernel has (prctl), and on assertions
/// of the standard library (fcntl).
const PASSED_OVER: [i64; 9] = [
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_prctl,
    libc::SYS_fcntl,
];

pub(crate) fn a_start_makes_the_calls_that_it_always_makes(bed: &Bed) {
    bed.configure("true", |config| {
        // How many cgroups there are to show is the machine's.
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| mount["type"] != "cgroup");
    });
    let mut counted = calls_of_init(bed);
    let hierarchies = stack_cgroup::Tree::detect().expect("cgroups").join(std::path::Path::new("/"));
    let joins = hierarchies.expect("a root").tasks.len();
    for call in [libc::SYS_openat, libc::SYS_write, libc::SYS_close] {
        let count = counted.entry(call).or_default();
        *count = count.checked_sub(joins).expect("one for each");
    }
    counted.retain(|_, count| *count > 0);
    let name =
        |number: i64| EXPECTED.iter().find(|(_, known, _)| *known == number).map(|(name, ..)| (*name).to_owned());
    // How often some are made is the kernel's affair: which paths it has to hide, what must be looked for. The numbers are
    // those of machines with cgroups of version 1; elsewhere no other call may be made.
    let of_version_1 = joins > 0;
    let times = |count: usize| if of_version_1 { count } else { 0 };
    let counted: BTreeSet<(String, usize)> = counted
        .into_iter()
        .map(|(number, count)| (name(number).unwrap_or_else(|| number.to_string()), times(count)))
        .collect();
    let expected = EXPECTED.iter().map(|(name, _, count)| ((*name).to_owned(), times(*count))).collect();
    let (more, less): (Vec<_>, Vec<_>) =
        (counted.difference(&expected).collect(), BTreeSet::difference(&expected, &counted).collect());
    assert!(more.is_empty() && less.is_empty(), "made: {more:?}, expected: {less:?}");
}

/// Follows `run` and all that it starts, and counts the calls of the container's process until its program runs: it is
/// the first that is cloned, and its first call is the end of the clone.
fn calls_of_init(bed: &Bed) -> BTreeMap<i64, usize> {
    let run = bed.command(&["run", "bed"]);
    let words = run.get_args().map(|word| format!(" '{}'", word.to_string_lossy())).collect::<String>();
    let program = run.get_program().to_string_lossy().into_owned();
    // The shell waits until it is followed.
    #[expect(clippy::disallowed_methods, reason = "a command that waits")]
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &format!("read go; exec '{program}'{words} </dev/null")]).current_dir(bed.path(""));
    #[expect(clippy::zombie_processes, reason = "it is waited for with all that it starts")]
    let mut shell = shell.stdin(Stdio::piped()).spawn().expect("a shell");
    let first = Pid::from_raw(i32::try_from(shell.id()).expect("a pid"));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(first, options).expect("it can be followed");
    ptrace::interrupt(first).expect("it stops");
    writeln!(shell.stdin.take().expect("a pipe"), "go").expect("it reads");
    let mut counted = BTreeMap::new();
    // A stop at a call is its beginning and its end in turn.
    let mut inside: BTreeSet<Pid> = BTreeSet::new();
    let (mut init, mut is_over) = (None, false);
    loop {
        let status = waitpid(None, Some(WaitPidFlag::__WALL)).expect("one of them");
        let Some(pid) = status.pid() else { continue };
        let mut pass = None;
        match status {
            WaitStatus::PtraceSyscall(_) => {
                if inside.insert(pid) {
                    let number = ptrace::getregs(pid).expect("registers").orig_rax.cast_signed();
                    if Some(pid) == init && !is_over && !PASSED_OVER.contains(&number) {
                        *counted.entry(number).or_insert(0) += 1;
                    }
                } else {
                    inside.remove(&pid);
                }
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK) if init.is_none() => {
                init = Some(Pid::from_raw(i32::try_from(ptrace::getevent(pid).expect("a pid")).expect("a pid")));
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => is_over |= Some(pid) == init,
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGSTOP => pass = Some(signal),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                if pid == first {
                    assert_eq!(status, WaitStatus::Exited(first, 0));
                    break;
                }
                continue;
            }
            _ => {}
        }
        // One that was killed meanwhile tells its end.
        let _ = ptrace::syscall(pid, pass);
    }
    assert!(is_over, "the program of the container ran");
    counted
}
