//! ch02-net: a namespace with only lo, which is down; devices; two connected namespaces.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Lab, bin_dir, one_output};
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

/// The time that the kernel may need to remove a namespace.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A process in its own network namespace. It is killed when this value is dropped. Its
/// PID is that of the host, because there is no PID namespace.
pub(crate) struct Inhabitant {
    supervisor: Child,
    pub(crate) pid: String,
}

impl Inhabitant {
    pub(crate) fn new(lab: &Lab) -> Inhabitant {
        let mut command = lab.command(&[], "ch02-setns");
        let script = "echo $$; exec sleep 1000";
        command.args(["run", "--net", "sh", "-c", script]);
        let mut supervisor = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut pid = String::new();
        let mut out = BufReader::new(supervisor.stdout.take().unwrap());
        out.read_line(&mut pid).unwrap();
        Inhabitant { supervisor, pid: pid.trim().to_owned() }
    }

    /// The standard output of a command of the chapter in this namespace.
    pub(crate) fn call(&self, lab: &Lab, words: &[&str]) -> String {
        let assert = self.enter(lab, &chapter()).args(words).assert();
        text(&assert.success().get_output().stdout)
    }

    /// A command that runs a program in this namespace.
    pub(crate) fn enter(&self, lab: &Lab, program: &Path) -> assert_cmd::Command {
        let mut enter = lab.chapter("ch02-setns");
        enter.args(["enter", &self.pid, "--net"]).arg(program);
        enter
    }

    fn end(&mut self) {
        let _ = self.supervisor.kill();
        self.supervisor.wait().unwrap();
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.end();
    }
}

/// A device of the host, removed at the end if it is still there.
struct Device<'a>(&'a Lab, &'static str);

impl<'a> Device<'a> {
    fn new(lab: &'a Lab, words: &[&'static str]) -> Device<'a> {
        lab.chapter("ch02-net").arg("make").args(words).assert().success();
        Device(lab, words[1])
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        if there(self.1) {
            let removed = self.0.chapter("ch02-net").args(["remove", self.1]).ok();
            assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
        }
    }
}

/// Whether the host has a device, according to sysfs.
fn there(name: &str) -> bool {
    fs::exists(format!("/sys/class/net/{name}")).unwrap()
}

pub(crate) fn chapter() -> PathBuf {
    bin_dir().join("ch02-net")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The row of a device in the output of `list`, one word for each column.
pub(crate) fn row<'a>(list: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut rows = list.lines().map(|line| line.split_whitespace().collect());
    rows.find(|row: &Vec<&str>| row[1] == name)
}

#[test]
#[file_serial(machine)]
fn list_omits_a_device_that_another_process_removes() {
    let lab = Lab::new();
    let inhabitant = Inhabitant::new(&lab);
    // Before Linux 6.15, `list` sends a request for each device that it has read.
    let script = "for k in 1 2; do
                      while :; do \"$0\" make bridge b$k; \"$0\" remove b$k; done &
                      loops=\"$loops $!\"
                  done
                  for n in $(seq 100); do \"$0\" list > /dev/null || break; done
                  kill $loops; [ $n = 100 ]";
    let mut command = inhabitant.enter(&lab, Path::new("sh"));
    command.args(["-c", script]).arg(chapter()).assert().success().stderr("");
}

#[test]
#[file_serial(machine)]
fn a_new_namespace_has_only_lo_and_lo_is_down() {
    let lab = Lab::new();
    // The flags of an interface that is up have bit 0 set; ip(8) prints the same.
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; \
                  mount -t sysfs sysfs /sys && cat /sys/class/net/lo/flags";
    for mut run in [lab.chapter("ch02-net"), lab.as_user("ch02-net")] {
        run.args(["run", "sh", "-c", script]).assert().success().stdout("lo\n0x8\n");
    }
}

