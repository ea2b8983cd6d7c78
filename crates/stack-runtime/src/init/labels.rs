//! The confinement that a security module gives the program: AppArmor's profile, SELinux' context.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat2};

use crate::error::StepFailure;
use crate::spec::LabelSpec;

/// Says what the next execution puts this process under.
pub(super) fn label_next(spec: &LabelSpec) -> Result<(), StepFailure> {
    if let Some(label) = &spec.selinux {
        write("thread-self/attr/exec", label)
            .map_err(|error| StepFailure::new("set the SELinux label", label, error))?;
    }
    if let Some(profile) = &spec.apparmor {
        // The module's own file first: the common one belongs to the first module of the kernel's list.
        let text = format!("exec {profile}");
        write("thread-self/attr/apparmor/exec", &text)
            .or_else(|_| write("thread-self/attr/exec", &text))
            .map_err(|error| StepFailure::new("set the AppArmor profile", profile, error))?;
    }
    Ok(())
}

/// Writes to a file of procfs and of nothing that is mounted on it: the container's `/proc` may have been made to lead
/// elsewhere (CVE-2019-16884, CVE-2025-52881).
fn write(path: &str, text: &str) -> std::io::Result<()> {
    let file = open(path)?;
    let written = rustix::io::write(&file, text.as_bytes())?;
    if written == text.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
}

fn open(path: &str) -> std::io::Result<OwnedFd> {
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", place, Mode::empty())?;
    if fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
        return Err(std::io::Error::other("/proc is no procfs"));
    }
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(&proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), stay)?)
}
