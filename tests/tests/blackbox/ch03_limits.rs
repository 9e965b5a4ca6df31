//! ch03-limits: the limits apply to a container from its first instruction.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use blackbox::{Lab, has_controller, lack_memory_or_cpuset, skip};
use nix::unistd::chown;
use predicates::prelude::*;
use predicates::str::{contains, is_match};
use serial_test::file_serial;

use crate::ch02_cgroups::is_v2;

/// The chapters that accept the flags.
const CHAPTERS: [&str; 4] =
    ["ch03-limits", "ch04-pivot-root", "ch04-overlay", "ch04-volume"];

fn run(lab: &Lab, words: &[&str]) -> assert_cmd::assert::Assert {
    lab.chapter("ch03-limits").args(words).assert()
}

#[test]
#[file_serial(machine)]
fn this_and_later_chapters_apply_the_limits() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    // All limits at once: one run for each chapter.
    let script = "grep Cpus_allowed_list /proc/self/status; \
                  (for i in 1 2 3 4 5 6; do sleep 99 & done); exec tail /dev/zero";
    for chapter in CHAPTERS {
        let mut command = lab.chapter(chapter);
        command.args(["run", "-m", "8m", "-cpuset", "1", "-pids", "4"]);
        command.args(["-cpushare", "512", "-cpus", "1.5", "sh", "-c", script]);
        let assert = command.assert().code(137).stderr(contains("fork"));
        assert.stdout("Cpus_allowed_list:\t1\n");
    }
}

/// The files of the limits, in both cgroup versions.
const FILES: [&str; 7] = [
    "memory.max",
    "memory.limit_in_bytes",
    "memory.swap.max",
    "memory.memsw.limit_in_bytes",
    "cpu.weight",
    "cpu.shares",
    "pids.max",
];

#[test]
#[file_serial(machine)]
fn the_containers_group_has_its_id_and_limits_and_is_removed_with_it() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let mut command = lab.command(&[], "ch03-limits");
    command.args(["run", "-m", "64m", "-pids", "7", "-cpushare", "512", "sh", "-c"]);
    command.arg("hostname; cat /proc/self/cgroup; echo end; read word");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let lines: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| line != "end").collect();
    let name = format!("/mydocker-{}", lines[0]);
    let own = lines.iter().filter(|line| line.ends_with(&name)).count();
    assert_eq!(own, if is_v2() { 1 } else { 3 }, "{lines:?}");
    let mut found = Vec::new();
    for root in blackbox::cgroup_roots() {
        for file in FILES {
            let path = root.join(&name[1..]).join(file);
            let value = fs::read_to_string(path).ok();
            found.extend(value.map(|value| (file, value.trim().to_owned())));
        }
    }
    let expected = match is_v2() {
        true => [("memory.max", "67108864"), ("cpu.weight", "20")],
        false => [("memory.limit_in_bytes", "67108864"), ("cpu.shares", "512")],
    };
    for (file, value) in expected.into_iter().chain([("pids.max", "7")]) {
        assert!(found.contains(&(file, value.to_owned())), "{file}: {found:?}");
    }
    // No swap in addition: v2 counts swap separately, v1 counts it together with memory.
    // The file is missing in v1 without swapaccount=1, and in v2 only if the kernel does
    // not support swap.
    let (file, value) = match is_v2() {
        true => ("memory.swap.max", "0"),
        false => ("memory.memsw.limit_in_bytes", "67108864"),
    };
    let has = found.iter().any(|(name, _)| *name == file);
    let may_lack = !is_v2() || !Path::new("/proc/swaps").exists();
    assert!(
        found.contains(&(file, value.to_owned())) || (!has && may_lack),
        "{found:?}"
    );
    drop(child.stdin.take());
    child.wait().unwrap();
    // The lab compares the cgroup trees.
}