#[test]
#[file_serial(machine)]
fn lo_answers_pings_only_while_it_is_up() {
    let lab = Lab::new();
    // The state according to sysfs, beside that of the list.
    let script = "mount -t sysfs sysfs /sys; ping=\"$1 ping\"
                  look() { $0 list | tail -n +2; cat /sys/class/net/lo/flags; }
                  try() { $ping -c 1 $* 127.0.0.1 >/dev/null 2>&1; echo ping $?; }
                  look; try; $0 up lo; look; try; $0 down lo; look; try -W 1";
    for (mut run, binary) in [
        (lab.chapter("ch02-net"), chapter()),
        // The lab puts programs here that an ordinary user can execute.
        (lab.as_user("ch02-net"), lab.dir().join("ch02-net")),
    ] {
        // The machine may have no ping of its own.
        let busybox = lab.image().join("bin/busybox");
        let run = run.args(["run", "sh", "-c", script]).arg(binary).arg(busybox);
        let run = run.assert();
        let out = text(&run.success().get_output().stdout);
        let words: Vec<_> = out.split_whitespace().collect();
        // Where the kernel has IPv6, it gives lo that address too.
        let words: Vec<_> = words.into_iter().filter(|w| *w != "::1/128").collect();
        // From the index to the state, and the addresses.
        let lo = |state| format!("1 lo {state} 65536 00:00:00:00:00:00");
        let (down, up) = (lo("down"), lo("up"));
        let expected = format!(
            "{down} L - - yes 0x8 ping 1 \
             {up} LRU - - yes 127.0.0.1/8 0x9 ping 0 \
             {down} L - - yes 127.0.0.1/8 0x8 ping 1"
        );
        assert_eq!(words, expected.split_whitespace().collect::<Vec<_>>());
    }
}

#[test]
#[file_serial(machine)]
fn a_device_is_in_one_namespace_and_is_removed_with_it() {
    let lab = Lab::new();
    let here = || {
        let mut list = lab.chapter("ch02-net");
        text(&list.arg("list").assert().success().get_output().stdout)
    };
    let mut inhabitant = Inhabitant::new(&lab);
    let _pair = Device::new(&lab, &["veth", "blackbox0", "blackbox1"]);
    assert!(there("blackbox1"));
    assert!(row(&here(), "blackbox1").is_some(), "{}", here());
    let to_inhabitant = || {
        let mut moved = lab.chapter("ch02-net");
        moved.args(["move", "blackbox1", &inhabitant.pid]).assert().success();
    };
    to_inhabitant();
    assert!(!there("blackbox1"));
    assert!(row(&here(), "blackbox1").is_none(), "{}", here());
    let inside = inhabitant.call(&lab, &["list"]);
    assert!(row(&inside, "blackbox1").is_some(), "{inside}");
    // The other end is still on the host.
    assert!(row(&inside, "blackbox0").is_none(), "{inside}");
    assert!(row(&here(), "blackbox0").is_some(), "{}", here());

    let own = std::process::id().to_string();
    inhabitant.call(&lab, &["move", "blackbox1", &own]);
    assert!(there("blackbox1"));
    let inside = inhabitant.call(&lab, &["list"]);
    assert!(row(&inside, "blackbox1").is_none(), "{inside}");

    to_inhabitant();
    inhabitant.end();
    // The kernel removes one end with the namespace, and then the other end.
    let deadline = Instant::now() + TIMEOUT;
    while there("blackbox0") {
        assert!(Instant::now() < deadline, "{}", here());
        sleep(Duration::from_millis(20));
    }
    assert!(!there("blackbox1"));
}

#[test]
#[file_serial(machine)]
fn lo_and_bridges_cannot_be_moved() {
    let lab = Lab::new();
    let inhabitant = Inhabitant::new(&lab);
    let _bridge = Device::new(&lab, &["bridge", "blackbox0"]);
    for name in ["lo", "blackbox0"] {
        let mut moved = lab.chapter("ch02-net");
        let assert = moved.args(["move", name, &inhabitant.pid]).assert().code(125);
        let place = format!("the namespace of process {}", inhabitant.pid);
        let call = format!("RTM_NEWLINK {name} to {place}: EINVAL");
        let hint = format!("{name} must stay in its namespace");
        assert.stderr(contains(call).and(contains(hint)));
        assert!(there(name));
    }
}

#[test]
#[file_serial(machine)]
fn pair_pings_in_both_directions() {
    let lab = Lab::new();
    for mut pair in [lab.chapter("ch02-net"), lab.as_user("ch02-net")] {
        let assert = pair.arg("pair").assert().success();
        let [out, said] = [&assert.get_output().stdout, &assert.get_output().stderr]
            .map(|bytes| text(bytes));
        // The ping of right is part of what the program says; left's is its command.
        assert!(said.contains("bytes from 172.18.0.11"), "{said}");
        assert!(out.contains("bytes from 172.18.0.12"), "{out}");
    }
}

