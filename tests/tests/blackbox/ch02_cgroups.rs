//! ch02-cgroups: groups created by hand, and the effect of each limit.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Lab, bin_dir, lack_memory_or_cpuset};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, chown};
use predicates::prelude::*;
use predicates::str::{contains, is_match};
use serial_test::file_serial;

/// Whether all controllers are in the single hierarchy of v2.
pub(crate) fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The standard output of a command of the chapter.
fn said(lab: &Lab, words: &[&str]) -> String {
    let assert = lab.chapter("ch02-cgroups").args(words).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn run(lab: &Lab, words: &[&str]) -> assert_cmd::assert::Assert {
    lab.chapter("ch02-cgroups").args(words).assert()
}

/// One number from the output of `stats`.
fn number(lab: &Lab, group: &str, account: &str) -> u64 {
    let table = said(lab, &["stats", group]);
    let line = table.lines().find(|line| line.starts_with(account)).expect(account);
    line[account.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

/// FILE=VALUE for the cgroup version of this machine.
fn value(v1: &'static str, v2: &'static str) -> &'static str {
    if is_v2() { v2 } else { v1 }
}

/// A group that is removed at the end of the test.
struct Group<'a> {
    lab: &'a Lab,
    name: &'static str,
    /// Its directories.
    paths: Vec<PathBuf>,
}

impl<'a> Group<'a> {
    /// Create a group, and set these values. Each value has the form FILE=VALUE.
    fn new(lab: &'a Lab, name: &'static str, values: &[&str]) -> Group<'a> {
        let group = Group::of(lab, name, &[]);
        if !values.is_empty() {
            run(lab, &[&["set", name], values].concat()).success();
        }
        group
    }

    /// Create a group with these flags of `create`.
    fn of(lab: &'a Lab, name: &'static str, flags: &[&str]) -> Group<'a> {
        let paths = said(lab, &[&["create", name], flags].concat());
        let paths = paths.lines().map(PathBuf::from).collect();
        Group { lab, name, paths }
    }

    /// Start a program in the group and wait until it prints `ready`.
    fn start(&self, script: &str) -> ReadyProcess {
        let mut command = self.lab.command(&[], "ch02-cgroups");
        command.args(["exec", self.name, "sh", "-c", script]);
        ReadyProcess::new(command)
    }

    fn members(&self) -> Vec<String> {
        let read = |path: &PathBuf| fs::read_to_string(path.join("cgroup.procs"));
        self.paths.iter().map(|path| read(path).unwrap()).collect()
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            run(self.lab, &["delete", self.name]).success();
        }
        for path in &self.paths {
            let _ = fs::remove_dir(path);
        }
    }
}

/// A process that has printed `ready`. It is killed when this value is dropped.
struct ReadyProcess(Child);

