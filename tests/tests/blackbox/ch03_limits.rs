//! ch03-limits: a container has its limits from its first instruction on.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use blackbox::{Lab, lack_memory_or_cpuset};
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

use crate::ch02_cgroups::is_v2;

/// The chapters that take the flags.
const CHAPTERS: [&str; 4] =
    ["ch03-limits", "ch04-pivot-root", "ch04-overlay", "ch04-volume"];

#[test]
#[file_serial(machine)]
fn each_chapter_from_here_on_takes_the_limits_and_they_bite() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    for chapter in CHAPTERS {
        let run = |words: &[&str]| {
            let mut command = lab.chapter(chapter);
            command.arg("run").args(words).assert()
        };
        run(&["-m", "20m", "tail", "/dev/zero"]).code(137);
        run(&["-cpuset", "1", "grep", "Cpus_allowed_list", "/proc/self/status"])
            .success()
            .stdout("Cpus_allowed_list:\t1\n");
        let forks = "for i in 1 2 3 4 5 6; do sleep 1 & done; wait";
        run(&["-pids", "4", "sh", "-c", forks]).code(2).stderr(contains("fork"));
        run(&["-m", "100m", "-cpushare", "512", "-cpus", "0.5", "true"]).success();
    }
}

#[test]
#[file_serial(machine)]
fn the_group_has_the_containers_id_and_its_limits_and_goes_with_it() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let mut command = lab.command(&[], "ch03-limits");
    command.args(["run", "-m", "64m", "-pids", "7", "sh", "-c"]);
    command.arg("hostname; cat /proc/self/cgroup; echo end; read word");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let lines: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| line != "end").collect();
    let name = format!("/mydocker-{}", lines[0]);
    let own = lines.iter().filter(|line| line.ends_with(&name)).count();
    assert_eq!(own, if is_v2() { 1 } else { 2 }, "{lines:?}");
    let mut found = Vec::new();
    for root in blackbox::cgroup_roots() {
        for file in ["memory.max", "memory.limit_in_bytes", "pids.max"] {
            let path = root.join(&name[1..]).join(file);
            found.extend(fs::read_to_string(path).ok());
        }
    }
    found.sort();
    assert_eq!(found, ["67108864\n", "7\n"]);
    drop(child.stdin.take());
    child.wait().unwrap();
    // The lab compares the trees.
}

#[test]
#[file_serial(machine)]
fn nobody_is_moved_by_somebody_else() {
    let lab = Lab::new();
    let mut command = lab.chapter("ch03-limits");
    command.args(["run", "--trace", "-pids", "9", "true"]);
    let moved = contains("cgroup.procs").not();
    let own = contains("write(2) 0 to ").and(contains("/tasks"));
    let assert = command.assert().success().stderr(moved);
    if is_v2() {
        assert.stderr(contains("/tasks").not());
    } else {
        assert.stderr(own);
    }
}

#[test]
#[file_serial(machine)]
fn a_value_that_the_kernel_refuses_leaves_nothing() {
    let lab = Lab::new();
    for chapter in CHAPTERS {
        let mut command = lab.chapter(chapter);
        command.args(["run", "-pids", "99999999999", "true"]);
        command.assert().code(125).stderr(contains("prepare limits: write(2)"));
    }
}
