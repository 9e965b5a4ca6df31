//! Waiting for what comes by itself.

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

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
/// proc_pid_stat(5), proc_pid_syscall(5)
pub(crate) fn everybody() -> String {
    let mut text = "there are (pid, name, state, parent, call):".to_owned();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |name| fs::read_to_string(process.path().join(name));
        let Ok(stat) = read("stat") else { continue };
        let stat: Vec<&str> = stat.split(' ').take(4).collect();
        // Threads of the kernel are children of number 2.
        if stat.get(3).is_none_or(|parent| *parent == "2") {
            continue;
        }
        let call = read("syscall").unwrap_or_default();
        let call = call.split(' ').next().unwrap_or_default().trim();
        // A String takes all that is written to it.
        let _ = write!(text, "\n{} {call}", stat.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_is_told() {
        let own = format!("\n{} (blackbox", std::process::id());
        let told = everybody();
        assert!(told.contains(&own), "{told}");
    }
}