impl ReadyProcess {
    fn new(mut command: Command) -> ReadyProcess {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        ReadyProcess(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for ReadyProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[file_serial(machine)]
fn list_shows_where_each_controller_is_mounted() {
    let lab = Lab::new();
    // The kernel counts a removed group until it has released it. The list is therefore
    // compared with numbers that were the same before and after the command.
    let kernel = || fs::read_to_string("/proc/cgroups").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let (table, known) = loop {
        let (before, table) = (kernel(), said(&lab, &["list"]));
        if kernel() == before {
            break (table, before);
        }
        assert!(Instant::now() < deadline, "the numbers of groups never settle");
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut mounted = 0;
    for line in known.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let row = table.lines().find(|row| row.split(' ').next() == Some(words[0]));
        let row: Vec<&str> = row.unwrap().split_whitespace().collect();
        assert_eq!(row[..3], words[..3]);
        assert_eq!(row[3], if words[3] == "1" { "yes" } else { "no" });
        let v1 = |mount: &&str| {
            mount.contains(" - cgroup ")
                && mount.split([' ', ',']).any(|word| word == words[0])
        };
        match mounts.lines().find(v1) {
            Some(mount) => {
                let at = mount.split(' ').nth(4).unwrap();
                assert_eq!(row[4..], ["v1", at], "{table}");
                mounted += 1;
            }
            None if row[4] == "v2" => {
                let at = Path::new(row[5]);
                let name = if words[0] == "blkio" { "io" } else { words[0] };
                let list =
                    fs::read_to_string(at.join("cgroup.controllers")).unwrap();
                let everywhere = ["cpuacct", "freezer", "perf_event"];
                let there = list.split_whitespace().any(|word| word == name);
                assert!(there || everywhere.contains(&name), "{name}: {table}");
                mounted += 1;
            }
            None => assert_eq!(row[4..], ["-", "-"], "{table}"),
        }
    }
    assert!(mounted >= 4, "{table}");
}

#[test]
#[file_serial(machine)]
fn all_processes_start_in_the_root_group_of_a_new_hierarchy() {
    let lab = Lab::new();
    // The kernel removes a hierarchy with its mount, unless it is still removing a group
    // of the hierarchy.
    let script = "mkdir tree && mount -t cgroup -o none,name=lesson none tree && \
                  wc -l < tree/cgroup.procs && mkdir tree/new && \
                  wc -l < tree/new/cgroup.procs && echo $$ > tree/new/cgroup.procs && \
                  grep -o name=lesson.* /proc/self/cgroup; \
                  echo $$ > tree/cgroup.procs; rmdir tree/new; sleep 0.5; \
                  umount tree; rmdir tree";
    let mut command = lab.chapter("ch02-setns");
    command.args(["run", "--mount", "sh", "-c", script]);
    let assert = command.assert().success();
    let said = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let all: usize = lines[0].parse().unwrap();
    assert!(all > 10, "kernel threads too: {all}");
    assert_eq!(lines[1..], ["0", "name=lesson:/new"]);
}

#[test]
#[file_serial(machine)]
fn a_process_is_moved_into_a_group_and_shown_there() {
    let lab = Lab::new();
    let group = Group::new(&lab, "box", &[]);
    assert!(group.members().iter().all(String::is_empty), "a new group is empty");
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo ready; wait"]);
    let outsider = ReadyProcess::new(command);
    run(&lab, &["move", "box", &outsider.pid()]).success();
    for members in group.members() {
        // A child that was created before the move stays in its group.
        assert_eq!(members, format!("{}\n", outsider.pid()));
    }
    let table = said(&lab, &["show", &outsider.pid()]);
    let kernel = fs::read_to_string(format!("/proc/{}/cgroup", outsider.pid()));
    for line in kernel.unwrap().lines() {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let rows = table.lines().filter(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            words[0] == fields[0] && words[words.len() - 1] == fields[2]
        });
        assert_eq!(rows.count(), 1, "{line} in {table}");
    }
    assert!(table.contains("/mydocker-box"), "{table}");
    let explained = said(&lab, &["show", "--explain"]);
    let (_, explanation) = explained.split_once("three fields").unwrap();
    for field in ["HIERARCHY ", "CONTROLLERS ", "GROUP "] {
        let mut lines = explanation.lines();
        assert!(lines.any(|line| line.starts_with(field)), "{field}: {explained}");
    }
    let refused = run(&lab, &["delete", "box"]).code(125);
    refused.stderr(contains(format!("has processes: {}", outsider.pid())));
    let sleeper = format!("/proc/{0}/task/{0}/children", outsider.pid());
    let sleeper = fs::read_to_string(sleeper).unwrap();
    drop(outsider);
    kill(Pid::from_raw(sleeper.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_cgroup_v2_group_with_inner_groups_accepts_no_processes() {
    let lab = Lab::new();
    let outer = Group::new(&lab, "outer", &[]);
    let inner = Group::new(&lab, "outer/inner", &[]);
    run(&lab, &["delete", "outer"]).code(125).stderr(contains("groups inside"));
    let exec = run(&lab, &["exec", "outer", "true"]);
    // On a hybrid machine, the group may be in v2 too.
    let in_v2 = outer.paths.iter().any(|path| path.join("cgroup.kill").exists());
    if in_v2 {
        exec.code(125)
            .stderr(contains("EBUSY").and(contains("cannot contain processes")));
    } else {
        exec.success();
    }
    drop(inner);
    // A group with processes cannot enable controllers for its inner groups.
    let lonely = Group::new(&lab, "lonely", &[]);
    let process = lonely.start("echo ready; exec sleep 1000");
    let create = run(&lab, &["create", "lonely/inner"]);
    if in_v2 {
        create.code(125).stderr(contains("lonely contains processes"));
    } else {
        create.success();
        run(&lab, &["delete", "lonely/inner"]).success();
    }
    drop(process);
    drop(lonely);
    drop(outer);
}

#[test]
#[file_serial(machine)]
fn the_error_explains_that_the_parent_group_contains_processes() {
    let lab = Lab::new();
    if !is_v2() {
        // In v1, processes may be in any group.
        let outer = Group::new(&lab, "outer", &[]);
        let process = outer.start("echo ready; exec sleep 1000");
        let inner = Group::new(&lab, "outer/inner", &[]);
        run(&lab, &["exec", "outer/inner", "true"]).success();
        drop((process, inner));
        return;
    }
    // A container that sees its own group as the root group is in this situation.
    let bin = blackbox::bin_dir();
    for (chapter, call, words) in [
        (
            "ch02-cgroups",
            "write(2)",
            "\"$1\" create x --controllers pids; \"$1\" exec x true; r=$?; \
             \"$1\" delete x; exit $r",
        ),
        (
            "ch03-limits",
            "clone3(2)",
            "MYDOCKER_ROOT=\"$2\" exec \"$1\" run -pids 9 true",
        ),
    ] {
        let outer = Group::new(&lab, "outer", &[]);
        let script =
            format!("mount -t cgroup2 none /mnt; umount -l /sys/fs/cgroup; {words}");
        let mut command = lab.chapter("ch02-cgroups");
        command.args(["exec", "outer"]).arg(bin.join("ch02-setns"));
        command.args(["run", "--cgroup", "--mount", "sh", "-c", &script, "sh"]);
        // `exec` cleans the environment.
        command.arg(bin.join(chapter)).arg(lab.state());
        let said = contains(call).and(contains("EOPNOTSUPP"));
        let assert = command.assert().code(125);
        assert.stderr(said.and(contains("the parent cgroup contains processes")));
        drop(outer);
    }
}

#[test]
#[file_serial(machine)]
fn pids_max_stops_a_fork_bomb() {
    let lab = Lab::new();
    let group = Group::new(&lab, "bomb", &["pids.max=20"]);
    // The shell itself forks only once, because a shell ends if its fork(2) fails.
    let bomb = "b() { b & b & sleep 1; }; b 2>/dev/null & echo ready; \
                wait; exec sleep 1000";
    let process = group.start(bomb);
    let deadline = Instant::now() + Duration::from_secs(10);
    while number(&lab, "bomb", "forks refused") == 0 {
        assert!(Instant::now() < deadline, "no fork was refused");
        assert!(number(&lab, "bomb", "processes") <= 20);
    }
    // A frozen process cannot create children while the others are being killed.
    run(&lab, &["freeze", "bomb"]).success();
    for pid in group.members()[0].lines() {
        let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
    }
    run(&lab, &["thaw", "bomb"]).success();
    drop(process);
    // A process whose parent has ended becomes a child of this process, and is counted
    // until it is reaped.
    let deadline = Instant::now() + Duration::from_secs(10);
    while number(&lab, "bomb", "processes") > 0 {
        assert!(Instant::now() < deadline, "killed processes remain");
        while waitpid(None, Some(WaitPidFlag::WNOHANG))
            .is_ok_and(|s| s.pid().is_some())
        {}
        sleep(Duration::from_millis(20));
    }
}

#[test]
#[file_serial(machine)]
fn two_groups_share_one_cpu_in_proportion_to_their_weights() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let names = ["small", "large"];
    let shares = [
        value("cpu.shares=256", "cpu.weight=25"),
        value("cpu.shares=1024", "cpu.weight=100"),
    ];
    let groups = [0, 1].map(|index| {
        Group::new(&lab, names[index], &["cpuset.cpus=0", shares[index]])
    });
    let spin = "echo ready; while :; do :; done";
    let processes = groups.each_ref().map(|group| group.start(spin));
    let time = |name| number(&lab, name, "processor time, us") as f64;
    let before = names.map(time);
    // An emulated CPU stops from time to time, and the time is charged to the
    // process that was running on it. Over a longer time, this has little effect.
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        sleep(Duration::from_millis(1500));
        let after = names.map(time);
        let ratio = (after[1] - before[1]) / (after[0] - before[0]);
        if (3.2..5.0).contains(&ratio) {
            break;
        }
        assert!(Instant::now() < deadline, "1:{ratio}, not 1:4");
    }
    drop(processes);
}

#[test]
#[file_serial(machine)]
fn a_group_that_exceeds_its_cpu_quota_is_throttled() {
    let lab = Lab::new();
    let group = Group::new(
        &lab,
        "slow",
        &[value("cpu.cfs_quota_us=20000", "cpu.max=20000 100000")],
    );
    let process = group.start("echo ready; while :; do :; done");
    let deadline = Instant::now() + Duration::from_secs(20);
    while number(&lab, "slow", "periods throttled") < 3 {
        assert!(Instant::now() < deadline, "it is never throttled");
        sleep(Duration::from_millis(50));
    }
    drop(process);
}

#[test]
#[file_serial(machine)]
fn a_frozen_process_makes_no_progress_until_it_is_thawed() {
    let lab = Lab::new();
    let group = Group::new(&lab, "ice", &[]);
    let file = lab.dir().join("count");
    let script = format!(
        "echo ready; i=0; while :; do i=$((i+1)); echo $i > {}; done",
        file.display()
    );
    let process = group.start(&script);
    // A file that is being written may be empty.
    let count = || loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if !text.is_empty() {
            return text;
        }
        sleep(Duration::from_millis(1));
    };
    let makes_progress = || {
        let (before, deadline) = (count(), Instant::now() + Duration::from_secs(5));
        while Instant::now() < deadline {
            if count() != before {
                return true;
            }
            sleep(Duration::from_millis(5));
        }
        false
    };
    assert!(makes_progress());
    run(&lab, &["freeze", "ice"]).success();
    assert_eq!(number(&lab, "ice", "frozen"), 1);
    let content = || fs::read_to_string(&file).unwrap();
    let before = content();
    sleep(Duration::from_millis(200));
    assert_eq!(content(), before);
    run(&lab, &["thaw", "ice"]).success();
    assert_eq!(number(&lab, "ice", "frozen"), 0);
    assert!(makes_progress());
    drop(process);
}

#[test]
#[file_serial(machine)]
fn exec_in_a_frozen_group_prints_a_note_and_starts_when_the_group_is_thawed() {
    let lab = Lab::new();
    let _group = Group::new(&lab, "ice", &[]);
    run(&lab, &["freeze", "ice"]).success();
    let said = lab.dir().join("said");
    let mut exec = lab.command(&[], "ch02-cgroups");
    exec.args(["exec", "ice", "echo", "thawed"]);
    exec.stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
    let exec = exec.spawn().unwrap();
    let line = "group ice is frozen: the program starts when it is thawed\n";
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(&said).unwrap() != line && Instant::now() < deadline {
        sleep(Duration::from_millis(5));
    }
    // Thaw before any assertion can fail: in v1, a frozen process cannot be killed.
    run(&lab, &["thaw", "ice"]).success();
    let out = exec.wait_with_output().unwrap();
    assert_eq!(fs::read_to_string(&said).unwrap(), line);
    assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), &b"thawed\n"[..]));
}

