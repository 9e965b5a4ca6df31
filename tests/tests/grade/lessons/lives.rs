//! The checks of the tasks of chapter 5: the life of a container.

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
];
