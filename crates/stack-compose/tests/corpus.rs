//! Real projects: `stack config --format json` is the document that docker compose 2.40.3 makes of them, and what it
//! refuses is refused. `corpus-differences.txt` lists the cases where it is not so, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use stack_compose::{DiskLoader, Phases, read};
use stack_model::{ProjectSource, Severity};

/// `name: reason` a line; `#` begins a comment.
const DIFFERENCES: &str = include_str!("corpus-differences.txt");

/// Where the archive of cases is.
fn archive() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let directory = std::env::var_os("STACK_CORPUS").map_or(beside, PathBuf::from);
    Some(directory.join("cases.tar.xz")).filter(|archive| archive.is_file())
}

/// Unpacks the cases once for each archive.
fn cases(archive: &Path) -> PathBuf {
    let size = fs_err::metadata(archive).expect("the archive was there a moment ago").len();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("corpus-{size}"));
    if !target.is_dir() {
        let part = target.with_extension(std::process::id().to_string());
        fs_err::create_dir_all(&part).expect("the target directory takes a directory");
        #[expect(clippy::disallowed_methods, reason = "the archive is compressed in a way that no crate here reads")]
        let status = std::process::Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(&part).status();
        assert!(status.expect("tar is installed").success(), "the archive can be unpacked");
        let inner = fs_err::read_dir(&part).expect("it was just made").next().expect("it holds the cases");
        fs_err::rename(inner.expect("it can be read").path(), &target).expect("both are in one directory");
        drop(fs_err::remove_dir(&part));
    }
    target
}

struct Case {
    directory: PathBuf,
    source: ProjectSource,
    expected: Value,
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).expect("every case has its files")).expect("they are JSON")
}

fn case(directory: PathBuf) -> Case {
    let (case, expected) = (json(&directory.join("case.json")), json(&directory.join("expected.json")));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cwd = directory.join(text(&case["cwd"]));
    let base = [("HOME", "/home/u"), ("USER", "u"), ("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")];
    let mut environment: BTreeMap<String, String> = base.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    environment.extend(case["env"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))));
    environment.insert("PWD".to_owned(), cwd.display().to_string());
    let files = case["files"].as_array().into_iter().flatten().map(|file| cwd.join(text(file))).collect();
    let source = ProjectSource { files, working_dir: cwd, environment, ..ProjectSource::default() };
    Case { directory, source, expected }
}

/// Why the case is not as docker compose has it.
fn difference(case: &Case, root: &Path) -> Option<String> {
    let loaded = read(&case.source, &DiskLoader, Phases::default());
    let accepted = case.expected["accepted"] == true;
    let Some(project) = loaded.project else {
        let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        return accepted
            .then(|| format!("refused: {}", errors.map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    };
    if !accepted {
        return Some(format!("accepted, but docker compose refuses: {}", case.expected["error"]));
    }
    let text = project.to_json().to_string();
    let text = text.replace(&case.directory.display().to_string(), "@DIR@");
    let text = text.replace(&root.display().to_string(), "@PARENT@");
    let got: Value = serde_json::from_str(&text).expect("a value is written as JSON");
    first_difference(&case.expected["config"], &got, "")
}

fn first_difference(want: &Value, got: &Value, at: &str) -> Option<String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let keys: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
            keys.into_iter().find_map(|key| match (want.get(key), got.get(key)) {
                (Some(want), Some(got)) => first_difference(want, got, &format!("{at}.{key}")),
                (want, got) => Some(format!("{at}.{key}: want {want:?}, got {got:?}")),
            })
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => want
            .iter()
            .zip(got)
            .enumerate()
            .find_map(|(index, (want, got))| first_difference(want, got, &format!("{at}[{index}]"))),
        _ => (want != got).then(|| format!("{at}: want {want}, got {got}")),
    }
}

#[test]
fn real_projects_are_what_docker_compose_makes_of_them() {
    let Some(archive) = archive() else {
        println!("SKIP the corpus is neither in $STACK_CORPUS nor beside the checkout");
        return;
    };
    let root = cases(&archive);
    let mut names: Vec<String> = fs_err::read_dir(&root)
        .expect("the cases are a directory")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let known: BTreeMap<&str, &str> = DIFFERENCES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(": ").expect("a line is `name: reason`"))
        .collect();
    let mut problems = Vec::new();
    for name in &names {
        let difference = difference(&case(root.join(name)), &root);
        match (difference, known.contains_key(name.as_str())) {
            (Some(difference), false) => problems.push(format!("{name}: {difference}")),
            (None, true) => problems.push(format!("{name}: take it off the list, it is equal")),
            _ => {}
        }
    }
    problems.extend(
        known
            .keys()
            .filter(|name| !names.iter().any(|other| other == *name))
            .map(|name| format!("{name}: no such case")),
    );
    println!("{} cases, {} known differences", names.len(), known.len());
    assert!(problems.is_empty(), "{} of {} cases\n{}", problems.len(), names.len(), problems.join("\n"));
}