#[test]
#[file_serial(machine)]
fn set_writes_the_values_of_the_group() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let group = Group::new(&lab, "box", &[]);
    let read = |name: &str| {
        let paths = group.paths.iter().map(|path| path.join(name));
        let mut texts = paths.filter_map(|path| fs::read_to_string(path).ok());
        texts.next().unwrap()
    };
    run(&lab, &["set", "box", "pids.max=7", "cpuset.cpus=1"]).success();
    assert_eq!(
        (read("pids.max"), read("cpuset.cpus")),
        ("7\n".into(), "1\n".into())
    );
}

#[test]
#[file_serial(machine)]
fn invalid_arguments_are_reported_and_leave_no_group() {
    let lab = Lab::new();
    let group = Group::new(&lab, "box", &[]);
    run(&lab, &["create", "box"])
        .code(125)
        .stderr(contains("the group already exists"));
    run(&lab, &["create", "none/inner"])
        .code(125)
        .stderr(contains("group none not found: create it first"));
    run(&lab, &["create", "../x"]).code(2).stderr(contains("invalid name"));
    for words in
        [&["stats", "none"][..], &["delete", "none"], &["exec", "none", "true"]]
    {
        run(&lab, words).code(125).stderr(contains("group none not found"));
    }
    run(&lab, &["show", "999999999"]).code(125).stderr(contains("no process"));
    run(&lab, &["move", "box", "999999999"]).code(125).stderr(contains("ESRCH"));
    run(&lab, &["move", "box", "0"]).code(125).stderr(contains("no process 0"));
    run(&lab, &["set", "box", "pids.max"]).code(125).stderr(contains("FILE=VALUE"));
    run(&lab, &["set", "box", "../x=1"]).code(125).stderr(contains("is a path"));
    run(&lab, &["set", "box", "=1"]).code(125).stderr(contains("FILE=VALUE"));
    // The empty text is also a value, which the kernel may refuse.
    run(&lab, &["set", "box", "pids.max="]).code(125).stderr(contains("EINVAL"));
    // In v1, this would move the process in only one of the hierarchies.
    for file in ["cgroup.procs=1", "tasks=1"] {
        run(&lab, &["set", "box", file])
            .code(125)
            .stderr(contains("use move, which writes to every hierarchy"));
    }
    // Process 2 (kthreadd) creates the kernel threads.
    run(&lab, &["move", "box", "2"])
        .code(125)
        .stderr(contains("kernel threads cannot leave"));
    run(&lab, &["set", "box", "pids.max=x"]).code(125).stderr(
        contains("pids.max: EINVAL").and(contains("does not accept this value")),
    );
    let (mine, others) = match is_v2() {
        true => ("use memory.max of cgroup v2", "memory.limit_in_bytes=1"),
        false => ("use cpu.shares of cgroup v1", "cpu.weight=1"),
    };
    run(&lab, &["set", "box", others]).code(125).stderr(contains(mine));
    run(&lab, &["set", "box", "gpu.max=1"])
        .code(125)
        .stderr(contains("whether the controller gpu exists"));
    run(&lab, &["exec", "box", "nowhere"]).code(127);
    drop(group);
}