#[test]
#[file_serial(machine)]
fn pair_prints_in_the_order_of_the_events_also_with_a_trace() {
    let lab = Lab::new();
    for words in [&["pair"][..], &["pair", "--trace"]] {
        let mut pair = lab.wrapped(&one_output(), "ch02-net");
        let assert = pair.args(words).assert().success();
        let said = text(&assert.get_output().stdout);
        let mut order = vec![
            "veth1 moved to right",
            "right pings left",
            "bytes from 172.18.0.11",
            "left pings right",
            "bytes from 172.18.0.12",
        ];
        if words.len() > 1 {
            order.insert(1, "RTM_NEWADDR 172.18.0.11/24 to veth0");
            order.insert(5, "setns(2) left");
            order.insert(6, "child  exec ");
        }
        let places: Vec<_> = order.iter().map(|line| said.find(line)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "{order:?}: {said}");
        let counts = order.iter().map(|line| said.matches(line).count());
        assert!(counts.eq(order.iter().map(|_| 1)), "{said}");
    }
}

#[test]
#[file_serial(machine)]
fn pair_uses_the_ping_of_busybox_if_path_has_none() {
    let lab = Lab::new();
    // An overlay covers each directory with a ping, so that ping can be removed there.
    let script = "mount -t tmpfs none /mnt; IFS=:
                  for dir in $2; do
                      [ -f $dir/ping ] || continue
                      new=$(mktemp -d /mnt/XXXXXX); mkdir $new/up $new/work
                      layers=lowerdir=$dir,upperdir=$new/up,workdir=$new/work
                      mount -t overlay none -o $layers $dir && rm $dir/ping \
                          || exit 9
                  done
                  MYDOCKER_ROOT=$1 $0 pair --trace";
    let mut run = lab.chapter("ch02-mount");
    run.args(["run", "sh", "-c", script]).args([chapter(), lab.state()]);
    let assert = run.arg(common::PATH).assert().success();
    let execute = format!("execve(2) {}/bin/busybox", lab.image().display());
    let assert = assert.stderr(contains(execute));
    assert.stdout(contains("bytes from 172.18.0.12"));
}

#[test]
#[file_serial(machine)]
fn pair_runs_its_program_in_left_and_process_2_in_right() {
    let lab = Lab::new();
    let enter = bin_dir().join("ch02-setns");
    let script = "$0 list; $1 enter 2 --net $0 list; exit 7";
    let mut pair = lab.chapter("ch02-net");
    pair.args(["pair", "sh", "-c", script]).args([chapter(), enter]);
    let assert = pair.assert().code(7);
    let out = text(&assert.get_output().stdout);
    let (left, right) = out.split_at(out.rfind("INDEX").unwrap());
    for (list, own, other, address) in [
        (left, "veth0", "veth1", "172.18.0.11/24"),
        (right, "veth1", "veth0", "172.18.0.12/24"),
    ] {
        let own = row(list, own).unwrap_or_else(|| panic!("{list}"));
        assert_eq!((own[2], own[9]), ("up", address));
        assert!(row(list, other).is_none(), "{list}");
        assert_eq!(row(list, "lo").unwrap()[2], "up");
        // The list has no device of the host.
        assert_eq!(list.lines().count(), 3, "{list}");
    }
}

#[test]
#[file_serial(machine)]
fn pair_leaves_nothing_if_its_supervisor_is_killed() {
    let lab = Lab::new();
    let started = |mut command: Command| {
        command.args(["pair", "sh", "-c", "echo ready; sleep 1000 & wait"]);
        let mut supervisor = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = supervisor.stdout.take().unwrap();
        let mut line = [0; 6];
        out.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"ready\n");
        (supervisor, out)
    };
    for command in [lab.command(&[], "ch02-net"), lab.user_command("ch02-net")] {
        let (mut supervisor, mut out) = started(command);
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        // The pipe ends when no process has it open any more.
        out.read_to_end(&mut Vec::new()).unwrap();
    }
    // The lab looks for devices and for processes, also for the process in `right`.
}

