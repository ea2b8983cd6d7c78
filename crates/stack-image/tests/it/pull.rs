use std::collections::HashMap;
use std::sync::Mutex;

use fs_err as fs;
use serde_json::json;
use stack_image::{ImageError, Progress, Store};
use stack_model::{Fault, ImageFacts, ImageReference};

use crate::image::{Blob, INDEX, Image, digest, gzip, tar};
use crate::registry::{Answer, Registry};
use crate::{Place, is_root, layout};

fn pull(store: &Store, name: &ImageReference) -> Result<ImageFacts, ImageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.pull(name, &|_| {}))
}

fn texts(facts: &ImageFacts) -> Vec<String> {
    facts.layers.iter().map(|layer| layer.as_str().to_owned()).collect()
}

#[test]
fn every_kind_of_layer_arrives() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    let registry = Registry::start(&[("a/b:1", &image)]);
    let place = Place::new();
    let name = registry.name("a/b:1");
    assert_eq!(place.store.find(&name).unwrap(), None);
    let seen = Mutex::new(Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let facts =
        runtime.block_on(place.store.pull(&name, &|progress: Progress| seen.lock().unwrap().push(progress))).unwrap();
    assert_eq!(texts(&facts), image.diff_ids());
    assert_eq!(facts.id.as_str(), image.config.digest);
    assert_eq!(facts.config.cmd, ["/hello"]);
    assert_eq!(place.store.find(&name).unwrap(), Some(facts.clone()));
    let file = |layer: usize, path: &str| place.store.layer_path(&facts.layers[layer]).join(path);
    assert_eq!(fs::read_to_string(file(0, "etc/one")).unwrap(), "first");
    assert_eq!(fs::read_to_string(file(1, "etc/two")).unwrap(), "second");
    assert_eq!(fs::metadata(file(1, "big")).unwrap().len(), 3 << 20);
    assert!(!fs::metadata(file(2, "etc/one")).unwrap().is_file());
    let last = seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.text.as_str(), last.done == last.total), ("3 of 3 layers", true));
    place.assert_clean();

    // Once more: only the manifest is asked for.
    let before = registry.count("/blobs/");
    assert_eq!(pull(&place.store, &name).unwrap(), facts);
    assert_eq!(registry.count("/blobs/"), before);
    // Another process finds it without a registry.
    let other = Store::open(&layout(place.directory.path())).unwrap();
    assert_eq!(other.find(&name).unwrap(), Some(facts));
    assert_eq!(other.list().unwrap().len(), 1);
}

#[test]
fn a_layer_that_is_not_on_the_disk_for_sure_is_made_again() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let registry = Registry::start(&[("a:1", &image)]);
    let place = Place::new();
    let name = registry.name("a:1");
    let facts = pull(&place.store, &name).unwrap();
    let path = place.store.layer_path(&facts.layers[0]);
    place.wait_until_synced();
    // What a power failure would leave: the name of the layer, but not its content.
    fs::remove_file(path.join("hello")).unwrap();
    let note = place.directory.path().join("layers/.unsynced").join(path.file_name().unwrap());
    fs::write(&note, "another-boot").unwrap();
    let before = registry.count("/");
    assert_eq!(place.store.find(&name).unwrap(), Some(facts.clone()), "the blob is still here and is verified");
    assert_eq!(registry.count("/"), before);
    assert_eq!(fs::read_to_string(path.join("hello")).unwrap(), "world");

    // A damaged blob is found out and fetched again.
    place.wait_until_synced();
    fs::write(&note, "another-boot").unwrap();
    let blob = place.directory.path().join("images/blobs/sha256").join(image.layers[0].hex());
    fs::write(&blob, vec![0; image.layers[0].bytes.len()]).unwrap();
    assert_eq!(place.store.find(&name).unwrap(), None);
    assert_eq!(pull(&place.store, &name).unwrap(), facts);
    place.assert_clean();
}

