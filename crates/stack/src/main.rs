//! The composition root of `stack`: which of the four processes this is, and what it is made of.

use std::path::PathBuf;
use std::process::ExitCode;

use stack_host::{Assignment, LocalMachine};
use stack_model::{Layout, ProjectName};

fn main() -> ExitCode {
    // All but the last are dispatched before any thread exists: the spawner and the OCI runtime stay single-threaded for
    // their whole lives, and the supervisor forks the spawner.
    if stack_oci::is_asked() {
        return stack_oci::main();
    }
    let role = std::env::args_os().nth(1);
    match role.as_deref().and_then(|role| role.to_str()) {
        Some(stack_runtime::SPAWNER_ARGUMENT) => stack_runtime::spawner_main(),
        Some("supervise") => supervise(),
        Some(_) | None => stack_cli::main(|layout| Box::new(LocalMachine::new(layout, binary()))),
    }
}

/// The file this process runs, so that a supervisor started by it is the same version.
fn binary() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"))
}

/// `stack supervise PROJECT --root DIR --run-dir DIR`, as [`LocalMachine`] calls it.
fn supervise() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(2).map(|word| word.to_string_lossy().into_owned()).collect();
    let [project, root_flag, root, run_flag, run] = words.as_slice() else { return ExitCode::from(2) };
    if (root_flag.as_str(), run_flag.as_str()) != ("--root", "--run-dir") {
        return ExitCode::from(2);
    }
    let Ok(project) = ProjectName::parse(project) else { return ExitCode::from(2) };
    let layout = Layout { root: root.into(), run: run.into() };
    match stack_host::supervise(&Assignment { layout, project, binary: binary() }) {
        Ok(()) => ExitCode::SUCCESS,
        // The parent has been told.
        Err(_) => ExitCode::FAILURE,
    }
}
