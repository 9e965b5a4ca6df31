//! ch02-cgroups: groups by hand, and that each limit bites.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Lab, bin_dir, has_controller, lack_memory_or_cpuset, skip};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, chown};
use predicates::prelude::*;
use predicates::str::{contains, is_match};
use serial_test::file_serial;

/// Whether all controllers are in the one tree of v2.
pub(crate) fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// What a command of the chapter prints.
fn said(lab: &Lab, words: &[&str]) -> String {
    let assert = lab.chapter("ch02-cgroups").args(words).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn run(lab: &Lab, words: &[&str]) -> assert_cmd::assert::Assert {
    lab.chapter("ch02-cgroups").args(words).assert()
}

/// A number of `stats`.
fn number(lab: &Lab, group: &str, account: &str) -> u64 {
    let table = said(lab, &["stats", group]);
    let line = table.lines().find(|line| line.starts_with(account)).expect(account);
    line[account.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

/// A group that goes with the test.
struct Group<'a> {
    lab: &'a Lab,
    name: &'static str,
    /// Its directories.
    paths: Vec<PathBuf>,
}

impl<'a> Group<'a> {
    fn new(lab: &'a Lab, name: &'static str, limits: &[&str]) -> Group<'a> {
        let paths = said(lab, &[&["create", name], limits].concat());
        let paths = paths.lines().map(PathBuf::from).collect();
        Group { lab, name, paths }
    }

    /// A program in it, which has said `ready`.
    fn start(&self, script: &str) -> Inhabitant {
        let mut command = self.lab.command(&[], "ch02-cgroups");
        command.args(["exec", self.name, "sh", "-c", script]);
        Inhabitant::new(command)
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

struct Inhabitant(Child);

impl Inhabitant {
    fn new(mut command: Command) -> Inhabitant {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Inhabitant(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[file_serial(machine)]
fn the_list_tells_where_each_controller_is_by_what_is_mounted() {
    let lab = Lab::new();
    // Groups that were removed just now are counted until the kernel is done with
    // them: the list is compared with numbers that were the same before and after.
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
fn a_new_hierarchy_has_every_process_in_its_top_group_and_none_in_a_new_one() {
    let lab = Lab::new();
    // A hierarchy goes with its mount, unless a group in it is still being removed.
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
fn a_process_can_be_shown_moved_and_told_by_its_group() {
    let lab = Lab::new();
    let group = Group::new(&lab, "box", &[]);
    assert!(group.members().iter().all(String::is_empty), "a new group is empty");
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo ready; wait"]);
    let outsider = Inhabitant::new(command);
    run(&lab, &["move", "box", &outsider.pid()]).success();
    for members in group.members() {
        // What was born before the move stays where it is.
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
fn what_is_wrong_is_named_and_nothing_is_left() {
    let lab = Lab::new();
    let group = Group::new(&lab, "box", &[]);
    run(&lab, &["create", "box"])
        .code(125)
        .stderr(contains("there is such a group"));
    run(&lab, &["create", "none/inner"])
        .code(125)
        .stderr(contains("group above it"));
    run(&lab, &["create", "../x"]).code(2).stderr(contains("is not a name"));
    for words in
        [&["stats", "none"][..], &["delete", "none"], &["exec", "none", "true"]]
    {
        run(&lab, words).code(125).stderr(contains("there is no group none"));
    }
    run(&lab, &["show", "999999999"]).code(125).stderr(contains("no process"));
    run(&lab, &["move", "box", "999999999"]).code(125).stderr(contains("ESRCH"));
    run(&lab, &["move", "box", "0"]).code(125).stderr(contains("no process 0"));
    run(&lab, &["set", "box", "pids.max"]).code(125).stderr(contains("FILE=VALUE"));
    run(&lab, &["set", "box", "../x=1"]).code(125).stderr(contains("is a path"));
    run(&lab, &["set", "box", "=1"]).code(125).stderr(contains("FILE=VALUE"));
    // Nothing, written, is a value too, which the kernel may refuse.
    run(&lab, &["set", "box", "pids.max="]).code(125).stderr(contains("EINVAL"));
    // In v1 that would be one hierarchy of many.
    for file in ["cgroup.procs=1", "tasks=1"] {
        run(&lab, &["set", "box", file])
            .code(125)
            .stderr(contains("move does that, in every hierarchy"));
    }
    // Process 2 makes the kernel's threads.
    run(&lab, &["move", "box", "2"]).code(125).stderr(contains("kernel's own"));
    run(&lab, &["set", "box", "pids.max=x"]).code(125).stderr(
        contains("pids.max: EINVAL").and(contains("doesn't take this value")),
    );
    let (mine, others) = match is_v2() {
        true => ("v2 has memory.max", "memory.limit_in_bytes=1"),
        false => ("v1 has cpu.shares", "cpu.weight=1"),
    };
    run(&lab, &["set", "box", others]).code(125).stderr(contains(mine));
    run(&lab, &["set", "box", "gpu.max=1"])
        .code(125)
        .stderr(contains("whether there is a controller gpu"));
    run(&lab, &["exec", "box", "nowhere"]).code(127);
    for (words, reason) in [
        (
            ["-cpuset", "7000"],
            if has_controller("cpuset") {
                "there is no processor 7000 here"
            } else {
                "-cpuset takes the controller cpuset"
            },
        ),
        (["-pids", "99999999999"], "pids.max: EINVAL"),
        (["--io", "/dev/null:rbps=1m"], "is no block device"),
        (["--io", "/dev/none:rbps=1m"], "ENOENT"),
    ] {
        run(&lab, &[&["run"], &words[..], &["true"]].concat())
            .code(125)
            .stderr(contains(reason));
        run(&lab, &[&["create", "more"], &words[..]].concat())
            .code(125)
            .stderr(contains(reason));
    }
    for words in [
        ["-m", "emroy"],
        ["-m", "0"],
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
    drop(group);
}

#[test]
#[file_serial(machine)]
fn an_inner_group_of_v2_holds_no_processes() {
    let lab = Lab::new();
    let outer = Group::new(&lab, "outer", &[]);
    let inner = Group::new(&lab, "outer/inner", &[]);
    run(&lab, &["delete", "outer"]).code(125).stderr(contains("groups inside"));
    let exec = run(&lab, &["exec", "outer", "true"]);
    // A hybrid machine's group may lie in v2 too.
    let in_v2 = outer.paths.iter().any(|path| path.join("cgroup.kill").exists());
    if in_v2 {
        exec.code(125).stderr(contains("EBUSY").and(contains("holds no processes")));
    } else {
        exec.success();
    }
    drop(inner);
    // A group with processes hands nothing down.
    let lonely = Group::new(&lab, "lonely", &[]);
    let inhabitant = lonely.start("echo ready; exec sleep 1000");
    let create = run(&lab, &["create", "lonely/inner"]);
    if in_v2 {
        create.code(125).stderr(contains("has processes of its own"));
    } else {
        create.success();
        run(&lab, &["delete", "lonely/inner"]).success();
    }
    drop(inhabitant);
    drop(lonely);
    drop(outer);
}

#[test]
#[file_serial(machine)]
fn below_a_group_with_processes_it_is_told_why_nobody_gets_in() {
    let lab = Lab::new();
    if !is_v2() {
        // v1 lets processes be anywhere.
        let outer = Group::new(&lab, "outer", &[]);
        let inhabitant = outer.start("echo ready; exec sleep 1000");
        let inner = Group::new(&lab, "outer/inner", &[]);
        run(&lab, &["exec", "outer/inner", "true"]).success();
        drop((inhabitant, inner));
        return;
    }
    // As in a container whose own group is the top that it sees.
    let bin = blackbox::bin_dir();
    for (chapter, call) in
        [("ch02-cgroups", "write(2)"), ("ch03-limits", "clone3(2)")]
    {
        let outer = Group::new(&lab, "outer", &[]);
        let script = "mount -t cgroup2 none /mnt; umount -l /sys/fs/cgroup; \
                      MYDOCKER_ROOT=\"$2\" \"$1\" run -pids 9 true";
        let mut command = lab.chapter("ch02-cgroups");
        command.args(["exec", "outer"]).arg(bin.join("ch02-setns"));
        command.args(["run", "--cgroup", "--mount", "sh", "-c", script, "sh"]);
        // `exec` cleans the environment.
        command.arg(bin.join(chapter)).arg(lab.state());
        let said = contains(call).and(contains("EOPNOTSUPP"));
        let assert = command.assert().code(125);
        assert.stderr(said.and(contains("has processes of its own")));
        drop(outer);
    }
}

#[test]
#[file_serial(machine)]
fn who_takes_more_memory_than_the_group_may_is_killed_also_in_a_nested_group() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    run(&lab, &["run", "-m", "20m", "tail", "/dev/zero"]).code(137);
    run(&lab, &["run", "-m", "20m", "true"]).success();
    let outer = Group::new(&lab, "outer", &["-m", "20m"]);
    // No swap beside it: v2 counts that apart, v1 both together.
    let (file, expected) = match is_v2() {
        true => ("memory.swap.max", "0\n"),
        false => ("memory.memsw.limit_in_bytes", "20971520\n"),
    };
    let swap = outer.paths.iter().map(|path| path.join(file));
    let swap: Vec<_> = swap.filter(|path| path.exists()).collect();
    for file in &swap {
        assert_eq!(fs::read_to_string(file).unwrap(), expected);
    }
    // v1 leaves the file out without swapaccount=1, v2 only where there is no swap.
    let may_lack = !is_v2() || !Path::new("/proc/swaps").exists();
    assert!(swap.len() == 1 || may_lack, "{swap:?}");
    let inner = Group::new(&lab, "outer/inner", &[]);
    let mut exec = lab.command(&[], "ch02-cgroups");
    exec.args(["exec", "outer/inner", "tail", "/dev/zero"]);
    let status = exec.status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert_eq!(number(&lab, "outer/inner", "killed for memory"), 1);
    // The limit is the outer one's, and the inner one has none.
    let most = number(&lab, "outer", "most memory, bytes");
    assert!((10 << 20..=20 << 20).contains(&most), "{most}");
    drop(inner);
    drop(outer);
}

#[test]
#[file_serial(machine)]
fn a_fork_bomb_is_held() {
    let lab = Lab::new();
    let group = Group::new(&lab, "bomb", &["-pids", "20"]);
    // The shell itself forks but once: one whose fork is refused ends.
    let bomb = "b() { b & b & sleep 1; }; b 2>/dev/null & echo ready; \
                wait; exec sleep 1000";
    let inhabitant = group.start(bomb);
    let deadline = Instant::now() + Duration::from_secs(10);
    while number(&lab, "bomb", "forks refused") == 0 {
        assert!(Instant::now() < deadline, "no fork was refused");
        assert!(number(&lab, "bomb", "processes") <= 20);
    }
    // Frozen, none can have children while they are being killed.
    run(&lab, &["freeze", "bomb"]).success();
    for pid in group.members()[0].lines() {
        let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
    }
    run(&lab, &["thaw", "bomb"]).success();
    drop(inhabitant);
    // Whose parent is gone is this process's child, and counts until it is reaped.
    let deadline = Instant::now() + Duration::from_secs(10);
    while number(&lab, "bomb", "processes") > 0 {
        assert!(Instant::now() < deadline, "killed ones stay");
        while waitpid(None, Some(WaitPidFlag::WNOHANG))
            .is_ok_and(|s| s.pid().is_some())
        {}
        sleep(Duration::from_millis(20));
    }
}

#[test]
#[file_serial(machine)]
fn a_container_that_its_group_has_no_room_for_is_told_why() {
    let lab = Lab::new();
    let uts = bin_dir().join("ch02-uts");
    run(&lab, &["run", "-pids", "1", uts.to_str().unwrap(), "run", "true"])
        .code(125)
        .stderr(
            contains("clone3(2) CLONE_NEWUTS: EAGAIN").and(contains("pids.max")),
        );
}

#[test]
#[file_serial(machine)]
fn the_processors_are_those_of_the_list() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let look = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    for list in ["0", "1", "0-1"] {
        let words = [&["run", "-cpuset", list][..], &look].concat();
        let expected = format!("Cpus_allowed_list:\t{list}\n");
        run(&lab, &words).success().stdout(expected);
    }
}

#[test]
#[file_serial(machine)]
fn two_that_want_one_processor_get_it_by_their_shares() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let names = ["small", "large"];
    let shares = ["256", "1024"];
    let groups = [0, 1].map(|index| {
        let limits = ["-cpuset", "0", "-cpushare", shares[index]];
        Group::new(&lab, names[index], &limits)
    });
    let spin = "echo ready; while :; do :; done";
    let inhabitants = groups.each_ref().map(|group| group.start(spin));
    let time = |name| number(&lab, name, "processor time, us") as f64;
    let before = names.map(time);
    // Emulated, a processor stands still now and then, and whoever had it is charged:
    // over a longer time that evens out.
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        sleep(Duration::from_secs(3));
        let after = names.map(time);
        let ratio = (after[1] - before[1]) / (after[0] - before[0]);
        if (3.2..5.0).contains(&ratio) {
            break;
        }
        assert!(Instant::now() < deadline, "1:{ratio}, not 1:4");
    }
    drop(inhabitants);
}

#[test]
#[file_serial(machine)]
fn more_than_its_quota_of_time_is_withheld() {
    let lab = Lab::new();
    let group = Group::new(&lab, "slow", &["-cpus", "0.2"]);
    let inhabitant = group.start("echo ready; while :; do :; done");
    let deadline = Instant::now() + Duration::from_secs(20);
    while number(&lab, "slow", "periods throttled") < 3 {
        assert!(Instant::now() < deadline, "it is never throttled");
        sleep(Duration::from_millis(50));
    }
    drop(inhabitant);
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
    let inhabitant = group.start(&script);
    // A file that is just being written is empty, and says nothing.
    let count = || loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if !text.is_empty() {
            return text;
        }
        sleep(Duration::from_millis(1));
    };
    let moves = || {
        let (before, deadline) = (count(), Instant::now() + Duration::from_secs(5));
        while Instant::now() < deadline {
            if count() != before {
                return true;
            }
            sleep(Duration::from_millis(5));
        }
        false
    };
    assert!(moves());
    run(&lab, &["freeze", "ice"]).success();
    assert_eq!(number(&lab, "ice", "frozen"), 1);
    let still = || fs::read_to_string(&file).unwrap();
    let before = still();
    sleep(Duration::from_millis(500));
    assert_eq!(still(), before);
    run(&lab, &["thaw", "ice"]).success();
    assert_eq!(number(&lab, "ice", "frozen"), 0);
    assert!(moves());
    drop(inhabitant);
}

#[test]
#[file_serial(machine)]
fn who_is_put_into_a_frozen_group_is_told_so_and_starts_when_it_is_thawed() {
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
    // Before anything may fail: who is frozen in v1 can't be killed either.
    run(&lab, &["thaw", "ice"]).success();
    let out = exec.wait_with_output().unwrap();
    assert_eq!(fs::read_to_string(&said).unwrap(), line);
    assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), &b"thawed\n"[..]));
}

#[test]
#[file_serial(machine)]
fn a_value_that_is_set_is_the_groups() {
    if lack_memory_or_cpuset() {
        return;
    }
    let lab = Lab::new();
    let group = Group::new(&lab, "box", &["-cpushare", "512"]);
    let (file, expected) =
        if is_v2() { ("cpu.weight", "20\n") } else { ("cpu.shares", "512\n") };
    let read = |name: &str| {
        let paths = group.paths.iter().map(|path| path.join(name));
        let mut texts = paths.filter_map(|path| fs::read_to_string(path).ok());
        texts.next().unwrap()
    };
    assert_eq!(read(file), expected);
    run(&lab, &["set", "box", "pids.max=7", "cpuset.cpus=1"]).success();
    assert_eq!(
        (read("pids.max"), read("cpuset.cpus")),
        ("7\n".into(), "1\n".into())
    );
}

#[test]
#[file_serial(machine)]
fn a_disk_is_read_no_faster_than_it_may_be() {
    let lab = Lab::new();
    let mut disks = ["/dev/vda", "/dev/sda"].into_iter();
    let Some(disk) = disks.find(|disk| fs::File::open(disk).is_ok()) else {
        return skip("there is no disk that may be read");
    };
    let limit = format!("{disk}:rbps=1m");
    let begun = Instant::now();
    // Straight from the disk, past what is in memory.
    let probe = blackbox::probe();
    run(&lab, &["run", "--io", &limit, probe.to_str().unwrap(), "direct", disk])
        .success()
        .stdout("3145728\n");
    let taken = begun.elapsed();
    assert!(taken > Duration::from_millis(1900), "3 MiB in {taken:?}");
}

#[test]
#[file_serial(machine)]
fn without_the_controller_or_any_hierarchy_a_limit_is_an_error() {
    let lab = Lab::new();
    let bin = blackbox::bin_dir().join("ch02-cgroups");
    let run = |script: &str| {
        let mut command = lab.chapter("ch02-mount");
        command.args(["run", "sh", "-c", script, "sh"]).arg(&bin);
        command.assert()
    };
    let none = "for m in $(grep -o '/sys/fs/cgroup/[^ ]*' /proc/mounts) \
                /sys/fs/cgroup; do umount -l $m; done; MYDOCKER_ROOT=/tmp/none";
    run(&format!("{none} $1 run -m 20m true"))
        .code(125)
        .stderr(contains("no cgroup file system is mounted here"));
    run(&format!("{none} $1 list")).code(125).stderr(contains("mount -t cgroup2"));
    // Without a limit nobody asks.
    run(&format!("{none} $1 run true; r=$?; rm -r /tmp/none; exit $r")).success();
    if !is_v2() {
        run("umount -l /sys/fs/cgroup/pids; MYDOCKER_ROOT=/tmp/none $1 run -pids 9 true")
            .code(125)
            .stderr(contains("-pids takes the controller pids"));
        let _ = fs::remove_dir_all("/tmp/none");
    }
}

#[test]
#[file_serial(machine)]
fn what_the_program_left_running_goes_with_the_group() {
    let lab = Lab::new();
    let script = "sleep 1000 & (setsid sleep 1000 &) ; exit 7";
    run(&lab, &["run", "-pids", "50", "sh", "-c", script]).code(7);
}

#[test]
#[file_serial(machine)]
fn the_group_of_a_killed_host_side_is_swept_by_the_next_run() {
    let lab = Lab::new();
    let mut command = lab.command(&[], "ch02-cgroups");
    command.args(["run", "-pids", "50", "sh", "-c"]);
    command
        .arg("grep -o 'mydocker-.*' /proc/self/cgroup > name; echo ready; sleep 99");
    let inhabitant = Inhabitant::new(command);
    let name = fs::read_to_string(lab.dir().join("name")).unwrap();
    let name = name.lines().next().unwrap().to_owned();
    drop(inhabitant);
    let left = || {
        let roots = blackbox::cgroup_roots().into_iter();
        roots.map(|root| root.join(&name)).filter(|group| group.exists()).count()
    };
    assert!(left() > 0, "{name} is what this is about");
    run(&lab, &["run", "true"]).success();
    assert_eq!(left(), 0);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_is_told_what_it_takes() {
    let lab = Lab::new();
    for words in [&["create", "box"][..], &["run", "-pids", "9", "true"]] {
        let mut command = lab.as_user("ch02-cgroups");
        let assert = command.args(words).assert().code(125);
        assert.stderr(contains("EACCES").and(contains("Delegate=yes")));
    }
    let mut command = lab.as_user("ch02-cgroups");
    command.args(["run", "true"]).assert().success();
    let mut command = lab.as_user("ch02-cgroups");
    command.arg("list").assert().success().stdout(is_match("cpu .*yes").unwrap());
}

/// A group below which somebody else may make more, made by hand.
pub(crate) fn delegated(owner: u32) -> PathBuf {
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
fn in_a_group_that_was_handed_over_groups_are_made_there() {
    let lab = Lab::new();
    if !is_v2() {
        // v1 has no such thing: what the ordinary user is told has its own test.
        let group = Group::new(&lab, "given", &[]);
        chown(&group.paths[0], Some(blackbox::user().into()), None).unwrap();
        let mut command = lab.as_user("ch02-cgroups");
        command.args(["create", "given/more"]).assert().code(125);
        return;
    }
    let look = ["run", "-pids", "9", "cat", "/proc/self/cgroup"];
    for chapter in ["ch02-cgroups", "ch03-limits"] {
        for owner in [blackbox::user(), 0] {
            let group = delegated(owner);
            let mut own = match owner {
                0 => lab.command(&[], chapter),
                _ => lab.user_command(chapter),
            };
            own.args(look);
            if owner == 0 {
                // systemd's mark: whose the files are says nothing of root.
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(&group, "trusted.delegate", b"1", flags)
                    .unwrap();
            }
            let enter =
                format!("echo 0 > {}/cgroup.procs; exec \"$@\"", group.display());
            let mut command = assert_cmd::Command::new("sh");
            command.args(["-c", &enter, "sh"]).arg(own.get_program());
            command.args(own.get_args()).env_clear();
            let set = own.get_envs().filter_map(|(key, value)| Some((key, value?)));
            command.envs(set).current_dir(own.get_current_dir().unwrap());
            let expected =
                is_match(r"^0::/delegated/mydocker-[0-9a-f]{12}\n$").unwrap();
            command.assert().success().stdout(expected);
            // The host side's own group stays: it is in the hands of who made the
            // outer one.
            fs::remove_dir(group.join("mydocker-host")).unwrap();
            fs::remove_dir(group).unwrap();
        }
    }
}
