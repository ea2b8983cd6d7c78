//! Whatever the bytes of a layer are: no panic, and nothing outside its directory is made, changed or removed.
//! Run: `cargo +nightly fuzz run unpack` in `crates/stack-image`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stack_image::unpack::{Limits, unpack};

const LIMITS: Limits = Limits { entries: 1000, bytes: 8 << 20, compressed: 0 };

fuzz_target!(|bytes: &[u8]| {
    let outer = tempfile::tempdir().expect("a temporary directory can be made");
    let (layer, secret) = (outer.path().join("layer"), outer.path().join("secret"));
    std::fs::create_dir(&layer).expect("it is ours");
    std::fs::write(&secret, "untouched").expect("it is ours");
    drop(unpack(bytes, &layer, &LIMITS));
    assert_eq!(std::fs::read_to_string(&secret).expect("it is still there"), "untouched");
    assert_eq!(std::fs::read_dir(outer.path()).expect("it is ours").count(), 2);
});
