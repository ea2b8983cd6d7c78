//! Options of a mount, as mount(8) and the runtime-spec name them, as changes of its attributes.

use nix::libc::{
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME, MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE,
};

use crate::spec::ChangeSpec;

/// The field of the attributes that says how access times are kept (`MOUNT_ATTR__ATIME`); 0 in it is `relatime`.
const ATIME: u64 = 0x70;

/// What the options of a mount say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MountOptions {
    pub(super) change: ChangeSpec,
    /// `Some(true)` for `rbind`.
    pub(super) bind: Option<bool>,
    /// Changes an existing mount.
    pub(super) remount: bool,
    pub(super) copy_up: bool,
    /// Owners are mapped; `Some(true)` for the mounts below too.
    pub(super) idmap: Option<bool>,
    /// What the filesystem itself is told.
    pub(super) data: Vec<(String, String)>,
}

/// Name, bits to set, bits to clear. With an `r` in front it is for the mounts below too.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ro", MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV, 0),
    ("dev", 0, MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, MOUNT_ATTR_NOEXEC),
    ("nodiratime", MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, MOUNT_ATTR_NODIRATIME),
    ("relatime", 0, ATIME),
    ("norelatime", MOUNT_ATTR_STRICTATIME, ATIME),
    ("noatime", MOUNT_ATTR_NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("strictatime", MOUNT_ATTR_STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW),
];

const PROPAGATIONS: [(&str, u64); 4] =
    [("private", MS_PRIVATE), ("shared", MS_SHARED), ("slave", MS_SLAVE), ("unbindable", MS_UNBINDABLE)];

/// Options that say what is so anyway, or that no kernel looks at any more.
const WITHOUT_EFFECT: [&str; 9] =
    ["defaults", "async", "silent", "loud", "nomand", "mand", "noiversion", "iversion", "nolazytime"];

/// Names that `stack oci features` shows.
pub(super) fn known() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().flat_map(|(name, ..)| [(*name).to_owned(), format!("r{name}")]);
    let propagations = PROPAGATIONS.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("r{name}")]);
    let others = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "sync", "dirsync", "lazytime"];
    let others = others.iter().chain(&WITHOUT_EFFECT).map(|name| (*name).to_owned());
    let mut all: Vec<String> = attributes.chain(propagations).chain(others).collect();
    all.sort();
    all
}

/// The propagation that a word asks for, and whether of the mounts below too.
pub(super) fn propagation(word: &str) -> Option<(u64, bool)> {
    let of = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag);
    of(word).map(|flag| (flag, false)).or_else(|| Some((of(word.strip_prefix('r')?)?, true)))
}

/// Reads the options of one mount.
pub(super) fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> MountOptions {
    let mut parsed = MountOptions::default();
    for option in options {
        parsed.take(option);
    }
    parsed
}

impl MountOptions {
    fn take(&mut self, option: &str) {
        let attribute = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            option if WITHOUT_EFFECT.contains(&option) => {}
            option => {
                if let Some((_, set, clear)) = attribute(option) {
                    let change = &mut self.change;
                    (change.set, change.clear) = ((change.set & !clear) | set, (change.clear & !set) | clear);
                } else if let Some(propagation) = propagation(option) {
                    self.change.propagation.push(propagation);
                } else if let Some((_, set, clear)) = option.strip_prefix('r').and_then(attribute) {
                    let change = &mut self.change;
                    change.all_set = (change.all_set & !clear) | set;
                    change.all_clear = (change.all_clear & !set) | clear;
                } else {
                    let (name, value) = option.split_once('=').unwrap_or((option, ""));
                    self.data.push((name.to_owned(), value.to_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let change = |words: &[&str]| parse(words.iter().copied()).change;
        assert_eq!(change(&["ro", "rw"]), ChangeSpec { clear: MOUNT_ATTR_RDONLY, ..ChangeSpec::default() });
        assert_eq!(change(&["rw", "ro"]), ChangeSpec { set: MOUNT_ATTR_RDONLY, ..ChangeSpec::default() });
        assert_eq!(change(&["rro"]), ChangeSpec { all_set: MOUNT_ATTR_RDONLY, ..ChangeSpec::default() });
        // The kernel wants the whole field cleared when any of it is set.
        let atime = change(&["noatime", "strictatime"]);
        assert_eq!((atime.set, atime.clear), (MOUNT_ATTR_STRICTATIME, ATIME));
        assert_eq!(change(&["rslave", "shared"]).propagation, [(MS_SLAVE, true), (MS_SHARED, false)]);
    }

    #[test]
    fn what_is_no_attribute_is_the_filesystems() {
        let parsed = parse(["nosuid", "mode=755", "newinstance", "rbind", "tmpcopyup", "defaults"]);
        assert_eq!(parsed.data, [("mode".to_owned(), "755".to_owned()), ("newinstance".to_owned(), String::new())]);
        assert_eq!((parsed.bind, parsed.copy_up, parsed.remount), (Some(true), true, false));
    }
}