#[test]
#[file_serial(machine)]
fn pair_works_although_the_host_has_devices_of_the_same_names() {
    let lab = Lab::new();
    let _pair = Device::new(&lab, &["veth", "veth0", "veth1"]);
    lab.chapter("ch02-net").arg("pair").assert().success();
    assert!(there("veth0") && there("veth1"));
}

#[test]
#[file_serial(machine)]
fn device_errors_name_the_operation_and_the_remedy() {
    let lab = Lab::new();
    let _pair = Device::new(&lab, &["veth", "blackbox0", "blackbox1"]);
    let long = "a234567890123456";
    for (words, code, call, hint) in [
        (&["up", "none"][..], 125, "RTM_NEWLINK none up: ENODEV", "no device none"),
        (&["down", "none"], 125, "RTM_NEWLINK none down: ENODEV", "list shows"),
        (&["remove", "none"], 125, "RTM_DELLINK none: ENODEV", "list shows"),
        (&["remove", "lo"], 125, "RTM_DELLINK lo: EOPNOTSUPP", "keeps its lo"),
        (&["up", long], 125, long, "expected 1 to 15 bytes"),
        (&["up", "a/b"], 125, "invalid device name \"a/b\"", "without spaces, '/'"),
        (&["move", "blackbox0", "0"], 125, "process 0: ESRCH", "no process 0"),
        (&["move", "none", "1"], 125, "none to the namespace", "list shows"),
        (&["move", "lo", "x"], 2, "invalid value 'x'", "PID"),
        (
            &["make", "bridge", "blackbox0"],
            125,
            "EEXIST",
            "blackbox0 already exists",
        ),
        (&["make", "veth", "a"], 125, "two ends", "make veth a"),
        (&["make", "veth", "a", "b:c"], 125, "invalid device name \"b:c\"", "bytes"),
        (&["make", "veth", "a", "blackbox0"], 125, "EEXIST", "a or blackbox0"),
        (&["make", "bridge", "a", "b"], 125, "second end", "remove b"),
        (&["make", "switch", "a"], 2, "possible values", "bridge"),
    ] {
        let assert = lab.chapter("ch02-net").args(words).assert().code(code);
        assert.stderr(contains(call).and(contains(hint)));
    }
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_list_devices_but_not_change_them() {
    let lab = Lab::new();
    let _pair = Device::new(&lab, &["veth", "blackbox0", "blackbox1"]);
    let assert = lab.as_user("ch02-net").arg("list").assert().success();
    let out = text(&assert.get_output().stdout);
    assert_eq!(row(&out, "blackbox0").unwrap()[2], "down", "{out}");
    let own = std::process::id().to_string();
    for words in [
        &["up", "blackbox0"][..],
        &["remove", "blackbox0"],
        &["move", "blackbox0", &own],
        &["make", "bridge", "blackbox2"],
        &["master", "blackbox0", "blackbox1"],
        &["address", "add", "192.0.2.1/24", "dev", "blackbox0"],
        &["address", "remove", "192.0.2.1/24", "dev", "blackbox0"],
        &["route", "add", "192.0.2.0/24", "dev", "blackbox0"],
        &["route", "remove", "192.0.2.0/24", "dev", "blackbox0"],
    ] {
        let assert = lab.as_user("ch02-net").args(words).assert().code(125);
        assert.stderr(contains("EPERM").and(contains("CAP_NET_ADMIN")));
    }
    assert!(there("blackbox0") && !there("blackbox2"));
}

#[test]
#[file_serial(machine)]
fn move_refuses_a_device_name_in_use_in_the_target_namespace() {
    let lab = Lab::new();
    let inhabitant = Inhabitant::new(&lab);
    let _pair = Device::new(&lab, &["veth", "blackbox0", "blackbox1"]);
    inhabitant.call(&lab, &["make", "bridge", "blackbox0"]);
    let mut moved = lab.chapter("ch02-net");
    let assert = moved.args(["move", "blackbox0", &inhabitant.pid]).assert();
    let hint = "that namespace already has a device blackbox0";
    assert.code(125).stderr(contains("EEXIST").and(contains(hint)));
    assert!(there("blackbox0"));
}