#[test]
fn a_broken_connection_is_taken_up_again() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    let big = image.layers[1].digest.clone();
    for honours_ranges in [true, false] {
        let big = big.clone();
        let whole = image.layers[1].bytes.clone();
        let registry = Registry::with(&[("a:1", &image)], move |request, mut answer| {
            if !request.path.contains(&big) {
                return answer;
            }
            if !honours_ranges {
                answer = Answer { status: 200, body: whole.clone(), ..Answer::default() };
            }
            // Each try gets a little further.
            answer.cut = (request.earlier < 3).then_some((request.earlier + 1) * 400_000);
            answer
        });
        let place = Place::new();
        let facts = pull(&place.store, &registry.name("a:1")).unwrap();
        assert_eq!(texts(&facts), image.diff_ids());
        assert_eq!(registry.count(&big_path(&image)), 4);
        place.assert_clean();
    }
}

fn big_path(image: &Image) -> String {
    format!("/blobs/{}", image.layers[1].digest)
}

#[test]
fn trouble_of_the_moment_passes() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let registry =
        Registry::with(&[("a:1", &image)], |request, answer| match (request.path.as_str(), request.earlier) {
            ("/v2/", _) => answer,
            (_, 0) => Answer::status(503, "overloaded"),
            _ => answer,
        });
    let place = Place::new();
    pull(&place.store, &registry.name("a:1")).unwrap();
    assert_eq!(registry.count("/manifests/"), 2);
}

#[test]
fn forged_content_is_refused() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    for (victim, what) in [(&image.layers[1], "layer"), (&image.config, "configuration"), (&image.layers[2], "layer")] {
        for longer in [false, true] {
            let path = format!("/blobs/{}", victim.digest);
            let registry = Registry::with(&[("a:1", &image)], move |request, mut answer| {
                if request.path.ends_with(&path) {
                    answer.headers.clear();
                    if longer {
                        answer.body.extend_from_slice(b"more");
                    } else {
                        *answer.body.last_mut().unwrap() ^= 1;
                    }
                }
                answer
            });
            let place = Place::new();
            match pull(&place.store, &registry.name("a:1")) {
                Err(ImageError::Mismatch { what: found, .. }) => assert_eq!(found, what),
                other => panic!("{other:?}"),
            }
            place.assert_clean();
            assert!(place.store.list().unwrap().is_empty());
        }
    }
}

#[test]
fn a_manifest_must_be_the_one_that_was_asked_for() {
    let image = Image::small("amd64");
    let other = Image::three_layers();
    let wanted = image.manifest.digest.clone();
    let forged = other.manifest.bytes.clone();
    let registry = Registry::with(&[("a:1", &image)], move |request, mut answer| {
        if request.path.contains("/manifests/sha256") {
            answer.body.clone_from(&forged);
        }
        answer
    });
    let place = Place::new();
    let error = pull(&place.store, &registry.name(&format!("a@{wanted}"))).unwrap_err();
    assert!(matches!(error, ImageError::Mismatch { .. } | ImageError::Registry { .. }), "{error:?}");
    place.assert_nothing_made();
}

#[test]
fn a_manifest_must_be_the_one_that_the_registry_names() {
    let image = Image::small("amd64");
    let registry = Registry::with(&[("a:1", &image)], |request, mut answer| {
        if request.path.contains("/manifests/") {
            answer.headers.push(("Docker-Content-Digest", digest(b"another")));
        }
        answer
    });
    let place = Place::new();
    let error = pull(&place.store, &registry.name("a:1")).unwrap_err();
    assert!(matches!(error, ImageError::Mismatch { what: "manifest", .. }), "{error:?}");
    place.assert_nothing_made();
}

#[test]
fn a_layer_must_be_what_the_configuration_says() {
    if !is_root() {
        return;
    }
    let honest = tar(&[("hello", b"world")]);
    let other = tar(&[("hello", b"forged")]);
    let layer = Blob::new(gzip(&other), "application/vnd.oci.image.layer.v1.tar+gzip");
    let image = Image::new(vec![honest], vec![layer], "amd64");
    let registry = Registry::start(&[("a:1", &image)]);
    let place = Place::new();
    let error = pull(&place.store, &registry.name("a:1")).unwrap_err();
    assert!(matches!(error, ImageError::Mismatch { what: "unpacked layer", .. }), "{error:?}");
    place.assert_nothing_made();
}

