//! `schemas/stack.schema.json` is what the tables say, takes every project of the corpus that docker compose takes, and
//! refuses what the loader refuses for its shape.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&stack_compose::schema()).expect("it is a schema")
}

/// The documents of a file as an editor sees them: merge keys are applied, and behind a tag stands its value.
fn documents(text: &str) -> Option<Vec<Value>> {
    // `!reset` takes any value: one that would be wrong without it is nobody's mistake.
    let text = text.replace("!reset {}", "").replace("!reset []", "");
    let text = &text.replace("!reset", "").replace("!override", "");
    // `no` is a text in YAML 1.2.
    let options = serde_yaml::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_yaml::from_multiple_with_options(text, options).ok()?;
    Some(documents.into_iter().filter(|document| !document.is_null()).collect())
}

#[test]
fn the_file_is_what_the_tables_say() {
    let path = workspace().join("schemas/stack.schema.json");
    let generated = format!("{:#}\n", stack_compose::schema());
    if std::env::var_os("STACK_WRITE").is_some() {
        fs_err::write(&path, &generated).expect("the checkout can be written");
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(written == generated, "stale: run `STACK_WRITE=1 cargo test --package stack-compose --test schema`");
}

/// What is looked for where no file is named.
const FOUND: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

#[test]
fn every_accepted_project_of_the_corpus_is_valid() {
    let beside = workspace().join("../shared/corpus");
    let archive = std::env::var_os("STACK_CORPUS").map_or(beside, PathBuf::from).join("cases.tar.xz");
    let Ok(archive) = fs_err::metadata(&archive) else {
        println!("SKIP the corpus is neither in $STACK_CORPUS nor beside the checkout");
        return;
    };
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("corpus-{}", archive.len()));
    if !root.is_dir() {
        println!("SKIP the test `corpus` has not unpacked the cases yet");
        return;
    }
    let validator = validator();
    let (mut checked, mut wrong) = (0, Vec::new());
    for entry in fs_err::read_dir(&root).expect("the cases are a directory") {
        let directory = entry.expect("it can be read").path();
        let json = |name: &str| -> Value {
            let text = fs_err::read_to_string(directory.join(name)).expect("every case has it");
            serde_json::from_str(&text).expect("it is JSON")
        };
        if json("expected.json")["accepted"] != true {
            continue;
        }
        let case = json("case.json");
        let cwd = directory.join(case["cwd"].as_str().unwrap_or_default());
        let named: Vec<&str> = case["files"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let files = if named.is_empty() { FOUND.to_vec() } else { named };
        for path in files.into_iter().map(|file| cwd.join(file)) {
            let Some(documents) = fs_err::read_to_string(&path).ok().and_then(|text| documents(&text)) else {
                continue;
            };
            for document in documents {
                checked += 1;
                if let Some(error) = validator.iter_errors(&document).next() {
                    wrong.push(format!("{}: {error} at {}", path.display(), error.instance_path));
                }
            }
        }
    }
    println!("{checked} documents");
    assert!(checked > 700, "{checked}");
    assert!(wrong.is_empty(), "{} of {checked}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_the_loader_refuses_for_its_shape_is_invalid() {
    let validator = validator();
    let folder = workspace().join("crates/stack-cli/tests/broken");
    let (mut checked, mut wrong) = (0, Vec::new());
    for entry in fs_err::read_dir(folder).expect("the broken files are there") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with("key-") || name.starts_with("type-")) {
            continue;
        }
        let text = fs_err::read_to_string(&path).expect("it was there a moment ago");
        // In one file of several an empty key says nothing, so the schema takes it.
        let (Some(documents), false) = (documents(&text), name.starts_with("type-null")) else { continue };
        checked += 1;
        if documents.iter().all(|document| validator.is_valid(document)) {
            wrong.push(name);
        }
    }
    println!("{checked} files");
    assert!(checked > 50, "{checked}");
    // Words are refused where they mean nothing; a schema must leave them for `${…}`.
    let by_value = ["type-bool-word.yaml", "type-replicas-word.yaml"];
    wrong.retain(|name| !by_value.contains(&name.as_str()));
    assert_eq!(wrong, Vec::<String>::new());
}
