//! The command line on the real kernel. The program is the runtime too, so it has no test harness: it runs each test in
//! turn and ends with the line that test runners end with.

#![expect(clippy::print_stdout, reason = "it is the reporter of its own results")]

mod bed;
mod calls;
mod configuration;
mod conventions;
mod hostile;
mod life;

use std::process::ExitCode;

use bed::Bed;

type Test = (&'static str, fn(&Bed));

/// Names each test once.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),+),+]
    };
}

const TESTS: &[Test] = tests! {
    life:
        a_container_waits_between_create_and_start,
        many_cycles_leave_nothing_behind,
        what_does_not_fit_the_status_is_refused,
        exit_codes_and_streams_are_the_commands,
        hooks_run_in_order_and_know_the_state,
        a_hook_that_fails_leaves_nothing,
        a_program_that_is_missing_fails_create,
        programs_run_beside_the_first_one,
        a_container_is_stopped_where_it_is,
        a_terminal_goes_to_the_console_socket,
        limits_change_under_the_program;
    configuration:
        the_process_is_as_it_is_told,
        the_kernel_treats_it_as_it_is_told,
        mounts_have_their_options,
        a_mount_that_is_there_is_changed,
        a_shared_root_leaves_the_mounts_of_the_host,
        calls_are_filtered_by_the_bundle,
        namespaces_are_joined_by_path,
        owners_are_mapped_in_a_user_namespace,
        devices_and_hidden_paths_are_made,
        interfaces_are_moved_with_what_they_have,
        memory_comes_from_the_nodes_of_the_policy,
        systemd_is_asked_for_a_scope,
        what_is_not_supported_is_refused;
    conventions:
        another_file_and_patterns_of_names,
        a_program_of_exec_leads_its_own_group,
        a_cgroup_below_the_containers_is_joined_and_removed,
        programs_of_exec_run_where_they_are_told,
        processes_are_shown_as_ps_does,
        calls_of_exec_are_asked_about,
        sockets_are_passed_to_process_one,
        hooks_have_the_environment_they_are_given,
        hooks_in_the_container_are_filtered_too,
        unknown_capabilities_do_not_matter,
        devices_are_made_before_dev_is_closed,
        lines_are_as_written_where_no_terminal_reads,
        users_of_another_container_are_joined,
        sources_that_the_users_may_not_reach_are_bound,
        devices_are_made_for_other_users,
        hooks_in_the_container_stand_in_its_root,
        a_cgroup_that_others_made_gets_processors,
        a_kill_for_memory_is_an_event,
        a_frozen_cgroup_is_refused,
        a_shared_cgroup_is_warned_of;
    hostile:
        the_runtime_is_not_written_through_its_own_process,
        descriptors_of_the_host_are_not_seen_on_the_way_in,
        a_null_device_of_the_image_covers_nothing,
        a_console_that_is_a_link_is_refused,
        system_directories_that_are_links_are_refused,
        a_working_directory_outside_is_refused,
        nothing_is_inherited_that_was_not_asked_for,
        another_process_with_its_number_is_left_alone;
    calls:
        a_start_makes_the_calls_that_it_always_makes;
};

fn main() -> ExitCode {
    if stack_oci::is_asked() {
        return stack_oci::main();
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/usr/bin/busybox").exists() {
        println!("SKIP needs root and busybox-static");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        let bed = Bed::new();
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bed))).is_ok();
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bed.end())).is_ok();
        println!("test {name} ... {}", if ok && clean { "ok" } else { "FAILED" });
        passed += usize::from(ok && clean);
        failed += usize::from(!(ok && clean));
    }
    println!("\ntest result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
