//! `user[:group]` against the container's own files. They are the image's: their size and content are not trusted.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use fs_err::File;
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::StepFailure;

/// Bytes of `/etc/passwd` or `/etc/group` that are read (CVE-2026-47262: a group file of gigabytes).
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What setgroups(2) takes is 65536; nobody needs that many.
const GROUPS_MAX: usize = 256;

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
    pub(crate) umask: Option<u32>,
}

/// Looks a user and further groups up below `root`.
pub(crate) fn look_up(root: &Path, user: &str, further: &[String]) -> Result<Identity, StepFailure> {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let passwd = lines(&root.join("etc/passwd"));
    let group_lines = lines(&root.join("etc/group"));
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.iter().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && (fields[0] == user || number.is_some() && fields[2].parse().ok() == number)
    });
    let (name, uid, own_gid, home) = match (&entry, number) {
        (Some(fields), _) => {
            (fields[0].to_owned(), fields[2].parse().unwrap_or(0), fields[3].parse().unwrap_or(0), fields[5].to_owned())
        }
        (None, Some(uid)) => (String::new(), uid, 0, "/".to_owned()),
        (None, None) => return Err(StepFailure::because("find user", user, "it is not in the image's /etc/passwd")),
    };
    let gid = match group {
        Some(group) => find_group(&group_lines, group)?,
        None => own_gid,
    };
    // A group that was named stands alone, as docker has it.
    let mut groups = if group.is_none() { groups_of(&group_lines, &name) } else { Vec::new() };
    for group in further {
        groups.push(find_group(&group_lines, group)?);
    }
    Ok(Identity { uid, gid, groups, home: if home.is_empty() { "/".to_owned() } else { home }, umask: None })
}

/// The home directory of a user by number.
pub(crate) fn home_of(root: &Path, uid: u32) -> String {
    let found = lines(&root.join("etc/passwd")).into_iter().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() >= 6 && fields[2].parse() == Ok(uid) && !fields[5].is_empty()).then(|| fields[5].to_owned())
    });
    found.unwrap_or_else(|| "/".to_owned())
}

fn find_group(lines: &[String], group: &str) -> Result<u32, StepFailure> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let fields = lines.iter().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == group);
    fields
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| StepFailure::because("find group", group, "it is not in the image's /etc/group"))
}

fn groups_of(lines: &[String], name: &str) -> Vec<u32> {
    let member = |line: &String| {
        let fields: Vec<&str> = line.split(':').collect();
        let listed = fields.get(3)?.split(',').any(|member| !name.is_empty() && member == name);
        listed.then(|| fields[2].parse().ok()).flatten()
    };
    lines.iter().filter_map(member).take(GROUPS_MAX).collect()
}

/// The lines of a file; none where it is missing or not text.
fn lines(path: &Path) -> Vec<String> {
    let Ok(file) = open_file(path) else { return Vec::new() };
    BufReader::new(file.take(FILE_BYTES_MAX)).lines().map_while(Result::ok).collect()
}

/// Opens a file of the container, which may have put a pipe there: to open that is to wait for ever.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if !FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(File::from_parts(file.into(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir(root.path().join("etc")).unwrap();
        fs_err::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:33:44::/srv:/bin/sh\nbad line\n",
        )
        .unwrap();
        fs_err::write(root.path().join("etc/group"), "root:x:0:\napp:x:44:\nlog:x:4:app,other\n").unwrap();
        root
    }

    fn identity(user: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        let found = look_up(root().path(), user, &[]).map_err(|failure| failure.to_string())?;
        Ok((found.uid, found.gid, found.groups, found.home))
    }

    #[test]
    fn further_groups_come_on_top_and_have_to_exist() {
        let further = ["log".to_owned(), "7000".to_owned()];
        assert_eq!(look_up(root().path(), "1234:5", &further).unwrap().groups, [4, 7000]);
        let failure = look_up(root().path(), "", &["none".to_owned()]).unwrap_err();
        assert_eq!(failure.to_string(), "cannot find group none: it is not in the image's /etc/group");
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(identity(""), Ok((0, 0, vec![], "/root".to_owned())));
        assert_eq!(identity("app"), Ok((33, 44, vec![4], "/srv".to_owned())));
        assert_eq!(identity("33"), Ok((33, 44, vec![4], "/srv".to_owned())));
        assert_eq!(identity("app:log"), Ok((33, 4, vec![], "/srv".to_owned())));
        assert_eq!(identity("1234:5"), Ok((1234, 5, vec![], "/".to_owned())));
        assert_eq!(identity("who").unwrap_err(), "cannot find user who: it is not in the image's /etc/passwd");
    }
}
