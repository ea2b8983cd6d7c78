//! bpf(2), as far as programs of the type `BPF_PROG_TYPE_CGROUP_DEVICE` need it: they decide which device nodes the
//! processes of a version 2 cgroup may open and make.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Commands of linux/bpf.h (`enum bpf_cmd`).
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE` of `enum bpf_attach_type`.
const AT_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: the programs of a cgroup and of those above and below it all have to agree.
const ALLOW_MULTI: u32 = 2;
/// The most programs that a cgroup can have (`BPF_CGROUP_MAX_PROGS`, kernel/bpf/cgroup.c).
const PROGRAMS_MAX: usize = 64;

/// `union bpf_attr` for `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The same for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The same for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct Open {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The same for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// Loads a program. Each word is an instruction as the kernel lays it out on little-endian machines (`struct bpf_insn`).
///
/// # Errors
/// EPERM without CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN in the first user namespace, EACCES or EINVAL for a program
/// that the verifier does not take.
pub fn load_device_program(program: &[u64]) -> io::Result<OwnedFd> {
    let insn_cnt = u32::try_from(program.len()).map_err(io::Error::other)?;
    // No helper is called, so that no licence is asked for.
    let license = c"";
    let mut load = Load {
        prog_type: CGROUP_DEVICE,
        insn_cnt,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the pointers in `load` are to `insn_cnt` instructions and to a C string, and both live until the call
    // returns; the kernel only reads them.
    let descriptor = unsafe { call(PROG_LOAD, &mut load) }?;
    take(descriptor)
}

/// Makes `program` the only one of ours at a cgroup directory: those that are there already are taken off once it is in
/// force, so that there is no moment without one. Those of the cgroups above stay and are asked too.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, EBADF when it is no cgroup of version 2.
pub fn set_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let before = device_programs(cgroup)?;
    change(PROG_ATTACH, cgroup, program, ALLOW_MULTI)?;
    for id in before {
        let mut open = Open { prog_id: id, ..Open::default() };
        // SAFETY: `open` has no pointers.
        let old = unsafe { call(PROG_GET_FD_BY_ID, &mut open) }.and_then(take)?;
        change(PROG_DETACH, cgroup, std::os::fd::AsFd::as_fd(&old), 0)?;
    }
    Ok(())
}

/// The ids of the programs that are attached to a cgroup itself.
///
/// # Errors
/// As [`set_device_program`].
pub fn device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; PROGRAMS_MAX];
    let mut query = Query {
        target_fd: number(cgroup),
        attach_type: AT_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: PROGRAMS_MAX as u32,
        ..Query::default()
    };
    // SAFETY: `prog_ids` points to as many numbers as `prog_cnt` says, and they live until the call returns.
    unsafe { call(PROG_QUERY, &mut query) }?;
    ids.truncate(query.prog_cnt as usize);
    Ok(ids)
}

fn change(command: libc::c_int, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_flags: u32) -> io::Result<()> {
    let (target_fd, attach_bpf_fd) = (number(cgroup), number(program));
    let mut attach = Attach { target_fd, attach_bpf_fd, attach_type: AT_CGROUP_DEVICE, attach_flags };
    // SAFETY: `attach` has no pointers.
    unsafe { call(command, &mut attach) }.map(drop)
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}

fn take(result: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the callers pass what a command returned that makes a new descriptor, close-on-exec, that nobody owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// The pointers in `attributes` are good for what the command does with them.
unsafe fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is of the size passed, which the kernel neither reads nor writes beyond; the caller vouches
    // for the pointers in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