#[test]
#[file_serial(machine)]
fn no_process_is_moved_by_another_process() {
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
fn a_value_that_the_kernel_refuses_leaves_no_group() {
    let lab = Lab::new();
    for chapter in CHAPTERS {
        let mut command = lab.chapter(chapter);
        command.args(["run", "-pids", "99999999999", "true"]);
        command.assert().code(125).stderr(contains("prepare limits: write(2)"));
    }
}

#[test]
#[file_serial(machine)]
fn an_invalid_limit_is_reported_and_leaves_no_group() {
    let lab = Lab::new();
    for (words, reason) in [
        (
            ["-cpuset", "7000"],
            if has_controller("cpuset") {
                "CPU 7000 does not exist"
            } else {
                "-cpuset needs the controller cpuset"
            },
        ),
        (["-pids", "99999999999"], "pids.max: EINVAL"),
        (["--io", "/dev/null:rbps=1m"], "is not a block device"),
        (["--io", "/dev/none:rbps=1m"], "ENOENT"),
    ] {
        run(&lab, &[&["run"], &words[..], &["true"]].concat())
            .code(125)
            .stderr(contains(reason));
    }
    for words in [
        ["-m", "emroy"],
        ["-m", "0"],
        ["-m", "-1"],
        ["-m", "100k"],
        ["-cpushare", "1"],
        ["-cpus", "0"],
        ["-cpuset", "1-0"],
        ["-pids", "0"],
        ["--io", "rbps=1"],
        ["--io", "/dev/a:rbps=1,rbps=2"],
    ] {
        run(&lab, &[&["run"], &words[..], &["true"]].concat())
            .code(2)
            .stderr(contains(words[1]));
    }
    run(&lab, &["run", "-memroy", "1m", "true"]).code(2);
}

#[test]
#[file_serial(machine)]
fn io_limits_the_read_rate_of_a_disk() {
    let lab = Lab::new();
    let mut disks = ["/dev/vda", "/dev/sda"].into_iter();
    let Some(disk) = disks.find(|disk| fs::File::open(disk).is_ok()) else {
        return skip("there is no disk that may be read");
    };
    let limit = format!("{disk}:rbps=2m");
    let begun = Instant::now();
    // Read directly from the disk, not from the page cache.
    let probe = blackbox::probe();
    run(&lab, &["run", "--io", &limit, probe.to_str().unwrap(), "direct", disk])
        .success()
        .stdout("3145728\n");
    let taken = begun.elapsed();
    assert!(taken > Duration::from_millis(900), "3 MiB in {taken:?}");
}

#[test]
#[file_serial(machine)]
fn a_limit_without_its_controller_is_an_error() {
    let lab = Lab::new();
    let bin = blackbox::bin_dir().join("ch03-limits");
    let run = |script: &str| {
        let mut command = lab.chapter("ch02-mount");
        command.args(["run", "sh", "-c", script, "sh"]).arg(&bin);
        command.assert()
    };
    let none = "for m in $(grep -o '/sys/fs/cgroup/[^ ]*' /proc/mounts) \
                /sys/fs/cgroup; do umount -l $m; done; MYDOCKER_ROOT=/tmp/none";
    run(&format!("{none} $1 run -m 20m true"))
        .code(125)
        .stderr(contains("no cgroup filesystem is mounted here"));
    // Without a limit, no hierarchy is needed.
    run(&format!("{none} $1 run true; r=$?; rm -r /tmp/none; exit $r")).success();
    if !is_v2() {
        run("umount -l /sys/fs/cgroup/pids; MYDOCKER_ROOT=/tmp/none $1 run -pids 9 true")
            .code(125)
            .stderr(contains("-pids needs the controller pids"));
        let _ = fs::remove_dir_all("/tmp/none");
    }
}

#[test]
#[file_serial(machine)]
fn a_process_moved_into_the_group_is_killed_with_the_container() {
    let lab = Lab::new();
    let mut command = lab.command(&[], "ch03-limits");
    command.args(["run", "-pids", "50", "sh", "-c", "hostname; read word; exit 7"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut id = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut id).unwrap();
    // The kernel does not kill this process with the container's PID namespace, because
    // the process is not in that namespace.
    let mut outsider = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut moved = lab.chapter("ch02-cgroups");
    moved.args(["move", id.trim(), &outsider.id().to_string()]).assert().success();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(outsider.wait().unwrap().signal(), Some(9));
    // The lab compares the cgroup trees.
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_is_told_that_limits_need_delegation() {
    let lab = Lab::new();
    let mut command = lab.as_user("ch03-limits");
    let assert = command.args(["run", "-pids", "9", "true"]).assert().code(125);
    assert.stderr(contains("EACCES").and(contains("Delegate=yes")));
    let mut command = lab.as_user("ch03-limits");
    command.args(["run", "true"]).assert().success();
}

/// A group that is delegated to a user, created by hand.
fn delegated(owner: u32) -> PathBuf {
    let group = PathBuf::from("/sys/fs/cgroup/delegated");
    let control = "/sys/fs/cgroup/cgroup.subtree_control";
    fs::write(control, "+pids +memory").unwrap();
    fs::create_dir(&group).unwrap();
    let uid = Some(owner.into());
    chown(&group, uid, None).unwrap();
    for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        chown(&group.join(file), uid, None).unwrap();
    }
    group
}

#[test]
#[file_serial(machine)]
fn the_containers_group_is_created_in_the_delegated_group() {
    let lab = Lab::new();
    if !is_v2() {
        skip("cgroup v1 cannot be delegated");
        return;
    }
    let look = ["run", "-pids", "9", "cat", "/proc/self/cgroup"];
    for owner in [blackbox::user(), 0] {
        let group = delegated(owner);
        let mut own = match owner {
            0 => lab.command(&[], "ch03-limits"),
            _ => lab.user_command("ch03-limits"),
        };
        own.args(look);
        if owner == 0 {
            // For root, the owner of the files does not show that the group is delegated.
            // systemd marks it with this attribute.
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&group, "trusted.delegate", b"1", flags).unwrap();
        }
        // The shell stays in the delegated group.
        let enter =
            format!("echo 0 > {}/cgroup.procs; \"$@\"; exit $?", group.display());
        let mut command = assert_cmd::Command::new("sh");
        command.args(["-c", &enter, "sh"]).arg(own.get_program());
        command.args(own.get_args()).env_clear();
        let set = own.get_envs().filter_map(|(key, value)| Some((key, value?)));
        command.envs(set).current_dir(own.get_current_dir().unwrap());
        let expected = is_match(r"^0::/delegated/mydocker-[0-9a-f]{12}\n$").unwrap();
        command.assert().success().stdout(expected);
        // The group of the parent process stays: the owner of the delegated group
        // removes it.
        fs::remove_dir(group.join("mydocker-host")).unwrap();
        fs::remove_dir(group).unwrap();
    }
}
