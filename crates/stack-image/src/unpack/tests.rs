//! Evil and odd layers. What passes is compared with what overlayfs expects; what does not must leave nothing outside.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use fs_err as fs;
use tar::{Builder, EntryType, Header};

use super::*;

/// A layer under construction, with names that honest tools do not write.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header
    }

    fn name(header: &mut Header, path: &[u8]) {
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.set_cksum();
    }

    fn raw(mut self, mut header: Header, path: &[u8], content: &[u8]) -> Self {
        Self::name(&mut header, path);
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.raw(Self::header(EntryType::Regular, content.len() as u64), path.as_bytes(), content.as_bytes())
    }

    fn mode(self, path: &str, mode: u32, owner: u64) -> Self {
        let mut header = Self::header(EntryType::Regular, 0);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        self.raw(header, path.as_bytes(), b"")
    }

    fn directory(self, path: &str) -> Self {
        let mut header = Self::header(EntryType::Directory, 0);
        header.set_mode(0o755);
        self.raw(header, path.as_bytes(), b"")
    }

    fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, path.as_bytes(), b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, path, target)
    }

    fn hardlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Link, path, target)
    }

    fn device(self, kind: EntryType, path: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.raw(header, path.as_bytes(), b"")
    }

    fn pax(mut self, extensions: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(extensions.iter().copied()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A directory to unpack into, inside another that must stay as it is.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("layer")).unwrap();
        fs::write(outer.path().join("secret"), "untouched").unwrap();
        fs::set_permissions(outer.path().join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
        Self { outer }
    }

    fn layer(&self) -> PathBuf {
        self.outer.path().join("layer")
    }

    fn unpack(&self, layer: Layer) -> Result<Unpacked, UnpackError> {
        self.unpack_bytes(&layer.bytes(), &Limits::default())
    }

    fn unpack_bytes(&self, bytes: &[u8], limits: &Limits) -> Result<Unpacked, UnpackError> {
        let result = unpack(bytes, &self.layer(), limits);
        let outside: Vec<_> =
            fs::read_dir(self.outer.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(outside.len(), 2, "{outside:?}");
        assert_eq!(fs::read_to_string(self.outer.path().join("secret")).unwrap(), "untouched");
        let secret = fs::metadata(self.outer.path().join("secret")).unwrap();
        assert_eq!((secret.mode() & 0o7777, secret.nlink()), (0o600, 1));
        result
    }

    fn at(&self, path: &str) -> PathBuf {
        self.layer().join(path)
    }

    /// Kind and content of everything in the layer.
    fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.layer()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                let kind = metadata.file_type();
                let text = if kind.is_dir() {
                    open.push(path.clone());
                    if is_opaque(&path) { "opaque".to_owned() } else { "directory".to_owned() }
                } else if kind.is_symlink() {
                    format!("-> {}", fs::read_link(&path).unwrap().display())
                } else if kind.is_char_device() {
                    format!("character {}", metadata.rdev())
                } else if kind.is_fifo() {
                    "fifo".to_owned()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                found.insert(path.strip_prefix(self.layer()).unwrap().display().to_string(), text);
            }
        }
        found
    }
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
}

/// Whiteouts, owners and trusted attributes need it.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP unpacking needs root");
    }
    root
}

