//! The checks of the tasks of chapter 5: the life of a container.

mod attach;
mod detach;
mod env;
mod exec;
mod init;
mod logs;
mod one;
mod ps;
mod rm;
mod stop;

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
    ("detach", "the_supervisor_has_only_the_read_ends", detach::write_ends, ""),
    ("detach", "half_a_line_is_continued", detach::half_a_line, ""),
    ("detach", "the_last_output_is_in_the_log", detach::last_words, ""),
    ("detach", "the_output_goes_to_the_user_and_to_the_log", detach::foreground, ""),
    ("detach", "only_the_owner_may_read_the_log", detach::private, ""),
    ("stop", "kill_sends_the_signal", stop::signal, ""),
    ("stop", "kill_of_a_container_that_has_ended_is_an_error", stop::no_process, ""),
    ("stop", "stop_waits_until_the_program_has_ended", stop::patience, ""),
    ("stop", "stop_kills_a_program_that_ignores_the_signal", stop::deaf, ""),
    ("stop", "stop_thaws_a_frozen_container", stop::frozen, ""),
    ("stop", "wait_returns_after_the_clean_up", stop::cleaned_up, ""),
    (
        "stop",
        "wait_prints_the_exit_status_of_an_earlier_end",
        stop::after_the_end,
        "",
    ),
    ("env", "the_variables_of_a_file_and_of_flags_are_set", env::variables, ""),
    ("env", "the_working_directory_is_made", env::directory, ""),
    ("env", "a_relative_working_directory_is_refused", env::relative, ""),
    ("env", "the_program_has_the_user_and_the_group", env::ids, ""),
    ("env", "the_home_directory_is_that_of_the_user", env::home, ""),
    ("env", "the_program_has_the_groups_of_the_user", env::groups, ""),
    ("env", "the_user_can_open_its_streams", env::streams, ""),
    ("env", "an_ordinary_user_has_no_capability", env::no_capability, ""),
    ("env", "the_root_is_read_only_and_a_volume_is_not", env::read_only, ""),
    ("rm", "nothing_of_the_container_is_left", rm::files, ""),
    ("rm", "a_running_container_is_not_removed", rm::running, ""),
    ("rm", "force_kills_the_program_first", rm::force, ""),
    ("rm", "what_a_killed_supervisor_left_is_removed", rm::killed, ""),
    ("rm", "a_later_run_sweeps_a_dead_container", rm::swept, ""),
    ("rm", "a_later_run_removes_a_dead_container_of_rm", rm::swept_with_files, ""),
    ("rm", "only_one_process_sweeps", rm::another_sweeps, ""),
    ("logs", "follow_shows_new_output_and_ends", logs::follow, ""),
    ("logs", "follow_misses_no_output", logs::many, ""),
    ("logs", "follow_sleeps_while_there_is_no_output", logs::idle, ""),
    ("logs", "each_stream_goes_to_its_stream", logs::streams, ""),
    ("logs", "parts_of_a_line_are_one_line", logs::whole_lines, ""),
    ("logs", "since_leaves_out_earlier_output", logs::since, ""),
    ("ps", "a_running_container_has_its_pid", ps::running, ""),
    ("ps", "a_container_that_has_ended_has_its_exit_status", ps::ended, ""),
    ("ps", "a_container_without_supervisor_is_dead", ps::dead, ""),
    ("ps", "two_lists_do_not_disturb_each_other", ps::two_lists, ""),
    ("ps", "the_newest_container_is_first", ps::newest_first, ""),
    ("init", "the_program_is_the_child_of_pid_1", init::number, ""),
    ("init", "pid_1_ends_as_the_program_does", init::exit_status, ""),
    ("init", "pid_1_forwards_signals", init::signal, ""),
    ("init", "pid_1_reaps_orphans", init::orphans, ""),
    ("init", "pid_1_has_no_open_files", init::closed, ""),
    ("init", "pid_1_has_a_session_of_its_own", init::session, ""),
    ("init", "the_program_is_noted", init::noted, ""),
    ("attach", "the_socket_belongs_to_the_owner", attach::socket, ""),
    ("attach", "input_and_output_pass_through_a_pipe", attach::pipe, ""),
    ("attach", "input_and_output_pass_through_a_terminal", attach::terminal, ""),
    (
        "attach",
        "the_detach_keys_leave_the_container_running",
        attach::detach_keys,
        "",
    ),
    (
        "attach",
        "the_log_has_the_output_without_a_client",
        attach::without_client,
        "",
    ),
    ("attach", "the_terminal_has_the_size_of_the_client", attach::size, ""),
];
