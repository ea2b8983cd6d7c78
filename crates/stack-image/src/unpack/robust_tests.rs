//! Whatever a layer holds: no panic, and nothing outside its directory is made, changed or removed.

use std::os::unix::fs::MetadataExt;

use fs_err as fs;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::{Limits, unpack};

/// Names that mean something to the kernel, to tar or to whiteouts, so that short sequences hit the hard cases.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "../secret",
    "..",
    ".",
    "/",
    "/secret",
    "a/../../secret",
    ".wh.a",
    "a/.wh..wh..opq",
    ".wh..",
    "layer",
    "./a/",
    "self/secret",
];
const KINDS: [u8; 13] = [b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'S', b'x', b'L', b'K', b'g'];

#[derive(Debug, Clone)]
struct Item {
    kind: usize,
    name: usize,
    target: usize,
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let device = (0..10_u32, 0..10_u32);
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(b"18 path=../secret\n".to_vec()),
        Just(b"22 linkpath=../secret\n".to_vec()),
        Just(b"../secret\0".to_vec()),
    ];
    let item = (0..KINDS.len(), 0..NAMES.len(), 0..NAMES.len(), 0..0o10000_u32, device, content);
    let item =
        item.prop_map(|(kind, name, target, mode, device, content)| Item { kind, name, target, mode, device, content });
    prop::collection::vec(item, 0..12)
}

fn write(items: &[Item]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(KINDS[item.kind]));
        header.set_mode(item.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(item.content.len() as u64);
        let (name, target) = (NAMES[item.name].as_bytes(), NAMES[item.target].as_bytes());
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_device_major(item.device.0).expect("it is a GNU header");
        header.set_device_minor(item.device.1).expect("it is a GNU header");
        header.set_cksum();
        builder.append(&header, item.content.as_slice()).expect("memory takes it");
    }
    builder.into_inner().expect("memory takes it")
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let outer = tempfile::tempdir().expect("a temporary directory can be made");
    let (layer, secret) = (outer.path().join("layer"), outer.path().join("secret"));
    fs::create_dir(&layer)?;
    fs::write(&secret, "untouched")?;
    let before = fs::metadata(&secret)?;
    drop(unpack(bytes, &layer, &Limits { entries: 1000, bytes: 1 << 20, compressed: 0 }));
    let after = fs::metadata(&secret)?;
    prop_assert_eq!(fs::read_to_string(&secret)?, "untouched");
    prop_assert_eq!((before.mode(), before.ino(), 1), (after.mode(), after.ino(), after.nlink()));
    prop_assert_eq!(fs::read_dir(outer.path())?.count(), 2);
    Ok(())
}

proptest! {
    #[test]
    fn hostile_entries_stay_inside(items in items()) {
        check(&write(&items))?;
    }

    #[test]
    fn damaged_layers_stay_inside(items in items(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = write(&items);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        check(&bytes)?;
    }

    #[test]
    fn any_bytes_stay_inside(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        check(&bytes)?;
    }
}