#[track_caller]
fn refused(layer: Layer, expected: Refusal) {
    if !is_root() {
        return;
    }
    match Place::new().unpack(layer) {
        Err(UnpackError::Refused { reason, .. }) => assert_eq!(reason, expected),
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

#[track_caller]
fn gives(layer: Layer, expected: &[(&str, &str)]) {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.unpack(layer).unwrap();
    let tree = place.tree();
    let found: Vec<(&str, &str)> = tree.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn names_cannot_leave_the_layer() {
    for path in ["../x", "a/../../secret", "..", "a/..", "/../secret"] {
        refused(Layer::new().file(path, "evil"), Refusal::Escape);
        refused(Layer::new().directory(path), Refusal::Escape);
        refused(Layer::new().file("a", "x").hardlink("b", path), Refusal::Escape);
    }
    gives(Layer::new().file("/abs/file", "x"), &[("abs", "directory"), ("abs/file", "x")]);
    refused(Layer::new().pax(&[("path", b"../secret")]).file("innocent", "evil"), Refusal::Escape);
    refused(Layer::new().pax(&[("linkpath", b"../secret")]).hardlink("x", "innocent"), Refusal::Escape);
    refused(Layer::new().pax(&[("path", b"a\0b")]).file("innocent", "evil"), Refusal::Nul);
}

#[test]
fn links_are_never_followed() {
    let outside = ["..", "/", "/tmp", "../..", ".", "self"];
    for target in outside {
        refused(Layer::new().symlink("self", target).file("self/secret", "evil"), Refusal::ThroughLink);
        refused(Layer::new().symlink("self", target).directory("self/new"), Refusal::ThroughLink);
        refused(Layer::new().symlink("self", target).hardlink("b", "self/secret"), Refusal::ThroughLink);
        refused(Layer::new().symlink("self", target).file("self/.wh.secret", ""), Refusal::ThroughLink);
        refused(Layer::new().symlink("self", target).file("self/.wh..wh..opq", ""), Refusal::ThroughLink);
    }
    refused(Layer::new().directory("a").symlink("a/b", "..").file("a/b/c/d", "evil"), Refusal::ThroughLink);
    refused(Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", "evil"), Refusal::ThroughLink);
    refused(Layer::new().file("a", "x").file("a/b", "evil"), Refusal::ThroughLink);
}

#[test]
fn the_last_entry_of_a_name_counts() {
    gives(Layer::new().symlink("a", "../secret").file("a", "mine"), &[("a", "mine")]);
    gives(Layer::new().hardlink_base().file("b", "new"), &[("a", "old"), ("b", "new")]);
    gives(Layer::new().directory("a").file("a/b", "x").file("a", "file"), &[("a", "file")]);
    gives(Layer::new().file("a", "x").directory("a").file("a/b", "y"), &[("a", "directory"), ("a/b", "y")]);
    gives(Layer::new().directory("a").file("a/b", "x").directory("a"), &[("a", "directory"), ("a/b", "x")]);
    gives(Layer::new().directory("a").file("a/b", "x").symlink("a", "/").directory("a"), &[("a", "directory")]);
    gives(
        Layer::new().symlink("a", "..").directory("a").file("a/secret", "x"),
        &[("a", "directory"), ("a/secret", "x")],
    );
}

impl Layer {
    fn hardlink_base(self) -> Self {
        self.file("a", "old").hardlink("b", "a")
    }
}

#[test]
fn hard_links_stay_inside_and_name_files() {
    gives(Layer::new().file("a", "x").hardlink("d/b", "/a"), &[("a", "x"), ("d", "directory"), ("d/b", "x")]);
    gives(Layer::new().symlink("a", "../secret").hardlink("b", "a"), &[("a", "-> ../secret"), ("b", "-> ../secret")]);
    refused(Layer::new().hardlink("a", "missing"), Refusal::LinkTarget);
    refused(Layer::new().hardlink("a", "a"), Refusal::LinkTarget);
    refused(Layer::new().directory("d").hardlink("a", "d"), Refusal::LinkTarget);
    refused(Layer::new().hardlink("a", "/"), Refusal::LinkTarget);
    refused(Layer::new().file(".wh.gone", "").hardlink("a", "gone"), Refusal::LinkTarget);
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    gives(Layer::new().file("d/.wh.gone", ""), &[("d", "directory"), ("d/gone", "character 0")]);
    gives(Layer::new().directory("d").file("d/.wh..wh..opq", ""), &[("d", "opaque")]);
    gives(Layer::new().file("d/.wh..wh..opq", "").directory("d"), &[("d", "opaque")]);
    // A whiteout speaks of lower layers only, in whatever order it comes.
    gives(Layer::new().file("a", "x").file(".wh.a", ""), &[("a", "x")]);
    gives(Layer::new().file(".wh.a", "").file("a", "x"), &[("a", "x")]);
    gives(Layer::new().file(".wh.a", "").directory("a").file("a/b", "x"), &[("a", "opaque"), ("a/b", "x")]);
    gives(Layer::new().directory("a").file("a/b", "x").file(".wh.a", ""), &[("a", "opaque"), ("a/b", "x")]);
    gives(Layer::new().file(".wh..wh.plnk", "").file(".wh..wh.aufs", ""), &[]);
    for bad in [".wh.", ".wh..", ".wh...", "d/.wh..wh.other", ".wh.d/x"] {
        refused(Layer::new().file(bad, ""), Refusal::Whiteout);
    }
    refused(Layer::new().file(".wh..wh..opq", ""), Refusal::OpaqueRoot);
    refused(Layer::new().directory(".wh../x"), Refusal::Whiteout);
}

#[test]
fn devices_need_to_be_harmless() {
    refused(Layer::new().device(EntryType::Char, "a", 0, 0), Refusal::Device);
    refused(Layer::new().device(EntryType::Char, "mem", 1, 1), Refusal::Device);
    refused(Layer::new().device(EntryType::Block, "sda", 8, 0), Refusal::Device);
    refused(Layer::new().device(EntryType::Block, "null", 1, 3), Refusal::Device);
    gives(Layer::new().device(EntryType::Char, "null", 1, 3), &[("null", &format!("character {}", (1 << 8) | 3))]);
    gives(Layer::new().device(EntryType::Fifo, "pipe", 0, 0), &[("pipe", "fifo")]);
}

#[test]
fn what_layers_do_not_have_is_refused() {
    let mut sparse = Layer::header(EntryType::GNUSparse, 0);
    sparse.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
    refused(Layer::new().raw(sparse, b"a", b""), Refusal::Sparse);
    refused(Layer::new().pax(&[("GNU.sparse.major", b"1")]).file("a", "x"), Refusal::Sparse);
    refused(Layer::new().raw(Layer::header(EntryType::new(b'Z'), 0), b"a", b""), Refusal::Type);
    refused(Layer::new().file("/", "x"), Refusal::Root);
    refused(Layer::new().symlink("./", "/etc"), Refusal::Root);
    refused(Layer::new().mode("a", 0o644, u32::MAX.into()), Refusal::Number);
    refused(Layer::new().mode("a", 0o644, 1 << 40), Refusal::Number);
    refused(Layer::new().pax(&[("mtime", b"soon")]).file("a", "x"), Refusal::Number);
    refused(Layer::new().symlink("a", ""), Refusal::LinkTarget);
    let long = "n".repeat(256);
    refused(Layer::new().pax(&[("path", long.as_bytes())]).file("a", "x"), Refusal::TooLong);
    refused(Layer::new().pax(&[("path", "d/".repeat(5000).as_bytes())]).file("a", "x"), Refusal::TooLong);
    refused(Layer::new().pax(&[("linkpath", "d/".repeat(5000).as_bytes())]).symlink("a", "x"), Refusal::TooLong);
}

#[test]
fn what_two_readers_understand_differently_is_refused() {
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::Fifo] {
        let mut header = Layer::header(kind, 512);
        header.as_old_mut().linkname[..1].copy_from_slice(b"t");
        refused(Layer::new().file("t", "x").raw(header, b"a", &[0; 512]), Refusal::Content);
    }
    refused(Layer::new().pax(&[("size", b"512")]).symlink("a", "t").file("b", "x"), Refusal::Content);
    refused(Layer::new().pax(&[("path", b"a"), ("path", b"b")]).file("x", ""), Refusal::Ambiguous);
    let mut long = Layer::header(EntryType::GNULongName, 9);
    Layer::name(&mut long, b"././@LongLink");
    let both = Layer::new().raw(long, b"", b"gnu-name\0").pax(&[("path", b"pax-name")]);
    refused(both.file("x", ""), Refusal::Ambiguous);
}

/// Seconds of a directory's time.
fn modified(place: &Place, path: &str) -> i64 {
    fs::metadata(place.at(path)).unwrap().mtime()
}

#[test]
fn filling_a_directory_does_not_change_its_time() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let at = |layer: Layer, path: &str, time: u64| {
        let mut header = Layer::header(EntryType::Directory, 0);
        header.set_mtime(time);
        layer.raw(header, path.as_bytes(), b"")
    };
    let layer = at(at(at(Layer::new(), "a", 1000), "a/b", 2000), "late", 10);
    // Between each other, through directories that no entry made, and with the directory's own entry last.
    let layer =
        layer.file("a/1", "x").file("a/b/1", "x").file("a/made/deep/1", "x").file("a/2", "x").file("late/1", "x");
    let layer = at(at(layer, "late", 3000).file("late/2", "x").file("a/.wh.gone", ""), "./", 4000);
    place.unpack(layer.file("top", "x")).unwrap();
    assert_eq!(["a", "a/b", "late", ""].map(|path| modified(&place, path)), [1000, 2000, 3000, 4000]);
}

#[test]
fn modes_owners_times_and_attributes_are_kept() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let attributes: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.user.kept", b"yes"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("mtime", b"1500000000.25"),
    ];
    let layer = Layer::new().mode("set", 0o6755, 1000).pax(attributes).file("capable", "x");
    let layer = layer.pax(&attributes[2..]).directory("d").file("d/late", "x").symlink("link", "set");
    let mut root = Layer::header(EntryType::Directory, 0);
    root.set_mode(0o1777);
    place.unpack(layer.raw(root, b"./", b"")).unwrap();
    let set = fs::metadata(place.at("set")).unwrap();
    assert_eq!((set.mode() & 0o7777, set.uid(), set.gid(), set.mtime()), (0o6755, 1000, 1000, 1_600_000_000));
    let capable = place.at("capable");
    let names = |path: &PathBuf| {
        let mut list = [0; 256];
        let length = rustix::fs::listxattr(path, &mut list[..]).unwrap();
        let mut names: Vec<String> =
            list[..length].split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        names
    };
    assert_eq!(names(&capable), ["security.capability", "user.kept"]);
    assert_eq!(names(&place.at("d")), Vec::<String>::new());
    let directory = fs::metadata(place.at("d")).unwrap();
    assert_eq!((directory.mtime(), directory.mtime_nsec()), (1_500_000_000, 250_000_000));
    assert_eq!(fs::metadata(place.layer()).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::symlink_metadata(place.at("link")).unwrap().mtime(), 1_600_000_000);
}

