//! Mistakes that people make, one file each in `tests/broken`, and what they are told. A line `#### path` begins a
//! further file of the same project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stack_compose::{DiskLoader, Loaded, Phases};
use stack_model::{ProjectSource, Severity};

use super::diagnostics::render;

/// Columns of the terminal.
const WIDTH: usize = 110;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

/// The case's files in a directory of their own.
fn unpack(case: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut files: Vec<(&str, String)> = vec![("compose.yaml", String::new())];
    for line in case.split_inclusive('\n') {
        match line.trim_end().strip_prefix("#### ") {
            Some(path) => files.push((path, String::new())),
            None => files.last_mut().unwrap().1.push_str(line),
        }
    }
    for (path, text) in files.iter().filter(|(path, text)| *path != "compose.yaml" || !text.is_empty()) {
        let path = directory.path().join("project").join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    directory
}

/// What is said when the file is read, or if it can be read, when it is to be run.
fn load(directory: &Path) -> Loaded {
    let environment = BTreeMap::from([("HOME".to_owned(), "/home/u".to_owned())]);
    let working_dir = directory.join("project");
    let source = ProjectSource { working_dir, environment, ..ProjectSource::default() };
    let loaded = stack_compose::read(&source, &DiskLoader, Phases::default());
    if loaded.project.is_some() { stack_compose::load(&source, &DiskLoader) } else { loaded }
}

#[test]
fn people_are_told_what_is_wrong_where_and_what_to_do() {
    let mut names: Vec<String> = fs_err::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".yaml")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 200, "{}", names.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder().join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut poor = Vec::new();
    settings.bind(|| {
        for name in names {
            let case = fs_err::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
            let directory = unpack(&case);
            let loaded = load(directory.path());
            poor.extend(poor_messages(&name, &loaded));
            let shown = anstream::adapter::strip_str(&render(&loaded.diagnostics, &loaded.texts, WIDTH)).to_string();
            let real = directory.path().canonicalize().unwrap();
            insta::assert_snapshot!(
                name,
                shown.replace(&real.display().to_string(), "").replace(&directory.path().display().to_string(), "")
            );
        }
    });
    assert_eq!(poor, Vec::<String>::new());
}

/// Every error has a place, and a reason or a next step.
fn poor_messages(name: &str, loaded: &Loaded) -> Vec<String> {
    if loaded.project.is_some() {
        return vec![format!("{name}: nothing is wrong with it")];
    }
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let poor = errors.filter(|error| {
        let says_more = error.reason.is_some() || error.help.is_some() || error.patch.is_some();
        error.labels.is_empty() || !(says_more || error.labels.len() > 1)
    });
    poor.map(|error| format!("{name}: {error}")).collect()
}
