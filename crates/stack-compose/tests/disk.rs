//! Through the public interface, on the real disk.

use std::path::Path;
use std::time::{Duration, Instant};

use stack_compose::{DiskLoader, Loaded, load};
use stack_model::ProjectSource;

fn load_in(directory: &Path) -> Loaded {
    load(&ProjectSource { working_dir: directory.to_owned(), ..ProjectSource::default() }, &DiskLoader)
}

#[test]
fn a_project_is_found_read_and_lowered() {
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path().join("shop");
    fs_err::create_dir_all(project.join("deep/er")).unwrap();
    let text = "services: {web: {image: '${IMAGE}', env_file: e.env, secrets: [s]}}\nsecrets: {s: {file: s}}\n";
    fs_err::write(project.join("compose.yaml"), text).unwrap();
    fs_err::write(project.join(".env"), "IMAGE=nginx\n").unwrap();
    fs_err::write(project.join("e.env"), "A=1\n").unwrap();
    fs_err::write(project.join("s"), [0xff, 0xfe]).unwrap();
    let loaded = load_in(&project.join("deep/er"));
    assert_eq!(loaded.diagnostics, []);
    let found = loaded.project.unwrap();
    assert_eq!((found.name().as_str(), found.directory()), ("shop", project.as_path()));
    let desired = found.lower("x");
    let service = &desired.services["web"];
    assert_eq!(service.container.image.as_str(), "nginx");
    assert_eq!(service.container.environment["A"].as_deref(), Some("1"));
    assert_eq!(desired.instance, "x");
    for file in ["compose.yaml", ".env", "e.env", "s"] {
        assert!(loaded.inputs.contains(&project.join(file)), "{file}");
    }
    assert_eq!(loaded.texts.keys().collect::<Vec<_>>(), [".env", "compose.yaml", "e.env"]);
    fs_err::write(project.join("s"), [0xff, 0xfd]).unwrap();
    let again = load_in(&project).project.unwrap().lower("x");
    assert_ne!(again.services["web"].container.files, service.container.files, "an edit of bytes shows");
}

#[test]
fn what_is_no_file_is_an_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let text = "services:\n  a: {image: i, env_file: d, secrets: [s, z]}\nsecrets:\n  s: {file: d}\n  z: {file: \
                /dev/zero}\n";
    fs_err::write(directory.path().join("compose.yaml"), text).unwrap();
    fs_err::create_dir(directory.path().join("d")).unwrap();
    let loaded = load_in(directory.path());
    let places: Vec<(String, String)> =
        loaded.diagnostics.iter().map(|d| (d.labels[0].origin.to_string(), d.code.clone())).collect();
    let expected = [
        ("compose.yaml:2:27", "cannot-read"),
        ("compose.yaml:4:13", "cannot-read"),
        ("compose.yaml:5:13", "file-too-large"),
    ];
    assert_eq!(places, expected.map(|(place, code)| (place.to_owned(), code.to_owned())));
}

#[test]
fn four_hundred_services_are_read_at_once() {
    let service = |index: usize| {
        let before = index.saturating_sub(1);
        format!(
            "  s{index}:\n    image: nginx:${{TAG:-1}}\n    command: [sh, -c, \"echo $$HOME\"]\n    environment:\n      \
             A: {index}\n      B: \"${{HOME}}\"\n    ports: [\"{}:80\"]\n    volumes: [\"data:/d\", \"./x:/x:ro\"]\n    \
             mem_limit: 64m\n    healthcheck: {{test: x, interval: 10s}}\n    depends_on: {}\n    labels: [a=b]\n",
            10_000 + index,
            if index == 0 { "[]".to_owned() } else { format!("[s{before}]") },
        )
    };
    let services: Vec<String> = (0..400).map(service).collect();
    let directory = tempfile::tempdir().unwrap();
    let text = format!("services:\n{}volumes: {{data: }}\n", services.concat());
    fs_err::write(directory.path().join("compose.yaml"), text).unwrap();
    let times = (0..5).map(|_| {
        let start = Instant::now();
        let desired = load_in(directory.path()).project.unwrap().lower("");
        assert_eq!(desired.services.len(), 400);
        start.elapsed()
    });
    let best = times.min().unwrap();
    // The limit is for an optimised build; a debug build is some ten times slower.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
    assert!(best < limit, "{best:?}");
}