#[test]
fn long_names_work_in_both_forms() {
    if !is_root() {
        return;
    }
    let long = format!("{}/{}", "a".repeat(120), "b".repeat(200));
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut Layer::header(EntryType::Regular, 3), &long, &b"gnu"[..]).unwrap();
    let place = Place::new();
    place.unpack_bytes(&builder.into_inner().unwrap(), &Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(place.at(&long)).unwrap(), "gnu");
    gives(
        Layer::new().pax(&[("path", long.as_bytes())]).file("short", "pax"),
        &[(&"a".repeat(120), "directory"), (&long, "pax")],
    );
}

#[test]
fn limits_end_it_cleanly() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let many = (0..20).fold(Layer::new(), |layer, number| layer.file(&format!("f{number}"), "x")).bytes();
    let limits = Limits { entries: 10, ..Limits::default() };
    assert!(matches!(place.unpack_bytes(&many, &limits), Err(UnpackError::Limit { what: "entries", max: 10 })));
    let limits = Limits { bytes: 4096, ..Limits::default() };
    assert!(matches!(Place::new().unpack_bytes(&many, &limits), Err(UnpackError::Limit { what: "bytes", max: 4096 })));
}

#[test]
fn a_bomb_is_told_from_honest_content() {
    if !is_root() {
        return;
    }
    // Ten gigabytes of zeros that were ten megabytes: the end comes at one gigabyte, which stays sparse here.
    let mut header = Layer::header(EntryType::Regular, 0);
    header.set_size(10 << 30);
    Layer::name(&mut header, b"./");
    let mut header = Layer::header(EntryType::Regular, 10 << 30);
    Layer::name(&mut header, b".wh.bomb");
    let bomb = header.as_bytes().chain(io::repeat(0).take(10 << 30));
    let place = Place::new();
    let result = unpack(bomb, &place.layer(), &Limits { compressed: 10 << 10, ..Limits::default() });
    assert!(matches!(result, Err(UnpackError::Ratio { max, .. }) if max == RATIO_FREE_BYTES), "{result:?}");
}