#[test]
#[file_serial(machine)]
fn a_process_that_exceeds_the_memory_limit_of_an_outer_group_is_killed() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let outer = Group::new(
        &lab,
        "outer",
        &[value("memory.limit_in_bytes=20m", "memory.max=20m")],
    );
    if is_v2() && outer.paths[0].join("memory.swap.max").exists() {
        run(&lab, &["set", "outer", "memory.swap.max=0"]).success();
    }
    let inner = Group::new(&lab, "outer/inner", &[]);
    let mut exec = lab.command(&[], "ch02-cgroups");
    exec.args(["exec", "outer/inner", "tail", "/dev/zero"]);
    let status = exec.status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert_eq!(number(&lab, "outer/inner", "OOM kills"), 1);
    // Only the outer group has a limit.
    let most = number(&lab, "outer", "peak memory, bytes");
    assert!((10 << 20..=20 << 20).contains(&most), "{most}");
    drop(inner);
    drop(outer);
}

#[test]
#[file_serial(machine)]
fn run_reports_the_pids_limit_that_prevents_the_clone() {
    let lab = Lab::new();
    let uts = bin_dir().join("ch02-uts");
    let _group = Group::new(&lab, "tiny", &["pids.max=1"]);
    run(&lab, &["exec", "tiny", uts.to_str().unwrap(), "run", "true"])
        .code(125)
        .stderr(
            contains("clone3(2) CLONE_NEWUTS: EAGAIN").and(contains("pids.max")),
        );
}

