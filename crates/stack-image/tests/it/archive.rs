use std::path::PathBuf;

use fs_err as fs;
use serde_json::json;
use stack_image::ImageError;
use stack_model::ImageReference;

use crate::image::{Image, gzip, tar};
use crate::{Place, is_root};

fn docker_archive(image: &Image, tags: &serde_json::Value) -> Vec<u8> {
    let paths: Vec<String> = (0..image.tars.len()).map(|number| format!("{number}/layer.tar")).collect();
    let table = json!([{ "Config": "config.json", "RepoTags": tags, "Layers": paths }]).to_string();
    let mut files: Vec<(&str, &[u8])> =
        paths.iter().map(String::as_str).zip(image.tars.iter().map(Vec::as_slice)).collect();
    files.push(("config.json", &image.config.bytes));
    files.push(("manifest.json", table.as_bytes()));
    tar(&files)
}

fn layout_archive(image: &Image, name: &str) -> Vec<u8> {
    let mut descriptor = image.manifest.descriptor();
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string();
    let paths: Vec<String> = image.blobs().map(|blob| format!("blobs/sha256/{}", blob.hex())).collect();
    let mut files: Vec<(&str, &[u8])> =
        paths.iter().map(String::as_str).zip(image.blobs().map(|blob| blob.bytes.as_slice())).collect();
    files.push(("index.json", index.as_bytes()));
    files.push(("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#));
    tar(&files)
}

fn write(place: &Place, bytes: &[u8]) -> PathBuf {
    let path = place.directory.path().join("archive.tar");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn both_formats_load_plain_and_compressed() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    let tags = json!(["shop/app:1", "shop/app:latest"]);
    let docker = docker_archive(&image, &tags);
    let zstd = zstd::encode_all(docker.as_slice(), 1).unwrap();
    for bytes in [&docker, &gzip(&docker), &zstd] {
        let place = Place::new();
        let loaded = place.store.load(&write(&place, bytes)).unwrap();
        assert_eq!(loaded, ["docker.io/shop/app:1".into(), "docker.io/shop/app:latest".into()]);
        let facts = place.store.find(&ImageReference::new("shop/app")).unwrap().unwrap();
        assert_eq!(facts.id.as_str(), image.config.digest);
        assert_eq!(fs::read_to_string(place.store.layer_path(&facts.layers[1]).join("etc/two")).unwrap(), "second");
        place.assert_clean();
    }
    let place = Place::new();
    let loaded = place.store.load(&write(&place, &layout_archive(&image, "localhost/app:2"))).unwrap();
    assert_eq!(loaded, ["localhost/app:2".into()]);
    assert_eq!(place.store.list().unwrap().len(), 1);
    // The same content under another name and format: nothing is unpacked again.
    place.store.load(&write(&place, &docker)).unwrap();
    assert_eq!(place.layers().len(), 3);
    place.assert_clean();
}

#[track_caller]
fn refuses(bytes: &[u8], words: &str) {
    let place = Place::new();
    let error = place.store.load(&write(&place, bytes)).unwrap_err();
    let text = stack_model::Failure::from_error(error.fault(), &error).to_string();
    assert!(text.contains(words), "{text}");
    place.assert_clean();
    assert!(place.store.list().unwrap().is_empty());
}

#[test]
fn malformed_archives_are_refused_with_the_reason() {
    let image = Image::small("amd64");
    refuses(b"hello", "it is no tar");
    refuses(b"", "neither manifest.json nor index.json");
    refuses(&tar(&[("readme", b"x")]), "neither manifest.json nor index.json");
    refuses(&tar(&[("manifest.json", b"{")]), "manifest.json");
    refuses(&tar(&[("manifest.json", b"[]")]), "it holds no image");
    let lacking = json!([{ "Config": "c.json", "RepoTags": ["a"], "Layers": [] }]).to_string();
    refuses(&tar(&[("manifest.json", lacking.as_bytes())]), "it lacks `c.json`");
    refuses(&docker_archive(&image, &json!(null)), "no name");
    refuses(&docker_archive(&image, &json!(["Upper/Case"])), "must be lower case");
    refuses(&docker_archive(&image, &json!(["stack.local/self"])), "is built in");
    refuses(&docker_archive(&Image::small("s390x"), &json!(["a"])), "it is for linux/s390x");
    refuses(
        &tar(&[("index.json", br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","size":1}]}"#)]),
        "index.json",
    );
    let whole = docker_archive(&image, &json!(["a"]));
    refuses(&whole[..700], "it is no tar, or a damaged one");
    refuses(&gzip(&whole)[..50], "archive");
    refuses(&tar(&[("a/../../b", b"x")].map(|_| ("x", b"x".as_slice()))), "neither");
    let missing = place_missing();
    assert!(missing.to_string().contains("/nowhere/a.tar"), "{missing}");
}

fn place_missing() -> ImageError {
    Place::new().store.load(std::path::Path::new("/nowhere/a.tar")).unwrap_err()
}

#[test]
fn forged_blobs_of_a_layout_are_refused() {
    if !is_root() {
        return;
    }
    let honest = Image::small("amd64");
    for victim in 0..3 {
        let mut image = honest.clone();
        let blob = match victim {
            0 => &mut image.layers[0],
            1 => &mut image.config,
            _ => &mut image.manifest,
        };
        *blob.bytes.last_mut().unwrap() ^= 1;
        let place = Place::new();
        let result = place.store.load(&write(&place, &layout_archive(&image, "a:1")));
        assert!(matches!(result, Err(ImageError::Archive { .. } | ImageError::Mismatch { .. })), "{result:?}");
        place.assert_nothing_made();
    }
    let mut image = honest.clone();
    image.tars[0][600] ^= 1;
    let place = Place::new();
    let result = place.store.load(&write(&place, &docker_archive(&image, &json!(["a:1"]))));
    assert!(matches!(result, Err(ImageError::Mismatch { what: "unpacked layer", .. })), "{result:?}");
    place.assert_nothing_made();
}