#[test]
fn an_evil_layer_ends_the_pull_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.as_old_mut().name[..9].copy_from_slice(b"../secret");
    header.set_cksum();
    builder.append(&header, &b"evil"[..]).unwrap();
    let tars = vec![tar(&[("fine", b"x")]), builder.into_inner().unwrap()];
    let layers = tars.iter().map(|tar| Blob::new(gzip(tar), "application/vnd.oci.image.layer.v1.tar+gzip")).collect();
    let registry = Registry::start(&[("a:1", &Image::new(tars, layers, "amd64"))]);
    let place = Place::new();
    let error = pull(&place.store, &registry.name("a:1")).unwrap_err();
    let text = stack_model::Failure::from_error(error.fault(), &error).to_string();
    assert!(text.contains("`../secret` is refused: its path leaves the layer"), "{text}");
    assert_eq!(error.fault(), Fault::User);
    place.assert_nothing_made();
}

#[test]
fn each_trouble_has_its_own_words() {
    let image = Image::small("amd64");
    let registry = Registry::with(&[("a:1", &image)], |request, answer| match request.path.as_str() {
        path if path.contains("/secret/") => {
            Answer::status(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#)
        }
        path if path.contains("/denied/") => Answer::status(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
        path if path.contains("/html/") => Answer::status(200, "<html>"),
        path if path.contains("/old/") => Answer::status(200, r#"{"schemaVersion":1,"layers":[],"config":{}}"#),
        path if path.contains("/many/") => Answer {
            body: format!("{{\"schemaVersion\":2,\"x\":\"{}\"}}", "y".repeat(5 << 20)).into_bytes(),
            ..Answer::status(200, "")
        },
        _ => answer,
    });
    let place = Place::new();
    let cases = [
        ("missing:1", Fault::Missing, "not found in registry ADDRESS: manifest unknown"),
        ("secret:1", Fault::Denied, "registry ADDRESS refuses image ADDRESS/secret:1: not authorized"),
        ("denied:1", Fault::Denied, "registry ADDRESS refuses image ADDRESS/denied:1: access is denied"),
        ("html:1", Fault::User, "cannot be used"),
        ("old:1", Fault::User, "schema version 1 is not supported"),
        ("many:1", Fault::User, "manifest of image ADDRESS/many:1 has 5242"),
    ];
    for (name, fault, words) in cases {
        let error = pull(&place.store, &registry.name(name)).unwrap_err();
        let text = stack_model::Failure::from_error(error.fault(), &error).to_string();
        let text = text.replace(&registry.address, "ADDRESS");
        assert!(text.contains(words), "{text}");
        assert_eq!(error.fault(), fault, "{text}");
    }
    let error = pull(&place.store, &ImageReference::new("127.0.0.1:9/none:1")).unwrap_err();
    assert!(error.to_string().contains("registry 127.0.0.1:9 is unreachable"), "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert_eq!(error.fault(), Fault::Transient);
    let error = pull(&place.store, &ImageReference::new("stack.local/self")).unwrap_err();
    assert!(matches!(error, ImageError::BuiltIn(_)));
    assert!(matches!(pull(&place.store, &ImageReference::new("Upper/x")), Err(ImageError::Reference(_))));
    place.assert_nothing_made();
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    if !is_root() {
        return;
    }
    let (right, wrong) = (Image::small("amd64"), Image::small("riscv64"));
    let entry = |image: &Image, architecture: &str| {
        let mut descriptor = image.manifest.descriptor();
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    };
    let index = |entries: Vec<serde_json::Value>| {
        let text = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }).to_string();
        Blob::new(text.into_bytes(), INDEX)
    };
    let mut content: HashMap<String, Blob> = HashMap::new();
    for image in [&right, &wrong] {
        for blob in image.blobs() {
            content.insert(format!("/v2/a/blobs/{}", blob.digest), blob.clone());
            content.insert(format!("/v2/a/manifests/{}", blob.digest), blob.clone());
        }
    }
    let unknown = json!({ "os": "unknown", "architecture": "unknown" });
    let mut attestation = wrong.manifest.descriptor();
    attestation["platform"] = unknown;
    let entries = vec![attestation.clone(), entry(&wrong, "riscv64"), entry(&right, "amd64")];
    content.insert("/v2/a/manifests/both".to_owned(), index(entries));
    content.insert("/v2/a/manifests/other".to_owned(), index(vec![entry(&wrong, "riscv64")]));
    let mut larger = entry(&right, "amd64");
    larger["size"] = json!(right.manifest.bytes.len() + 1);
    content.insert("/v2/a/manifests/larger".to_owned(), index(vec![larger]));
    content.insert("/v2/a/manifests/plain".to_owned(), wrong.manifest.clone());
    let registry = Registry::serve(content, |_, answer| answer);
    let place = Place::new();
    let facts = pull(&place.store, &registry.name("a:both")).unwrap();
    assert_eq!(facts.id.as_str(), right.config.digest);
    let error = pull(&Place::new().store, &registry.name("a:larger")).unwrap_err();
    assert!(matches!(error, ImageError::Mismatch { what: "manifest", .. }), "{error:?}");
    for tag in ["a:other", "a:plain"] {
        match pull(&place.store, &registry.name(tag)) {
            Err(ImageError::WrongPlatform { wanted, available, .. }) => {
                assert_eq!((wanted.as_str(), available.as_str()), ("linux/amd64", "linux/riscv64"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_token_is_fetched_where_the_registry_wants_one() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let registry = Registry::with(&[("a:1", &image)], |request, answer| {
        let host = request.path.as_str();
        if host.starts_with("/token") {
            assert!(host.contains("scope=repository"), "{host}");
            return Answer::status(200, r#"{"token":"abc"}"#);
        }
        if request.authorization.as_deref() == Some("Bearer abc") {
            return answer;
        }
        Answer::wants_token(request)
    });
    let place = Place::new();
    pull(&place.store, &registry.name("a:1")).unwrap();
    assert_eq!(registry.count("/token"), 1);
}

#[test]
fn several_who_pull_the_same_do_it_once() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    let registry = Registry::start(&[("a:1", &image)]);
    let place = Place::new();
    let name = registry.name("a:1");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Stores of their own, as processes have.
                let store = Store::open(&layout(place.directory.path())).unwrap();
                assert_eq!(texts(&pull(&store, &name).unwrap()), image.diff_ids());
            });
        }
    });
    for layer in &image.layers {
        assert_eq!(registry.count(&layer.digest), 1);
    }
    place.assert_clean();
    assert_eq!(place.blobs(), 5);
}

#[test]
fn layers_are_shared_between_images() {
    if !is_root() {
        return;
    }
    let first = Image::three_layers();
    let mut tars = first.tars.clone();
    tars.push(tar(&[("more", b"x")]));
    let mut layers = first.layers.clone();
    layers.push(Blob::new(tars[3].clone(), "application/vnd.oci.image.layer.v1.tar"));
    let second = Image::new(tars, layers, "amd64");
    let registry = Registry::start(&[("a:1", &first), ("b:1", &second)]);
    let place = Place::new();
    pull(&place.store, &registry.name("a:1")).unwrap();
    pull(&place.store, &registry.name("b:1")).unwrap();
    assert_eq!(registry.count("/v2/b/blobs/"), 2, "the new layer and the configuration");
    assert_eq!(place.layers().len(), 4);
    assert_eq!(digest(&second.tars[3]), second.diff_ids()[3]);
}

#[test]
fn a_pull_that_nobody_waits_for_leaves_nothing() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    let (sender, reached) = std::sync::mpsc::channel();
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = Mutex::new(hold);
    let big = image.layers[1].digest.clone();
    let registry = Registry::with(&[("a:1", &image)], move |request, answer| {
        if request.path.contains(&big) {
            sender.send(()).unwrap();
            assert!(hold.lock().unwrap().recv().is_err(), "the test lets go by hanging up");
        }
        answer
    });
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let waiting = tokio::task::spawn_blocking(move || reached.recv().unwrap());
        let name = registry.name("a:1");
        tokio::select! {
            result = place.store.pull(&name, &|_| {}) => panic!("{result:?}"),
            done = waiting => done.unwrap(),
        }
    });
    drop(release);
    // The runtime waits for the threads of the pull, which clean up.
    drop(runtime);
    place.assert_clean();
    assert!(place.store.list().unwrap().is_empty());
}
