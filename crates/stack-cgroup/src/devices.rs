//! Which device nodes a container may open and make: lines of the devices controller on version 1, a program on
//! version 2 ([`program`]).

mod program;

use std::path::Path;
use std::str::FromStr;

use crate::file::{read, write};
use crate::{CgroupError, Kind};

/// Character devices by number (Documentation/admin-guide/devices.txt): null, zero, full, random, urandom, tty,
/// console, ptmx, and every pseudo terminal.
const ALLOWED: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Which device nodes a container may open.
#[derive(Debug, Clone, Copy)]
pub enum Devices<'a> {
    /// Every one.
    All,
    /// Those that every program expects, and those of these rules, in the form `c 10:229 rwm`.
    Usual {
        /// Further rules.
        and: &'a [String],
    },
}

/// A kind of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `b`.
    Block,
    /// `c`.
    Character,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAccess {
    /// `r`: open it for reading.
    pub read: bool,
    /// `w`: open it for writing.
    pub write: bool,
    /// `m`: make a node of it.
    pub make: bool,
}

impl DeviceAccess {
    /// All of it.
    pub const ALL: Self = Self { read: true, write: true, make: true };

    /// From letters; what the kernel does not know is passed over, and none at all is all of it.
    pub fn of_letters(letters: &str) -> Self {
        let [read, write, make] = ['r', 'w', 'm'].map(|letter| letters.contains(letter));
        if read || write || make { Self { read, write, make } } else { Self::ALL }
    }
}

/// One line of what may be done with devices. The last line that speaks of an access decides about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it may.
    pub allow: bool,
    /// `None` is every device of every kind, whatever the other fields say (`a`).
    pub kind: Option<DeviceKind>,
    /// `None` is every number.
    pub major: Option<u32>,
    /// `None` is every number.
    pub minor: Option<u32>,
    /// What the line speaks of.
    pub access: DeviceAccess,
}

impl DeviceRule {
    /// Nothing is allowed, which comes first.
    pub const NOTHING: Self = Self { allow: false, kind: None, major: None, minor: None, access: DeviceAccess::ALL };

    /// What every container may: to use the devices that every program expects, and to make nodes, which is
    /// CAP_MKNOD's business; only opening them is decided here.
    pub fn usual() -> impl Iterator<Item = Self> {
        let make = DeviceAccess { read: false, write: false, make: true };
        let all = Self { allow: true, major: None, minor: None, access: make, ..Self::NOTHING };
        let kinds = [DeviceKind::Character, DeviceKind::Block];
        let made = kinds.map(|kind| Self { kind: Some(kind), ..all });
        let used = ALLOWED.map(|(major, minor)| Self {
            kind: Some(DeviceKind::Character),
            major: Some(major),
            minor,
            access: DeviceAccess::ALL,
            ..all
        });
        made.into_iter().chain(used)
    }

    /// As version 1 takes it.
    fn line(&self) -> String {
        let kind = match self.kind {
            None => return "a".to_owned(),
            Some(DeviceKind::Block) => 'b',
            Some(DeviceKind::Character) => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let DeviceAccess { read, write, make } = self.access;
        let letters = [(read, 'r'), (write, 'w'), (make, 'm')].into_iter().filter(|(has, _)| *has);
        let letters: String = letters.map(|(_, letter)| letter).collect();
        format!("{kind} {}:{} {letters}", number(self.major), number(self.minor))
    }
}

impl FromStr for DeviceRule {
    type Err = CgroupError;

    /// `a`, or `c 10:229 rwm` with `*` for every number.
    fn from_str(text: &str) -> Result<Self, CgroupError> {
        let wrong = || CgroupError::DeviceRule { text: text.to_owned() };
        let mut words = text.split_ascii_whitespace();
        let kind = match words.next() {
            Some("a") => return Ok(Self { allow: true, ..Self::NOTHING }),
            Some("b") => DeviceKind::Block,
            Some("c") => DeviceKind::Character,
            _ => return Err(wrong()),
        };
        let (major, minor) = words.next().and_then(|word| word.split_once(':')).ok_or_else(wrong)?;
        let number = |word: &str| if word == "*" { Ok(None) } else { word.parse().map(Some).map_err(|_| wrong()) };
        let access = DeviceAccess::of_letters(words.next().unwrap_or_default());
        Ok(Self { allow: true, kind: Some(kind), major: number(major)?, minor: number(minor)?, access })
    }
}

/// The rules for a container of ours.
pub(crate) fn usual(further: &[String]) -> Result<Vec<DeviceRule>, CgroupError> {
    let further: Vec<DeviceRule> = further.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    Ok(std::iter::once(DeviceRule::NOTHING).chain(DeviceRule::usual()).chain(further).collect())
}

/// Holds devices back for a cgroup and all that will be below it.
pub(crate) fn restrict(kind: Kind, directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    match kind {
        Kind::V1 => restrict_v1(directory, rules),
        Kind::V2 => restrict_v2(directory, rules),
    }
}

/// Writes the lines of version 1, in order.
fn restrict_v1(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    rules.iter().try_for_each(|rule| {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        write(&directory.join(file), &rule.line())
    })
}

/// Puts a program in force.
fn restrict_v2(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let failed = |source| CgroupError::DeviceProgram { path: directory.to_path_buf(), source };
    let open = || std::fs::File::open(directory);
    let cgroup = open().map_err(|source| CgroupError::Directory { path: directory.to_path_buf(), source })?;
    let set = || {
        let program = stack_sys::load_device_program(&program::program(rules))?;
        stack_sys::set_device_program(std::os::fd::AsFd::as_fd(&cgroup), std::os::fd::AsFd::as_fd(&program))
    };
    match set() {
        // Whoever is root of a user namespace only can make no device nodes (user_namespaces(7)).
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && !has_every_user() => Ok(()),
        result => result.map_err(failed),
    }
}

/// Whether this is the first user namespace, in which every user is who he is.
fn has_every_user() -> bool {
    let map = read(Path::new("/proc/self/uid_map")).unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn rules_are_read_and_written_as_version_1_has_them() {
        for text in ["a", "c 10:229 rw", "b *:* m", "c 136:* rwm"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().line(), text);
        }
        assert_eq!("c 1:3".parse::<DeviceRule>().unwrap().line(), "c 1:3 rwm");
        for text in ["", "x 1:2 r", "c 1 r", "c 1:x r"] {
            let error = text.parse::<DeviceRule>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is no rule for devices: they are like `c 10:229 rwm`"));
        }
    }

    #[test]
    fn version_1_takes_everything_away_first() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["devices.allow", "devices.deny"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        restrict_v1(directory.path(), &usual(&["c 10:229 rwm".to_owned()]).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("devices.deny")).unwrap(), "a");
        assert!(fs::read_to_string(directory.path().join("devices.allow")).unwrap().starts_with("c 10:229 rwm"));
    }
}
