//! What is said to registries, and to whom.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use serde_json::json;
use stack_image::{ImageError, Store};
use stack_model::{ImageFacts, ImageReference};

use crate::image::Image;
use crate::registry::{Answer, Registry};
use crate::server::program;
use crate::{Place, is_root};

fn pull(store: &Store, name: &ImageReference) -> Result<ImageFacts, ImageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.pull(name, &|_| {}))
}

#[test]
fn a_server_says_when_to_come_back() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let busy = |status, after: &str| Answer {
        headers: vec![("Retry-After", after.to_owned())],
        ..Answer::status(status, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#)
    };
    let long_ago = "Fri, 02 Jan 2015 03:04:35 GMT";
    let registry = Registry::with(&[("a:1", &image), ("b:1", &image)], move |request, answer| {
        match (request.path.as_str(), request.earlier) {
            (path, _) if path.contains("/b/") => busy(429, "86400"),
            (path, 0) if path.contains("/manifests/") => busy(429, "0"),
            (path, 0) if path.contains("/blobs/") => busy(503, long_ago),
            _ => answer,
        }
    });
    let place = Place::new();
    pull(&place.store, &registry.name("a:1")).unwrap();
    assert_eq!((registry.count("/a/manifests/"), registry.count("/a/blobs/")), (2, 4));
    // Nobody waits a day.
    let error = pull(&place.store, &registry.name("b:1")).unwrap_err();
    assert!(matches!(error, ImageError::TooManyRequests { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("86400 seconds"), "{:?}", error.hint());
    assert_eq!(registry.count("/b/"), 1);
}

#[test]
fn a_server_says_when_to_come_back_with_what_is_pushed() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let busy = || Answer { headers: vec![("Retry-After", "0".to_owned())], ..Answer::status(429, "{}") };
    let (heads, puts) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let counted = (Arc::clone(&heads), Arc::clone(&puts));
    let registry = Registry::with(&[("a:1", &image)], move |request, answer| {
        let count = match request.method.as_str() {
            "HEAD" => &counted.0,
            "PUT" => &counted.1,
            _ => return answer,
        };
        let mut count = count.lock().unwrap();
        *count += 1;
        match (request.method.as_str(), *count) {
            // The first question, and the one after the first manifest, which is refused without a word about when.
            ("HEAD", 1 | 4) => busy(),
            ("PUT", 1) => Answer::status(503, "{}"),
            ("PUT", _) => Answer { headers: vec![("Location", request.path.clone())], ..Answer::status(201, "") },
            _ => answer,
        }
    });
    let place = Place::new();
    let name = registry.name("a:1");
    pull(&place.store, &name).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(place.store.push(&name, &|_| {})).unwrap();
    assert_eq!((*heads.lock().unwrap(), *puts.lock().unwrap()), (5, 2), "two blobs, two of them asked for again");
}

#[test]
fn a_token_is_shown_to_the_registry_only() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let elsewhere = Registry::start(&[("a:1", &image)]);
    let address = elsewhere.address.clone();
    let registry = Registry::with(&[("a:1", &image)], move |request, answer| match &request.authorization {
        None if request.path.starts_with("/token") => Answer::status(200, r#"{"access_token":"abc"}"#),
        None => Answer::wants_token(request),
        Some(shown) if shown == "Bearer abc" && request.path.contains("/blobs/") => {
            let target = format!("http://{address}{}", request.path);
            Answer { headers: vec![("Location", target)], ..Answer::status(307, "") }
        }
        Some(_) => answer,
    });
    let place = Place::new();
    pull(&place.store, &registry.name("a:1")).unwrap();
    assert_eq!(elsewhere.count("/blobs/"), 2, "both blobs came from there");
    assert!(elsewhere.asked("/").iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_part_of_a_blob_must_be_the_one_that_was_asked_for() {
    if !is_root() {
        return;
    }
    let image = Image::three_layers();
    let big = image.layers[1].digest.clone();
    let registry = Registry::with(&[("a:1", &image)], move |request, mut answer| {
        if request.path.contains(&big) {
            answer.cut = (request.earlier == 0).then_some(400_000);
            for (name, value) in &mut answer.headers {
                if *name == "Content-Range" {
                    "bytes 17-18/19".clone_into(value);
                }
            }
        }
        answer
    });
    let place = Place::new();
    let error = pull(&place.store, &registry.name("a:1")).unwrap_err();
    let text = stack_model::Failure::from_error(error.fault(), &error).to_string();
    assert!(text.contains("from byte 17 on where byte 400000 was asked for"), "{text}");
}

/// A proxy that writes down what is wanted of it and gives nothing.
fn recorder() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&lines);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            drop(BufReader::new(stream).read_line(&mut line));
            shared.lock().unwrap().push(line.trim().to_owned());
        }
    });
    (address, lines)
}

#[test]
fn settings_of_the_user_are_heeded() {
    if !is_root() {
        return;
    }
    let image = Image::small("amd64");
    let registry = Registry::with(&[("library/official:1", &image)], |request, answer| {
        let wanted = "grant_type=refresh_token&client_id=stack&refresh_token=the%2Fidentity";
        match request.authorization.as_deref() {
            None if request.path == "/token" && request.body.ends_with(wanted) => {
                assert!(request.body.starts_with("scope=repository%3Alibrary%2Fofficial%3Apull&service=test&"));
                Answer::status(200, r#"{"access_token":"from-identity"}"#)
            }
            Some("Bearer from-identity") => answer,
            _ => Answer::wants_token(request),
        }
    });
    let (proxy, lines) = recorder();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".config/stack")).unwrap();
    fs::create_dir(home.path().join(".docker")).unwrap();
    fs::write(home.path().join(".config/stack/config.yaml"), format!("mirror: {}\n", registry.address)).unwrap();
    let auths = json!({ "auths": { registry.address.clone(): { "identitytoken": "the/identity" } } });
    fs::write(home.path().join(".docker/config.json"), auths.to_string()).unwrap();
    // Variables are of a whole process, so the rest is one of its own.
    let status = program(std::env::current_exe().unwrap())
        .args(["polite::with_settings", "--exact", "--nocapture"])
        .env_remove("DOCKER_CONFIG")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("STACK_MIRROR")
        .env("HOME", home.path())
        .env("STACK_TEST_SETTINGS", "1")
        .env("HTTP_PROXY", format!("http://{proxy}"))
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .env("NO_PROXY", "excepted.invalid")
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(registry.count("/token"), 1);
    let lines = lines.lock().unwrap().clone();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.starts_with("CONNECT registry.invalid:443 ")),
        "{lines:?}"
    );
}

/// Does its work for the test above.
#[test]
fn with_settings() {
    if std::env::var_os("STACK_TEST_SETTINGS").is_none() {
        return;
    }
    let place = Place::new();
    // Through the mirror, with the identity token, and past the proxy, which no loopback address is behind.
    pull(&place.store, &"official:1".into()).unwrap();
    for elsewhere in ["registry.invalid/a:1", "excepted.invalid/a:1"] {
        let error = pull(&place.store, &elsewhere.into()).unwrap_err();
        assert!(matches!(error, ImageError::Unreachable { .. }), "{error:?}");
    }
}
