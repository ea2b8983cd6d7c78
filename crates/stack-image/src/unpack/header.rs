//! The facts of a header, range-checked.

use std::collections::BTreeSet;
use std::io::Read;

use rustix::fs::Timespec;
use tar::{Entry, EntryType};

use super::Refusal;

/// What is taken over besides name, type and content.
#[derive(Debug)]
pub(super) struct Facts {
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Timespec,
    /// In bytes.
    pub(super) size: u64,
    /// Major and minor number; `None` for what has none.
    pub(super) device: Option<(u32, u32)>,
    /// The attributes that pass, by full name.
    pub(super) attributes: Vec<(String, Vec<u8>)>,
}

/// Prefix of an extended attribute in a PAX header, as GNU tar, bsdtar and Go write it.
const PAX_ATTRIBUTE: &str = "SCHILY.xattr.";
/// Sparse files of GNU tar in PAX form.
const PAX_SPARSE: &str = "GNU.sparse.";

pub(super) fn read_facts<R: Read>(entry: &mut Entry<'_, R>) -> Result<Facts, Refusal> {
    let mut modified = None;
    let mut attributes = Vec::new();
    let mut seen = BTreeSet::new();
    let name = entry.path_bytes().into_owned();
    let extensions = entry.pax_extensions().map_err(|_| Refusal::Number)?;
    for extension in extensions.into_iter().flatten() {
        let extension = extension.map_err(|_| Refusal::Number)?;
        let Ok(key) = extension.key() else { continue };
        // Of two values some readers take the first and some the last; so with a long name of GNU tar beside this one.
        if !seen.insert(key.to_owned()) || key == "path" && extension.value_bytes() != name {
            return Err(Refusal::Ambiguous);
        }
        if key.starts_with(PAX_SPARSE) {
            return Err(Refusal::Sparse);
        }
        // tar falls back to the plain header where these make no sense; another reader may not.
        if matches!(key, "size" | "uid" | "gid")
            && extension.value().ok().is_none_or(|text| text.parse::<u64>().is_err())
        {
            return Err(Refusal::Number);
        }
        if key == "mtime" {
            modified = Some(extension.value().ok().and_then(parse_time).ok_or(Refusal::Number)?);
        }
        if let Some(name) = key.strip_prefix(PAX_ATTRIBUTE).filter(|name| is_allowed_attribute(name)) {
            attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    let size = entry.size();
    let header = entry.header();
    // Some readers pass over the content of a link, some take it for the next entry.
    if size > 0 && !matches!(header.entry_type(), EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse) {
        return Err(Refusal::Content);
    }
    let number = |value: std::io::Result<u64>| value.map_err(|_| Refusal::Number);
    // All ones tells chown(2) to leave the owner alone.
    let owner =
        |value| number(value).and_then(|id| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(Refusal::Number));
    let device = header.device_major().ok().flatten().zip(header.device_minor().ok().flatten());
    let modified = match modified {
        Some(modified) => modified,
        None => Timespec { tv_sec: i64::try_from(number(header.mtime())?).map_err(|_| Refusal::Number)?, tv_nsec: 0 },
    };
    Ok(Facts {
        mode: header.mode().map_err(|_| Refusal::Number)? & 0o7777,
        uid: owner(header.uid())?,
        gid: owner(header.gid())?,
        modified,
        size,
        device,
        attributes,
    })
}

/// Capabilities and the user's own. Never overlayfs' (they redirect and hide), never labels of another machine's policy.
pub(crate) fn is_allowed_attribute(name: &str) -> bool {
    name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay"))
}

/// Seconds since the epoch with an optional sign and fraction (pax(1), `mtime`).
fn parse_time(text: &str) -> Option<Timespec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    match whole.starts_with('-') && nanoseconds > 0 {
        true => Some(Timespec { tv_sec: seconds.checked_sub(1)?, tv_nsec: 1_000_000_000 - nanoseconds }),
        false => Some(Timespec { tv_sec: seconds, tv_nsec: nanoseconds }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        let parse = |text| parse_time(text).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(parse("1700000000.123456789123"), Some((1_700_000_000, 123_456_789)));
        assert_eq!(parse("12"), Some((12, 0)));
        assert_eq!(parse("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(parse("-0.5"), Some((-1, 500_000_000)));
        for bad in ["", "x", "1.x", "99999999999999999999", "1.2.3", "-9223372036854775808.5"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn attributes_that_steer_the_kernel_do_not_pass() {
        assert!(is_allowed_attribute("security.capability") && is_allowed_attribute("user.mime_type"));
        for bad in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "user.overlay.opaque",
            "security.selinux",
            "system.posix_acl_access",
            "user",
        ] {
            assert!(!is_allowed_attribute(bad), "{bad}");
        }
    }
}
