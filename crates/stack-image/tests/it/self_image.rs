use std::os::unix::fs::{MetadataExt, PermissionsExt};

use fs_err as fs;
use stack_image::{SELF_IMAGE, Store};

use crate::{Place, layout};

#[test]
fn the_built_in_image_is_the_binary() {
    let place = Place::new();
    let binary = place.directory.path().join("program");
    fs::write(&binary, "one").unwrap();
    fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    let facts = place.store.ensure_self_image(&binary).unwrap();
    assert_eq!(facts.config.entrypoint, ["/stack"]);
    assert_eq!(place.store.find(&SELF_IMAGE.into()).unwrap(), Some(facts.clone()));
    let program = place.store.layer_path(&facts.layers[0]).join("stack");
    assert_eq!(fs::read_to_string(&program).unwrap(), "one");
    assert_eq!(fs::metadata(&program).unwrap().mode() & 0o555, 0o555);
    assert_eq!(fs::metadata(&binary).unwrap().mode() & 0o7777, 0o755, "the host's file keeps its mode");
    place.assert_clean();

    // The blob is the tar whose hash is the diff id, so any tool can read it.
    let hex = &facts.layers[0].as_str()["sha256:".len()..];
    let blob = fs::read(place.directory.path().join("images/blobs/sha256").join(hex)).unwrap();
    assert_eq!(crate::image::digest(&blob), facts.layers[0].as_str());
    let mut archive = tar::Archive::new(blob.as_slice());
    let entries: Vec<_> = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(entries, [std::path::Path::new("stack")]);
}

#[test]
fn an_unchanged_binary_is_not_read_again() {
    let place = Place::new();
    let binary = place.directory.path().join("program");
    fs::write(&binary, "one").unwrap();
    let first = place.store.ensure_self_image(&binary).unwrap();
    let index = place.directory.path().join("images/index.json");
    let before = fs::metadata(&index).unwrap().ino();
    let other = Store::open(&layout(place.directory.path())).unwrap();
    assert_eq!(other.ensure_self_image(&binary).unwrap(), first);
    assert_eq!(fs::metadata(&index).unwrap().ino(), before);

    // A new binary takes the place of the old one, as an upgrade does: written aside and renamed.
    let fresh = place.directory.path().join("fresh");
    fs::write(&fresh, "two").unwrap();
    fs::rename(&fresh, &binary).unwrap();
    let second = place.store.ensure_self_image(&binary).unwrap();
    assert_ne!(second, first);
    assert_eq!(place.store.find(&SELF_IMAGE.into()).unwrap(), Some(second.clone()));
    let program = |facts: &stack_model::ImageFacts| place.store.layer_path(&facts.layers[0]).join("stack");
    assert_eq!(fs::read_to_string(program(&second)).unwrap(), "two");
    assert_eq!(fs::read_to_string(program(&first)).unwrap(), "one", "containers may still run from it");
    assert_eq!(place.store.list().unwrap().len(), 1);

    // The store may lose its state at any time.
    fs::remove_file(place.directory.path().join("images/self.json")).unwrap();
    assert_eq!(place.store.ensure_self_image(&binary).unwrap(), second);
    fs::remove_dir_all(place.store.layer_path(&second.layers[0])).unwrap();
    assert_eq!(place.store.ensure_self_image(&binary).unwrap(), second);
    assert_eq!(fs::read_to_string(program(&second)).unwrap(), "two");
    place.assert_clean();
}
