//! Format a status, for programs and for people.

use common::cli::table::age;
use common::state::{End, Status};

/// The status in one word, for programs.
#[must_use]
pub(crate) fn word(status: &Status) -> &'static str {
    match status {
        Status::Starting => "starting",
        Status::Running(_) => "running",
        Status::Ending => "ending",
        Status::Exited(_) => "exited",
        Status::Dead => "dead",
    }
}

/// The status for people, with the age or the exit status. `created` and `now` are
/// in seconds since 1970.
#[must_use]
pub(crate) fn phrase(status: &Status, created: u64, now: u64) -> String {
    match status {
        Status::Starting => "Starting".to_owned(),
        Status::Running(_) => match age(created, now).strip_suffix(" ago") {
            Some(age) => format!("Up {age}"),
            None => "Up".to_owned(),
        },
        Status::Ending => "Ending".to_owned(),
        Status::Exited(End { how, at }) => {
            format!("Exited ({}) {}", how.code(), age(*at, now))
        }
        Status::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use common::{Exit, NotedProcess};
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn each_status_is_shown_with_its_age_and_exit_status() {
        let running = Status::Running(NotedProcess { pid: Pid::this(), since: 1 });
        let exited = |how, at| Status::Exited(End { how, at });
        for (status, text) in [
            (Status::Starting, "Starting"),
            (running, "Up 3 minutes"),
            (Status::Ending, "Ending"),
            (exited(Exit::Code(3), 0), "Exited (3) ?"),
            (exited(Exit::Code(0), 1200), "Exited (0) just now"),
            (
                exited(Exit::Signal(Signal::SIGKILL), 1199),
                "Exited (137) 1 second ago",
            ),
            (Status::Dead, "Dead"),
        ] {
            assert_eq!(phrase(&status, 1020, 1200), text);
        }
        assert_eq!(phrase(&running, 1200, 1200), "Up");
    }
}
