//! The checks of the tasks of chapter 5: the life of a container.

mod detach;
mod exec;
mod one;

use crate::Entry;

pub(super) const ALL: &[Entry] = &[
    (
        "exec",
        "a_program_joins_the_namespaces_of_the_container",
        exec::namespaces,
        "",
    ),
    ("exec", "a_program_is_in_the_cgroup_of_the_container", exec::cgroup, ""),
    ("exec", "a_program_is_a_child_of_the_process_that_joined", exec::parent, ""),
    ("exec", "the_exit_status_is_that_of_the_program", exec::exit_status, ""),
    (
        "exec",
        "the_root_directory_is_that_of_a_container_with_chroot",
        exec::root_directory,
        "",
    ),
    ("detach", "the_supervisor_has_a_session_of_its_own", detach::session, ""),
    ("detach", "the_supervisor_keeps_nothing_of_the_caller", detach::released, ""),
    ("detach", "standard_input_is_dev_null", detach::standard_input, ""),
    ("detach", "the_log_has_both_streams", detach::two_streams, ""),
    ("detach", "half_a_line_is_continued", detach::half_a_line, ""),
    ("detach", "the_last_output_is_in_the_log", detach::last_words, ""),
    ("detach", "the_output_goes_to_the_user_and_to_the_log", detach::foreground, ""),
    ("detach", "only_the_owner_may_read_the_log", detach::private, ""),
];
