//! Containers on the real kernel. The program is its own spawner, so it has no test harness: it runs each test in turn
//! and ends with the line that test runners end with.

#![expect(clippy::print_stdout, reason = "it is the reporter of its own results")]

mod attacks;
mod basics;
mod bed;
mod commands;
mod confinement;
mod hostile;
mod load;

use std::process::ExitCode;

use bed::Bed;
use stack_runtime::{SPAWNER_ARGUMENT, Spawner, spawner_main};

type Test = (&'static str, fn(&Bed));

/// Names each test once.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),+),+]
    };
}

const TESTS: &[Test] = tests! {
    basics:
        exit_codes_and_signals_are_told,
        a_process_sees_its_own_world,
        only_three_descriptors_are_open,
        capabilities_are_the_eleven,
        users_come_from_the_image,
        secrets_of_the_kernel_are_covered,
        volumes_are_filled_once_and_kept,
        a_read_only_root_stays_as_it_is,
        containers_lie_apart_on_the_disk,
        a_missing_bind_source_is_named,
        a_missing_program_is_explained,
        links_of_the_image_do_not_lead_out,
        a_working_directory_of_the_host_is_refused,
        init_passes_signals_on_and_reaps,
        a_terminal_is_held_by_process_one,
        programs_join_a_running_container;
    attacks:
        a_killed_supervisor_leaves_no_process_that_nobody_knows,
        an_adopted_container_still_tells_its_exit_code,
        a_volume_that_changes_under_the_copy_does_not_lead_out,
        pipes_in_place_of_files_do_not_stop_a_probe,
        names_of_any_length_fit_into_a_report,
        process_one_of_ours_runs_sealed_and_without_power,
        real_time_signals_reach_a_program_behind_process_one,
        images_with_links_for_system_directories_are_refused,
        cgroups_can_be_read_and_not_written,
        devices_of_the_host_cannot_be_made_or_opened,
        terminals_belong_to_the_user,
        a_read_only_root_has_its_working_directory,
        programs_of_the_image_say_why_they_cannot_run,
        a_container_that_takes_too_much_memory_says_so;
    commands:
        a_program_has_the_streams_of_the_command,
        a_program_that_is_missing_is_named,
        a_signal_of_the_command_is_the_programs,
        a_terminal_passes_size_and_keys_and_is_left_as_it_was,
        a_terminal_that_stays_open_does_not_keep_the_command;
    confinement:
        every_container_has_a_filter_unless_it_is_trusted,
        namespaces_are_made_with_sys_admin_only,
        a_user_starts_in_a_directory_of_root;
    hostile:
        a_mount_point_that_changes_into_a_link_does_not_lead_out,
        the_program_of_the_host_is_not_written,
        a_password_file_of_a_gigabyte_is_not_read,
        a_fork_bomb_stays_in_its_limit,
        open_files_have_a_limit,
        no_hierarchy_can_be_mounted;
    load:
        a_start_is_cheap,
        many_starts_leave_nothing_behind;
};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(SPAWNER_ARGUMENT) => return spawner_main(),
        Some(commands::EXEC) => return commands::exec_main(),
        Some(attacks::SUPERVISE) => return attacks::supervise_main(),
        Some(_) | None => {}
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/usr/bin/busybox").exists() {
        println!("SKIP needs root and busybox-static");
        return ExitCode::SUCCESS;
    }
    // As the harness would: only the tests whose names contain the first argument.
    let wanted = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
    let spawner = Spawner::start(&std::env::current_exe().expect("a path")).expect("a spawner");
    let before = inventory();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let bed = Bed::new(spawner.clone());
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bed))).is_ok();
        drop(bed);
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        passed += usize::from(ok);
        failed += usize::from(!ok);
    }
    assert_eq!(inventory(), before, "something was left behind");
    println!("\ntest result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Mounts, descriptors and children of ours.
fn inventory() -> (String, usize, String) {
    let read = |path: &str| fs_err::read_to_string(path).expect("it can be read");
    let children = read(&format!("/proc/self/task/{}/children", std::process::id()));
    let descriptors = fs_err::read_dir("/proc/self/fd").expect("descriptors").count();
    (read("/proc/self/mountinfo"), descriptors, children)
}
