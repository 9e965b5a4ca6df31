//! Waiting for what comes by itself.

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::descendants::Stat;

/// What takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wait until it is so.
///
/// # Panics
/// After half a minute in which it was not.
#[track_caller]
pub fn until(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "it never came; {}", everybody());
        sleep(Duration::from_millis(10));
    }
}

/// Who is there, each with its parent, its state, and the system call that it is in: a
/// hang that comes once in a thousand runs has to be understood from what it leaves.
///
/// # Source
/// proc_pid_syscall(5)
pub(crate) fn everybody() -> String {
    let mut text = "there are (pid, name, state, parent, call):".to_owned();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Threads of the kernel are children of number 2.
        let stat = Stat::of(&process.path()).filter(|stat| stat.parent != 2);
        let Some(Stat { name, state, parent }) = stat else { continue };
        let call = fs::read_to_string(process.path().join("syscall"));
        let call = call.unwrap_or_default();
        let call = call.split(' ').next().unwrap_or_default().trim();
        let pid = process.file_name();
        // A String takes all that is written to it.
        let _ =
            write!(text, "\n{} {name}, {state}, {parent}, {call}", pid.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_is_told() {
        let own = format!("\n{} blackbox", std::process::id());
        let told = everybody();
        assert!(told.contains(&own), "{told}");
    }
}
