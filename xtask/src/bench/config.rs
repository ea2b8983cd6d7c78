//! `config` of real projects, each read by both sides in turn; the sum of the times.
//!
//! Both run where docker is installed; the times are taken there by one shell, which starts each program through
//! `env`, so that its cost is in both sums.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::report::{Report, Unit};
use crate::run::{self, program, workspace};

const SIDES: [&str; 2] = ["stack", "docker compose"];

/// Measures one pass over the corpus and returns the table. `directory` is one that the peers see too.
pub(super) fn measure(binary: &Path, peers: &Path, directory: &Path) -> Result<Report, Box<dyn std::error::Error>> {
    let archive = std::env::var_os("STACK_CORPUS").map(PathBuf::from);
    let archive = archive.unwrap_or_else(|| workspace().join("../shared/corpus")).join("cases.tar.xz");
    let cases = directory.join("cases");
    fs_err::create_dir_all(&cases)?;
    run::run(program("tar").arg("-xJf").arg(&archive).args(["--strip-components=1", "-C"]).arg(&cases))?;
    let stack = directory.join("stack");
    fs_err::copy(binary, &stack)?;
    let (script, count) = script(&cases, &stack)?;
    let file = directory.join("config.sh");
    fs_err::write(&file, script)?;
    let text = run::output(program(peers).arg("bash").arg(&file))?;
    let times = text.lines().map(|line| {
        let (ours, theirs) = line.trim_end().split_once(' ').ok_or("a line without two times")?;
        Ok([ours.parse::<f64>()? / 1e3, theirs.parse::<f64>()? / 1e3])
    });
    let times = times.collect::<Result<Vec<[f64; 2]>, Box<dyn std::error::Error>>>()?;
    if times.len() != count {
        return Err(format!("{count} projects, but {} times", times.len()).into());
    }
    let mut report = Report::new(SIDES.to_vec(), 1);
    for (at, side) in SIDES.iter().enumerate() {
        let slower = times.iter().filter(|pair| pair[at] > pair[1 - at]).count();
        report.add(
            &format!("config, sum over {count} projects"),
            side,
            Unit::Milliseconds,
            times.iter().map(|pair| pair[at]).sum(),
        );
        report.add("projects that took longer", side, Unit::Times, f64::from(u32::try_from(slower)?));
    }
    Ok(report)
}

/// A line of two times in microseconds for each case; how many there are.
fn script(cases: &Path, stack: &Path) -> Result<(String, usize), Box<dyn std::error::Error>> {
    let (first, second) = (stack.display().to_string(), "docker-compose");
    let mut script = "take() { local from=$EPOCHREALTIME; \"$@\" >/dev/null 2>&1; local to=$EPOCHREALTIME; \
                      took=$(( ${to/./} - ${from/./} )); }\n"
        .to_owned();
    let mut directories: Vec<PathBuf> = fs_err::read_dir(cases)?.flatten().map(|entry| entry.path()).collect();
    directories.retain(|directory| directory.join("case.json").is_file());
    directories.sort();
    for directory in &directories {
        let case: Value = serde_json::from_slice(&fs_err::read(directory.join("case.json"))?)?;
        let place = directory.join(case["cwd"].as_str().unwrap_or_default());
        let mut around = format!("env -i -C {} HOME=/home/u USER=u PATH=/usr/bin:/bin LC_ALL=C.UTF-8", quoted(&place));
        for (name, value) in case["env"].as_object().into_iter().flatten() {
            write!(around, " {}", quoted(format!("{name}={}", value.as_str().unwrap_or_default())))?;
        }
        let files: Vec<&str> = case["files"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let files: String = files.iter().map(|file| format!(" -f {}", quoted(file))).collect();
        for program in [first.as_str(), second] {
            write!(script, "take {around} {program}{files} config --format json; echo -n \"$took \"; ")?;
        }
        writeln!(script, "echo")?;
    }
    Ok((script, directories.len()))
}

/// A word of a shell.
fn quoted(word: impl AsRef<std::ffi::OsStr>) -> String {
    format!("'{}'", word.as_ref().to_string_lossy().replace('\'', "'\\''"))
}