#[test]
fn headers_do_not_fill_the_memory() {
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
        let mut header = Layer::header(kind, 1 << 40);
        Layer::name(&mut header, b"x");
        let endless = header.as_bytes().chain(io::repeat(b'1'));
        let place = Place::new();
        let result = unpack(endless, &place.layer(), &Limits::default());
        assert!(matches!(result, Err(UnpackError::Limit { max: meter::HEADER_MAX, .. })), "{result:?}");
    }
}

#[test]
fn damage_is_said() {
    let whole = Layer::new().file("a", &"x".repeat(2000)).file("b", "y").bytes();
    for length in [100, 700, 1600] {
        let result = Place::new().unpack_bytes(&whole[..length], &Limits::default());
        assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{length}: {result:?}");
    }
    let result = Place::new().unpack_bytes(&[b'x'; 1024], &Limits::default());
    match result {
        Err(UnpackError::Damaged { entries: 0, source }) => {
            assert_eq!(source.to_string(), "what follows is no header of a tar");
        }
        other => panic!("{other:?}"),
    }
    let pax_size = Layer::new().pax(&[("size", b"99999999999999999999999")]).file("a", "x").bytes();
    assert!(Place::new().unpack_bytes(&pax_size, &Limits::default()).is_err());
    let pax_size = Layer::new().pax(&[("size", b"1000000")]).file("a", "x").bytes();
    assert!(Place::new().unpack_bytes(&pax_size, &Limits::default()).is_err());
    assert_eq!(Place::new().unpack_bytes(&[], &Limits::default()).unwrap(), Unpacked::default());
}

#[test]
fn bytes_behind_the_end_count_and_do_nothing() {
    let mut bytes = Layer::new().file("a", "x").bytes();
    bytes.extend_from_slice(&Layer::new().file("b", "y").bytes());
    let place = Place::new();
    if is_root() {
        assert_eq!(place.unpack_bytes(&bytes, &Limits::default()).unwrap().bytes, bytes.len() as u64);
        assert!(place.at("a").exists() && !place.at("b").exists());
    }
}
