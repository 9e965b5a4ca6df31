//! How one container is now.

use anyhow::Result;
use ch04_commit::{Record, age};
use common::state::Life;
use common::state::State;
use common::{Exit, Process};

/// How a container is now.
#[derive(Debug)]
pub enum Now {
    /// It is being made: its program does not run yet.
    Starting,
    /// Its program runs, as this process.
    Up(Process),
    /// Its program has ended, and its host side has not written down how.
    Ending,
    /// It has ended: how, and when, in seconds after 1970.
    Ended(Exit, u64),
    /// Its host side was killed: nobody saw the end.
    Dead,
}

impl Now {
    // ANCHOR: look
    /// Look at one container; `None` if it was removed meanwhile.
    ///
    /// # Errors
    /// Those of open(2) and read(2); a damaged record of its end.
    pub fn look(record: &Record, state: &State) -> Result<Option<Now>> {
        // The lock first: whoever ends writes before it lets go.
        let or_else = match record.home(state).life()? {
            Life::Running(process) => return Ok(Some(Now::Up(process))),
            Life::Starting => Now::Starting,
            Life::Ending => Now::Ending,
            Life::Over => Now::Dead,
        };
        Now::ended(record, state, or_else)
    }

    /// The same of one that does not run, and that is `or_else` if nothing tells of its
    /// end.
    pub(crate) fn ended(
        record: &Record,
        state: &State,
        or_else: Now,
    ) -> Result<Option<Now>> {
        Ok(match record.end(state)? {
            Some((Exit::Unseen, _)) => Some(Now::Dead),
            Some((how, at)) => Some(Now::Ended(how, at)),
            // A removal takes the record first, then what tells of the end.
            None => record.exists(state).then_some(or_else),
        })
    }
    // ANCHOR_END: look

    /// Whether somebody holds it: what `ps` lists unless all are asked for.
    #[must_use]
    pub fn lives(&self) -> bool {
        matches!(self, Now::Starting | Now::Up(_) | Now::Ending)
    }

    /// In one word, for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Now::Starting => "starting",
            Now::Up(_) => "running",
            Now::Ending => "ending",
            Now::Ended(..) => "exited",
            Now::Dead => "dead",
        }
    }

    /// For people: since when, or with which exit code. Times in seconds after 1970.
    #[must_use]
    pub fn told(&self, created: u64, now: u64) -> String {
        match self {
            Now::Starting => "Starting".to_owned(),
            Now::Up(_) => up(&age(created, now)),
            Now::Ending => "Ending".to_owned(),
            Now::Ended(how, at) => {
                format!("Exited ({}) {}", how.code(), age(*at, now))
            }
            Now::Dead => "Dead".to_owned(),
        }
    }
}

fn up(age: &str) -> String {
    match age.strip_suffix(" ago") {
        Some(age) => format!("Up {age}"),
        None => "Up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn each_state_is_told_with_its_age_and_code() {
        let own = || Process::of(Pid::this()).unwrap().unwrap();
        for (now, text) in [
            (Now::Starting, "Starting"),
            (Now::Up(own()), "Up 3 minutes"),
            (Now::Ending, "Ending"),
            (Now::Ended(Exit::Code(3), 0), "Exited (3) ?"),
            (Now::Ended(Exit::Code(0), 1200), "Exited (0) just now"),
            (
                Now::Ended(Exit::Signal(Signal::SIGKILL), 1199),
                "Exited (137) 1 second ago",
            ),
            (Now::Dead, "Dead"),
        ] {
            assert_eq!(now.told(1020, 1200), text);
        }
        assert_eq!(Now::Up(own()).told(1200, 1200), "Up");
    }
}
