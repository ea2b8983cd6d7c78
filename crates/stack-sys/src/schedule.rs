//! personality(2), ioprio_set(2), sched_setattr(2), set_mempolicy(2), prlimit(2).

use std::io;

/// `IOPRIO_WHO_PROCESS` of linux/ioprio.h.
const WHO_PROCESS: libc::c_int = 1;

/// Sets the execution domain of this process.
///
/// # Errors
/// EINVAL for a domain that the kernel does not have.
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: it takes a number and changes a number of this process.
    let result = unsafe { libc::personality(domain.into()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets class (1 real time, 2 best effort, 3 idle) and level of this process's input and output.
///
/// # Errors
/// EINVAL for a class or level that does not exist, EPERM without the capability for real time.
pub fn set_io_priority(class: u8, level: u16) -> io::Result<()> {
    let value = i32::from(class) << 13 | i32::from(level);
    // SAFETY: it takes numbers only; 0 is the caller itself.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How a process is scheduled: `struct sched_attr` of linux/sched/types.h in its first size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule {
    /// Bytes of this structure; set by [`set_schedule`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the ordinary policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for deadlines.
    pub runtime: u64,
    /// Nanoseconds, for deadlines.
    pub deadline: u64,
    /// Nanoseconds, for deadlines.
    pub period: u64,
}

/// Sets the scheduling of this thread.
///
/// # Errors
/// EINVAL for what the policy does not take, EPERM without CAP_SYS_NICE.
pub fn set_schedule(schedule: &Schedule) -> io::Result<()> {
    let schedule = Schedule { size: size_of::<Schedule>() as u32, ..*schedule };
    // SAFETY: the structure says its own size and lives across the call, which only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const schedule, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets where the memory of this thread, and of what it executes, comes from: a mode with its flags (`MPOL_*` of
/// linux/mempolicy.h) and the nodes it is about, 64 to a word.
///
/// # Errors
/// EINVAL for nodes that the mode does not take or that the thread may not use, ENOSYS without CONFIG_NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> io::Result<()> {
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told of (`get_nodes` in mm/mempolicy.c).
        _ => (nodes.as_ptr(), nodes.len() * u64::BITS as usize + 1),
    };
    // SAFETY: the kernel reads `bits - 1` bits at `mask`, which are the words of `nodes`, and keeps no pointer.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a limit of this process by the kernel's number of it (`RLIMIT_*`).
///
/// # Errors
/// EINVAL for a limit that does not exist or a soft one above the hard one, EPERM to raise a hard one.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` is a whole rlimit64 that lives across the call; a null pointer asks for no old value.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
