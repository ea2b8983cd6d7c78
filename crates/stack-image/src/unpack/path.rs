//! Names of entries: cleaned, checked, and told from whiteouts.

use super::Refusal;

/// Longest path of an entry in bytes (`PATH_MAX` with its NUL, limits.h).
const PATH_LENGTH_MAX: usize = 4095;
/// Longest name in bytes (`NAME_MAX`, limits.h).
const NAME_LENGTH_MAX: usize = 255;
/// Deepest entry: removing a tree keeps one descriptor open per level.
const DEPTH_MAX: usize = 256;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself and old tools packed; it means nothing elsewhere.
const OF_AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];

/// A path without `.`, doubled and outer slashes. An absolute path means the same below the layer, as for all tools.
pub(crate) fn clean(raw: &[u8]) -> Result<Vec<u8>, Refusal> {
    if raw.contains(&0) {
        return Err(Refusal::Nul);
    }
    let mut path = Vec::with_capacity(raw.len().min(PATH_LENGTH_MAX));
    let mut depth = 0;
    for component in raw.split(|byte| *byte == b'/').filter(|component| !component.is_empty() && *component != b".") {
        if component == b".." {
            return Err(Refusal::Escape);
        }
        depth += 1;
        if component.len() > NAME_LENGTH_MAX || depth > DEPTH_MAX {
            return Err(Refusal::TooLong);
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    if path.len() > PATH_LENGTH_MAX { Err(Refusal::TooLong) } else { Ok(path) }
}

/// Parent and name of a cleaned path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What a name says about the layers below.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark<'a> {
    /// Nothing: it is an entry like any other.
    None,
    /// Nothing any more.
    Ignored,
    /// Everything below this directory is hidden.
    Opaque(&'a [u8]),
    /// This path is hidden.
    Whiteout(Vec<u8>),
}

pub(super) fn mark(path: &[u8]) -> Result<Mark<'_>, Refusal> {
    let (parent, name) = split(path);
    if parent.split(|byte| *byte == b'/').any(|component| component.starts_with(WHITEOUT)) {
        // Old tools packed the content of AUFS' own directories, too.
        let first = parent.split(|byte| *byte == b'/').find(|component| component.starts_with(WHITEOUT));
        let is_of_aufs = first.is_some_and(|first| OF_AUFS.contains(&first));
        return if is_of_aufs { Ok(Mark::Ignored) } else { Err(Refusal::Whiteout) };
    }
    if name == OPAQUE {
        return Ok(Mark::Opaque(parent));
    }
    if OF_AUFS.contains(&name) {
        return Ok(Mark::Ignored);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Mark::None),
        Some(b"" | b"." | b"..") => Err(Refusal::Whiteout),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Err(Refusal::Whiteout),
        Some(hidden) => {
            let mut path = parent.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(hidden);
            Ok(Mark::Whiteout(path))
        }
    }
}

/// Longest name that a message shows in bytes.
const SHOWN_MAX: usize = 200;

/// A name as a terminal may show it: no control characters, not endless.
pub(crate) fn show(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(&raw[..raw.len().min(SHOWN_MAX)]);
    let mut shown: String = text
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    if raw.len() > SHOWN_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_leave() {
        let clean = |text: &str| clean(text.as_bytes()).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(clean("./a//b/./c/").unwrap(), "a/b/c");
        assert_eq!(clean("/etc/passwd").unwrap(), "etc/passwd");
        assert_eq!(clean("./").unwrap(), "");
        assert_eq!(clean("...").unwrap(), "...");
        for escape in ["..", "../a", "a/..", "a/../b", "/..", "a/b/../../.."] {
            assert_eq!(clean(escape), Err(Refusal::Escape), "{escape}");
        }
        assert_eq!(clean("a\0b"), Err(Refusal::Nul));
        assert_eq!(clean(&"a".repeat(256)), Err(Refusal::TooLong));
        assert_eq!(clean(&"a/".repeat(300)), Err(Refusal::TooLong));
        assert_eq!(clean(&format!("{}/", "a".repeat(255)).repeat(17)), Err(Refusal::TooLong));
    }

    #[test]
    fn whiteouts_are_read_strictly() {
        assert_eq!(mark(b"a/.wh.b"), Ok(Mark::Whiteout(b"a/b".to_vec())));
        assert_eq!(mark(b".wh.b"), Ok(Mark::Whiteout(b"b".to_vec())));
        assert_eq!(mark(b"a/.wh..wh..opq"), Ok(Mark::Opaque(b"a")));
        assert_eq!(mark(b".wh..wh.plnk"), Ok(Mark::Ignored));
        assert_eq!(mark(b".wh..wh.plnk/123"), Ok(Mark::Ignored));
        assert_eq!(mark(b"a/.whx"), Ok(Mark::None));
        for bad in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh..wh.x", "a/.wh.b/c", ".wh.x/.wh..wh..opq"] {
            assert_eq!(mark(bad.as_bytes()), Err(Refusal::Whiteout), "{bad}");
        }
    }

    #[test]
    fn names_are_shown_safely() {
        assert_eq!(show(b"a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(show(&[b'x'; 500]).chars().count(), SHOWN_MAX + 1);
    }
}
