use std::path::PathBuf;

use fs_err as fs;
use serde_json::{Value, json};
use stack_image::ImageError;
use stack_model::ImageReference;

use crate::image::{Blob, Image, gzip, tar};
use crate::{Place, is_root};

pub(crate) fn docker_archive(image: &Image, tags: &Value) -> Vec<u8> {
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
    // From a pipe, too.
    let place = Place::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let whole = gzip(&docker);
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &whole).unwrap());
    let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    assert_eq!(place.store.load(std::path::Path::new(&pipe)).unwrap().len(), 2);
    sender.join().unwrap();
    place.assert_clean();
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
    place.assert_nothing_made();
}

/// A layout of which the documents can be changed before they are written.
fn layout_with(manifest: impl FnOnce(&mut Value), index: impl FnOnce(&mut Value), mark: &[u8]) -> Vec<u8> {
    let image = Image::small("amd64");
    let mut document: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
    manifest(&mut document);
    let document = Blob::new(document.to_string().into_bytes(), image.manifest.media_type);
    let mut descriptor = document.descriptor();
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": "a:1" });
    let mut table = json!({ "schemaVersion": 2, "manifests": [descriptor] });
    index(&mut table);
    let blobs = image.layers.iter().chain([&image.config, &document]);
    let named: Vec<(String, &[u8])> =
        blobs.map(|blob| (format!("blobs/sha256/{}", blob.hex()), blob.bytes.as_slice())).collect();
    let table = table.to_string();
    let mut files: Vec<(&str, &[u8])> = named.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    files.extend([("index.json", table.as_bytes()), ("oci-layout", mark)]);
    tar(&files)
}

const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

#[test]
fn documents_of_a_layout_must_fit_each_other() {
    let as_it_is = |_: &mut Value| ();
    let manifest = |change: fn(&mut Value), words: &str| refuses(&layout_with(change, as_it_is, MARK), words);
    let index = |change: fn(&mut Value), words: &str| refuses(&layout_with(as_it_is, change, MARK), words);
    manifest(|it| it["config"]["size"] = json!(5), "where 5 are promised");
    manifest(|it| it["layers"][0]["size"] = json!(u64::MAX), "has 18446744073709551615 bytes");
    manifest(|it| it["config"]["mediaType"] = json!("application/x-chart"), "it is no image");
    manifest(|it| it["layers"][0]["digest"] = json!("sha256:../../x"), "is not a sha256 digest");
    index(|it| it["manifests"][0]["size"] = json!(5), "where 5 are promised");
    index(|it| it["layers"] = json!([]), "neither a manifest nor an index");
    refuses(&layout_with(as_it_is, as_it_is, br#"{"imageLayoutVersion":"2.0.0"}"#), "version 2.0.0");
    refuses(&layout_with(as_it_is, as_it_is, b"yes"), "oci-layout");
    refuses(&tar(&[("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)]), "it lacks `oci-layout`");
    if is_root() {
        let place = Place::new();
        place.store.load(&write(&place, &layout_with(as_it_is, as_it_is, MARK))).unwrap();
    }
}

#[test]
fn nothing_of_an_archive_stays_when_a_part_of_it_is_refused() {
    if !is_root() {
        return;
    }
    // A layer that is fine, below one that is not.
    let image = Image::of_tars(vec![tar(&[("fine", b"x")]), vec![b'x'; 1024]]);
    refuses(&docker_archive(&image, &json!(["a:1"])), "is no header of a tar");
    // An image that is fine, before one that is not.
    let small = Image::small("amd64");
    let table = json!([
        { "Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"] },
        { "Config": "missing.json", "RepoTags": ["b:1"], "Layers": [] },
    ]);
    let table = table.to_string();
    let files: [(&str, &[u8]); 3] =
        [("layer.tar", &small.tars[0]), ("config.json", &small.config.bytes), ("manifest.json", table.as_bytes())];
    refuses(&tar(&files), "it lacks `missing.json`");
    // What another image has, too, stays.
    let place = Place::new();
    place.store.load(&write(&place, &docker_archive(&small, &json!(["good:1"])))).unwrap();
    place.store.load(&write(&place, &tar(&files))).unwrap_err();
    assert_eq!(place.layers().len(), 1);
    assert!(place.store.find(&"good:1".into()).unwrap().is_some());
    place.assert_clean();
}

#[test]
fn archives_that_readers_understand_differently_are_refused() {
    let image = Image::small("amd64");
    let table = json!([{ "Config": "config.json", "RepoTags": ["a:1"], "Layers": ["0"] }]).to_string();
    let files: [(&str, &[u8]); 4] = [
        ("0", &image.tars[0]),
        ("config.json", &image.config.bytes),
        ("manifest.json", table.as_bytes()),
        ("./manifest.json", table.as_bytes()),
    ];
    refuses(&tar(&files), "two members have the name `manifest.json`");
}

#[test]
fn an_archive_that_unpacks_to_far_more_than_it_has_is_refused() {
    let mut header = ::tar::Header::new_ustar();
    header.set_size((1 << 30) + 1024);
    header.set_path("zeros").unwrap();
    header.set_cksum();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, header.as_bytes()).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), (1 << 30) + 1024), &mut encoder).unwrap();
    refuses(&encoder.finish().unwrap(), "unpack to more than 1073741824 bytes");
}

#[test]
fn an_image_without_layers_and_one_with_an_empty_layer_load() {
    if !is_root() {
        return;
    }
    for tars in [vec![], vec![Vec::new()], vec![vec![0; 1024]]] {
        let place = Place::new();
        let image = Image::of_tars(tars);
        place.store.load(&write(&place, &docker_archive(&image, &json!(["a:1"])))).unwrap();
        assert_eq!(place.store.find(&"a:1".into()).unwrap().unwrap().layers.len(), image.tars.len());
    }
    let null = json!([{ "Config": "config.json", "RepoTags": ["a:1"], "Layers": null }]).to_string();
    let empty = Image::of_tars(Vec::new());
    let place = Place::new();
    let files: [(&str, &[u8]); 2] = [("config.json", &empty.config.bytes), ("manifest.json", null.as_bytes())];
    place.store.load(&write(&place, &tar(&files))).unwrap();
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
        &tar(&[
            ("index.json", br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","size":1}]}"#),
            ("oci-layout", MARK),
        ]),
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