#[test]
#[file_serial(machine)]
fn a_process_may_use_only_the_cpus_of_the_cpuset() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let command = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    for list in ["0", "1", "0-1"] {
        let _group = Group::new(&lab, "box", &[&format!("cpuset.cpus={list}")]);
        let words = [&["exec", "box"][..], &command].concat();
        let expected = format!("Cpus_allowed_list:\t{list}\n");
        run(&lab, &words).success().stdout(expected);
    }
}

/// The total number of directories of these groups in all hierarchies.
fn directories(names: &[&str]) -> usize {
    let roots = blackbox::cgroup_roots().into_iter();
    roots
        .flat_map(|root| names.iter().map(move |name| root.join(name)))
        .filter(|path| path.exists())
        .count()
}

#[test]
#[file_serial(machine)]
fn a_group_has_only_the_selected_controllers() {
    let lab = Lab::new();
    let group = Group::of(&lab, "few", &["--controllers", "cpu,pids"]);
    let has = |group: &Group, file: &str| {
        group.paths.iter().any(|path| path.join(file).exists())
    };
    let (cpu, memory) = (
        value("cpu.shares", "cpu.weight"),
        value("memory.limit_in_bytes", "memory.max"),
    );
    assert!(has(&group, "pids.max") && has(&group, cpu), "{:?}", group.paths);
    if is_v2() {
        assert_eq!(group.paths.len(), 1);
    } else {
        // The hierarchies of memory and freezer do not contain the group.
        assert_eq!(directories(&["mydocker-few"]), 2);
        assert!(!has(&group, memory) && !has(&group, "freezer.state"));
    }
    run(&lab, &["set", "few", "pids.max=5"]).success();
    run(&lab, &["exec", "few", "true"]).success();
    assert_eq!(number(&lab, "few", "processes"), 0);
    // An inner group has the requested controllers, or all controllers of this
    // group.
    let inner = Group::of(&lab, "few/inner", &["--controllers", "pids"]);
    assert!(has(&inner, "pids.max") && !has(&inner, cpu), "{:?}", inner.paths);
    drop(inner);
    let inner = Group::of(&lab, "few/inner", &[]);
    assert_eq!(inner.paths.len(), group.paths.len());
    assert!(has(&inner, "pids.max") && has(&inner, cpu), "{:?}", inner.paths);
    drop(inner);
    if is_v2() {
        // The root group may have memory enabled, because other groups needed it.
        let own = Group::of(&lab, "few/inner", &["--controllers", "freezer"]);
        run(&lab, &["freeze", "few/inner"]).success();
        run(&lab, &["thaw", "few/inner"]).success();
        drop(own);
    } else {
        let more =
            run(&lab, &["create", "few/more", "--controllers", "pids,freezer"]);
        more.code(125).stderr(contains("with the same controllers"));
        assert_eq!(directories(&["mydocker-few/more"]), 0);
    }
}

