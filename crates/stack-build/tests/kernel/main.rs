//! Builds on the real kernel. The program is its own spawner, so it has no test harness: it runs each test in turn and
//! ends with the line that test runners end with.

#![expect(clippy::print_stdout, reason = "it is the reporter of its own results")]

mod bed;
mod cache;
mod files;
mod mistakes;
mod peers;
mod runs;
mod settings;

use std::process::ExitCode;

use bed::Bed;
use stack_runtime::{SPAWNER_ARGUMENT, spawner_main};

type Test = (&'static str, fn(&Bed));

/// Names each test once.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),+),+]
    };
}

const TESTS: &[Test] = tests! {
    settings:
        every_setting_of_an_image,
        arguments_and_their_scopes,
        triggers_run_in_the_child;
    files:
        copies_go_where_they_should,
        what_is_ignored_is_not_there,
        owners_and_modes,
        archives_are_unpacked,
        documents_become_files,
        parents_and_excludes,
        links_of_the_image_do_not_lead_out,
        deletions_become_whiteouts;
    runs:
        programs_have_shell_user_and_directory,
        documents_are_scripts,
        mounts_are_there_and_gone,
        secrets_leave_no_trace,
        networks,
        a_step_has_a_network_of_its_own;
    cache:
        an_unchanged_build_does_nothing,
        what_was_made_before_is_found_without_making_anything,
        a_touched_file_is_the_same_and_a_changed_one_is_not,
        the_same_inputs_give_the_same_digest,
        stages_that_are_not_needed_are_left_out,
        layers_of_an_image_serve_as_cache;
    mistakes:
        failures_point_into_the_file,
        what_a_dead_build_left_is_removed,
        a_killed_build_leaves_nothing_that_the_next_does_not_remove;
    peers:
        buildah_makes_the_same;
};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(SPAWNER_ARGUMENT) => return spawner_main(),
        Some(mistakes::ENDLESS) => return mistakes::endless_main(),
        Some(_) | None => {}
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/usr/bin/busybox").exists() {
        println!("SKIP needs root and busybox-static");
        return ExitCode::SUCCESS;
    }
    // As the harness would: only the tests whose names contain the first argument.
    let wanted = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
    let bed = Bed::new();
    let before = bed.inventory();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bed))).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        passed += usize::from(ok);
        failed += usize::from(!ok);
    }
    assert_eq!(bed.inventory(), before, "something was left behind");
    println!("\ntest result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
