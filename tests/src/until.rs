//! Waiting for a condition.

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::descendants::Stat;

/// The time limit of a wait.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Wait until the condition is true.
///
/// # Panics
/// The condition is still false after two minutes.
#[track_caller]
pub fn until(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !so() {
        assert!(
            Instant::now() < deadline,
            "the condition did not become true; {}",
            list_processes()
        );
        sleep(Duration::from_millis(10));
    }
}

/// All processes, each with its parent, its state, and its current system call. A
/// hang that occurs once in a thousand runs must be understandable from this text.
///
/// # Source
/// proc_pid_syscall(5)
pub(crate) fn list_processes() -> String {
    let mut text = "processes (PID, name, state, parent, call):".to_owned();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Kernel threads are children of PID 2.
        let stat = Stat::of(&process.path()).filter(|stat| stat.parent != 2);
        let Some(Stat { name, state, parent }) = stat else { continue };
        let call = fs::read_to_string(process.path().join("syscall"));
        let call = call.unwrap_or_default();
        let call = call.split(' ').next().unwrap_or_default().trim();
        let pid = process.file_name();
        // Writing to a String never fails.
        let _ =
            write!(text, "\n{} {name}, {state}, {parent}, {call}", pid.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_processes_includes_this_process() {
        let own = format!("\n{} blackbox", std::process::id());
        let told = list_processes();
        assert!(told.contains(&own), "{told}");
    }
}