#[test]
#[file_serial(machine)]
fn an_unavailable_controller_is_named_and_no_group_is_left() {
    let lab = Lab::new();
    let create = |list: &str| run(&lab, &["create", "box", "--controllers", list]);
    create("gpu").code(125).stderr(
        contains("unknown controller \"gpu\": available controllers are ")
            .and(is_match(r"\bcpu, .*\bpids[,\n]").unwrap()),
    );
    create("cpu,gpu").code(125).stderr(contains("unknown controller \"gpu\""));
    let (current, other) = if is_v2() { ("io", "blkio") } else { ("blkio", "io") };
    create(other).code(125).stderr(contains(format!("use --controllers {current}")));
    create("").code(2).stderr(contains("empty name"));
    create("cpu,").code(2).stderr(contains("empty name"));
    create("cpu,cpu").code(2).stderr(contains("duplicate controller"));
    // A v1 hierarchy that is not mounted; v2 has no net_cls.
    let bin = blackbox::bin_dir().join("ch02-cgroups");
    let list = if is_v2() { "net_cls" } else { "pids" };
    let script = format!(
        "umount -l /sys/fs/cgroup/pids 2>/dev/null; \"$1\" create box --controllers {list}"
    );
    let mut command = lab.chapter("ch02-mount");
    command.args(["run", "sh", "-c", &script, "sh"]).arg(&bin);
    command.assert().code(125).stderr(
        contains(format!("the controller {list} is not mounted: available"))
            .and(contains(format!("mount -t cgroup -o {list} none"))),
    );
    assert_eq!(directories(&["mydocker-box"]), 0);
}

