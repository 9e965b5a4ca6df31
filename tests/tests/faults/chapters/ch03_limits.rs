//! A run of ch03-limits, with a cgroup.

use std::fs;

use blackbox::{Lab, Side, lack_memory_or_cpuset};
use nix::sys::signal::Signal;

#[test]
fn the_next_run_removes_the_group_of_a_run_killed_at_any_system_call() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let mut groups = 0;
    for number in (0..).step_by(3) {
        let mut run = lab.traced("ch03-limits", |command| {
            command.args(["run", "-m", "64m", "-pids", "9", "true"])
        });
        if !run.to(Side::Host, number) {
            assert_eq!(run.end(), 0);
            assert!(number > 80, "the supervisor makes only {number} system calls");
            break;
        }
        run.signal(Side::Host, Signal::SIGKILL);
        assert_eq!(run.end(), 137, "{number}");
        if own_groups() > 0 {
            groups += 1;
            let mut next = lab.chapter("ch03-limits");
            next.args(["run", "no-such-program"]).assert().code(127);
            assert_eq!(own_groups(), 0, "{number}");
        }
    }
    assert!(groups > 5, "{groups}");
    lab.chapter("ch03-limits").args(["run", "true"]).assert().success();
}

/// The number of group directories of containers.
fn own_groups() -> usize {
    let roots = blackbox::cgroup_roots().into_iter();
    let entries = roots.flat_map(|root| fs::read_dir(root).into_iter().flatten());
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("mydocker-")).count()
}
