//! What the compiler does not check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Outcome;
use crate::run::{cargo, output, workspace};

/// Lines of a file that are worth a thought about splitting it.
const LINES_LARGE: usize = 400;
/// Lines of a file that are too many.
const LINES_MAX: usize = 800;

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Fails the gate.
    Wrong(String),
    /// Is only said.
    Note(String),
}

/// Collects every finding, then fails once.
pub(crate) fn run() -> Outcome {
    let mut findings = layers()?;
    let root = workspace();
    for file in ["crates", "xtask", "tests"].iter().flat_map(|folder| rust_files(&root.join(folder))) {
        let text = fs_err::read_to_string(&file)?;
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        findings.extend(check_file(&name, &text));
        findings.extend(forgotten(&file, &name));
    }
    let mut wrong = 0;
    for finding in &findings {
        match finding {
            Finding::Wrong(what) => {
                wrong += 1;
                println!("tidy: {what}");
            }
            Finding::Note(what) => println!("tidy: note: {what}"),
        }
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} findings").into()) }
}

/// A crate may depend on crates of lower layers only, and the pure ones stay synchronous.
fn layers() -> Result<Vec<Finding>, Box<dyn std::error::Error>> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    Ok(check_layers(&metadata["packages"]))
}

fn check_layers(packages: &Value) -> Vec<Finding> {
    let packages = packages.as_array().map(Vec::as_slice).unwrap_or_default();
    let layer = |package: &Value| package["metadata"]["stack"]["layer"].as_u64();
    let of_name: BTreeMap<&str, u64> =
        packages.iter().filter_map(|package| Some((package["name"].as_str()?, layer(package)?))).collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(name) = package["name"].as_str() else { continue };
        let Some(own) = layer(package) else {
            if name.starts_with("stack-") && name != "stack-tests" {
                findings.push(Finding::Wrong(format!("{name} has no layer in [package.metadata.stack]")));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(other) = dependency["name"].as_str() else { continue };
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            if of_name.get(other).is_some_and(|layer| *layer >= own) {
                let what = format!("{name} (layer {own}) depends on {other}, which is not below it");
                findings.push(Finding::Wrong(what));
            }
            if other == "tokio" && own < 2 {
                findings
                    .push(Finding::Wrong(format!("{name} (layer {own}) depends on tokio: it is to be synchronous")));
            }
        }
    }
    findings
}

/// One rule about the lines of a file.
struct Rule {
    /// Files it is about.
    concerns: fn(&str) -> bool,
    /// Code that breaks it.
    broken: fn(&str) -> bool,
    /// What to do instead.
    advice: &'static str,
}

const RULES: [Rule; 5] = [
    Rule {
        concerns: |name| !name.starts_with("crates/stack-sys/"),
        broken: |code| {
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe_code"]
                .iter()
                .any(|word| code.contains(word))
        },
        advice: "unsafe code belongs in stack-sys",
    },
    Rule {
        concerns: |_| true,
        broken: |code| ["todo!(", "unimplemented!(", "#[ignore"].iter().any(|word| code.contains(word)),
        advice: "unfinished",
    },
    Rule {
        concerns: |_| true,
        broken: |code| code.contains("thread::sleep"),
        advice: "wait for the event instead of a time",
    },
    Rule {
        concerns: |_| true,
        broken: |code| code.contains("#[allow(") || code.contains("#![allow("),
        advice: "say why: #[expect(.., reason = \"..\")]",
    },
    Rule {
        concerns: |name| name.ends_with("stack-plan/src/classify.rs"),
        broken: |code| {
            [", .. }", "{ .. }", ", .. )", "(..)"].iter().any(|rest| code.contains(rest)) || code.trim() == ".."
        },
        advice: "destructure every field: the compiler is the check-list",
    },
];

fn check_file(name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(Finding::Wrong(format!("{name} has {lines} lines: split it along the data")));
    } else if lines > LINES_LARGE {
        findings.push(Finding::Note(format!("{name} has {lines} lines")));
    }
    // The rules are written down here, so they break themselves.
    for rule in RULES.iter().filter(|rule| (rule.concerns)(name) && !name.ends_with("xtask/src/tidy.rs")) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if (rule.broken)(code) {
                findings.push(Finding::Wrong(format!("{name}:{}: {}", number + 1, rule.advice)));
            }
        }
    }
    findings
}

/// A file that no `mod` line names is compiled by nobody, and a test in it never fails.
fn forgotten(file: &Path, name: &str) -> Option<Finding> {
    let stem = file.file_stem()?.to_str()?;
    let folder = file.parent()?;
    let folder_name = folder.file_name()?.to_str()?;
    let is_root =
        ["lib", "main", "build"].contains(&stem) || (folder_name == "tests" && folder.join("../src").exists());
    if is_root || ["bin", "benches", "examples", "fuzz_targets"].contains(&folder_name) {
        return None;
    }
    let (module, parents) = if stem == "mod" {
        let above = folder.parent()?;
        (folder_name, [above.join("mod.rs"), above.join("lib.rs"), above.join("main.rs"), above.with_extension("rs")])
    } else {
        (stem, [folder.join("mod.rs"), folder.join("lib.rs"), folder.join("main.rs"), folder.with_extension("rs")])
    };
    // A test program of its own may lie beside the folder of its modules.
    let beside = fs_err::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = parents.into_iter().chain(beside).any(|parent| {
        parent.is_file()
            && fs_err::read_to_string(&parent).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.split("//").next().unwrap_or_default().trim().ends_with(&format!("mod {module};")))
            })
    });
    (!named).then(|| Finding::Wrong(format!("{name} is forgotten: no `mod {module};` names it")))
}

/// Every Rust file below a directory, build output left out.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, text: &str) -> usize {
        check_file(name, text).iter().filter(|finding| matches!(finding, Finding::Wrong(_))).count()
    }

    #[test]
    fn planted_violations_are_found() {
        assert_eq!(wrong("crates/a/src/lib.rs", "unsafe { f() }\ntodo!()\n#[allow(x)]\n"), 3);
        assert_eq!(wrong("crates/stack-sys/src/lib.rs", "unsafe { f() }\n"), 0);
        assert_eq!(wrong("crates/a/src/lib.rs", "// unsafe in a comment\nfn unsafe_name() {}\n"), 0);
        assert_eq!(
            wrong("crates/stack-plan/src/classify.rs", "let Limits { memory, .. } = limits;\nfor i in 0..3 {}\n"),
            1
        );
        assert_eq!(wrong("crates/a/src/long.rs", &"\n".repeat(801)), 1);
    }

    #[test]
    fn arrows_that_do_not_point_down_are_found() {
        let packages = serde_json::json!([
            { "name": "stack-a", "metadata": { "stack": { "layer": 1 } }, "dependencies": [
                { "name": "stack-b", "kind": null }, { "name": "tokio", "kind": null }, { "name": "stack-c", "kind": "dev" } ] },
            { "name": "stack-b", "metadata": { "stack": { "layer": 1 } }, "dependencies": [] },
            { "name": "stack-c", "metadata": null, "dependencies": [] },
        ]);
        assert_eq!(check_layers(&packages).len(), 3);
    }
}