#[test]
#[file_serial(machine)]
fn a_hierarchy_is_mounted_with_selected_controllers() {
    let lab = Lab::new();
    // v2 does not have these controllers, so a v1 hierarchy can always have them. On
    // a machine with v1, this hierarchy already exists, and is mounted a second
    // time.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut lists = own.lines().filter_map(|line| line.split(':').nth(1));
    let own = lists.find(|list| list.split(',').any(|name| name == "net_cls"));
    let options = own.unwrap_or("net_cls,net_prio");
    let bin = blackbox::bin_dir().join("ch02-cgroups");
    let script = format!(
        "mkdir tree && mount -t cgroup -o {options} none tree && \
         \"$1\" list | grep -c tree; \
         \"$1\" create tagged --controllers net_cls && \
         \"$1\" set tagged net_cls.classid=0x100001 && \
         cat tree/mydocker-tagged/net_cls.classid; \
         \"$1\" exec tagged grep -c ':{options}:/mydocker-tagged$' \
         /proc/self/cgroup; \
         \"$1\" delete tagged; sleep 0.5; umount tree; rmdir tree"
    );
    let mut command = lab.chapter("ch02-setns");
    command.args(["run", "--mount", "sh", "-c", &script, "sh"]).arg(&bin);
    let assert = command.assert().success();
    let said = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], options.split(',').count().to_string(), "{said}");
    assert!(lines[1].ends_with("tree/mydocker-tagged"), "{said}");
    assert_eq!(lines[2..], ["1048577", "1"], "{said}");
}

#[test]
#[file_serial(machine)]
fn the_error_says_how_to_mount_a_hierarchy_if_there_is_none() {
    let lab = Lab::new();
    let bin = blackbox::bin_dir().join("ch02-cgroups");
    for words in ["list", "create box"] {
        let script = format!(
            "for m in $(grep -o '/sys/fs/cgroup/[^ ]*' /proc/mounts) /sys/fs/cgroup; do \
             umount -l $m; done; $1 {words}"
        );
        let mut command = lab.chapter("ch02-mount");
        command.args(["run", "sh", "-c", &script, "sh"]).arg(&bin);
        command.assert().code(125).stderr(contains("mount -t cgroup2"));
    }
}

#[test]
#[file_serial(machine)]
fn the_error_for_an_ordinary_user_says_that_the_group_must_be_delegated() {
    let lab = Lab::new();
    let mut command = lab.as_user("ch02-cgroups");
    let assert = command.args(["create", "box"]).assert().code(125);
    assert.stderr(contains("EACCES").and(contains("Delegate=yes")));
    let mut command = lab.as_user("ch02-cgroups");
    command.arg("list").assert().success().stdout(is_match("cpu .*yes").unwrap());
    if !is_v2() {
        // v1 cannot be delegated: the owner of the directory in one hierarchy cannot
        // create a group in the others.
        let group = Group::new(&lab, "given", &[]);
        chown(&group.paths[0], Some(blackbox::user().into()), None).unwrap();
        let mut command = lab.as_user("ch02-cgroups");
        command.args(["create", "given/more"]).assert().code(125);
    }
}
