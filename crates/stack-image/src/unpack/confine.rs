//! A second wall around unpacking: a thread that may change nothing but the directory of the layer, whatever mistake the
//! first wall or a decompressor has. It takes what landlock(7) has on this kernel; where there is none, the first wall
//! stands alone.

use std::io::{self, Read};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use super::{Limits, UnpackError, Unpacked, unpack};

/// The newest rights that are asked for; older kernels give a part of them.
const NEWEST: ABI = ABI::V6;

/// Unpacks as [`unpack`] does, in a thread that can do nothing else to files, and cannot connect to anything. What the
/// reader opens itself, it must have opened before.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_confined(reader: impl Read + Send, root: &Path, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let failed = |source: io::Error| UnpackError::Write {
        action: "confine the unpacking of",
        entry: "/".to_owned(),
        size: 0,
        below: root.to_owned(),
        source,
    };
    std::thread::scope(|scope| {
        let work = move || {
            confine(root).map_err(failed)?;
            unpack(reader, root, limits)
        };
        let thread = std::thread::Builder::new().name("unpack".to_owned()).spawn_scoped(scope, work);
        match thread.map_err(failed)?.join() {
            Ok(unpacked) => unpacked,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Takes all other rights from this thread for good; `false` where the kernel does not know how.
fn confine(root: &Path) -> io::Result<bool> {
    let restrict = || -> Result<RulesetStatus, Box<dyn std::error::Error + Send + Sync>> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rule(PathBeneath::new(PathFd::new(root)?, rights()))?;
        Ok(ruleset.restrict_self()?.ruleset)
    };
    restrict().map(|status| status != RulesetStatus::NotEnforced).map_err(io::Error::other)
}

/// What a layer is made with; not block devices, sockets, and nothing is executed.
fn rights() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        WriteFile | ReadFile | Truncate | ReadDir | RemoveDir | RemoveFile | Refer
            | MakeChar | MakeDir | MakeReg | MakeFifo | MakeSym
    })
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    /// Tries to get out of the directory while it is read.
    struct Escaping<'e> {
        outside: &'e Path,
        written: &'e mut Option<io::ErrorKind>,
        read: &'e mut Option<io::ErrorKind>,
    }

    impl Read for Escaping<'_> {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            *self.written = fs::write(self.outside.join("new"), "x").err().map(|error| error.kind());
            *self.read = fs::read(self.outside.join("secret")).err().map(|error| error.kind());
            Ok(0)
        }
    }

    #[test]
    fn nothing_outside_can_be_touched_while_a_layer_is_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("layer"), directory.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        let there = root.clone();
        if !std::thread::spawn(move || confine(&there).unwrap()).join().unwrap() {
            println!("SKIP this kernel has no landlock");
            return;
        }
        let (mut written, mut read) = (None, None);
        let reader = Escaping { outside: &outside, written: &mut written, read: &mut read };
        unpack_confined(reader, &root, &Limits::default()).unwrap();
        assert_eq!((written, read), (Some(io::ErrorKind::PermissionDenied), Some(io::ErrorKind::PermissionDenied)));
        // The walls are of that thread only.
        fs::write(outside.join("new"), "x").unwrap();
    }
}
