//! Many cycles of run and kill, with a network and a published port. The kernel removes its
//! own objects, and the next network command removes the rest.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Lab, Snapshot, living};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::count;
use crate::cycles::noted;
use crate::random::{Random, program};

const BIN: &str = "ch06-ports";

/// A subnet that no test machine uses.
const CREATE: [&str; 5] = ["network", "create", "--subnet", "10.231.5.0/24", "one"];

/// A container that runs longer counts as a hang.
const LONGEST: Duration = Duration::from_secs(120);

/// The time that the kernel may take to remove the resources of a dead process.
const SETTLING: Duration = Duration::from_secs(3);

/// Half as many cycles as without a network.
pub(crate) fn cycles() {
    let number = |name, or| {
        std::env::var(name).map_or(or, |text| text.parse::<u64>().expect(name))
    };
    let seed = number("MYDOCKER_SEED", 1);
    let cycles = number("MYDOCKER_CYCLES", 100) / 2;
    let mut random = Random::new(seed);
    let lab = Lab::new();
    said(&lab, &CREATE);
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(run(&lab, false).status().unwrap().success());
        said(&lab, &["prune"]);
    }
    // Approximately the duration of a run.
    let longest = begun.elapsed().as_micros() as u64 / 4;
    // The kernel removes the device of the last run a little later.
    while has_veth() {
        assert!(begun.elapsed() < LONGEST, "a device stays");
        sleep(Duration::from_millis(5));
    }
    let before = Snapshot::take(&lab.state());
    let (mut dead, mut pruned, mut killed) = (0, 0, 0);
    for cycle in 0..cycles {
        let context = format!("seed {seed}, cycle {cycle}");
        // Every second container is detached.
        let detached = cycle % 2 == 1;
        let mut child = run(&lab, detached).spawn().unwrap();
        let caller = Pid::from_raw(child.id().cast_signed());
        sleep(Duration::from_micros(random.below(longest)));
        let host = match detached {
            true => program(caller).or_else(|| noted(&lab)),
            false => Some(caller),
        };
        // The process may have ended meanwhile.
        let sent = host.map(|pid| kill(pid, Signal::SIGKILL));
        killed += usize::from(sent == Some(Ok(())));
        child.wait().unwrap();
        let deadline = Instant::now() + LONGEST;
        while !living().is_empty() {
            assert!(Instant::now() < deadline, "{context}: it lives");
            sleep(Duration::from_millis(2));
        }
        // The kernel does this without any command.
        let left = settled(&lab, &before, is_the_kernels);
        assert!(left.is_empty(), "{context}: the kernel has kept {left:?}");
        dead += usize::from(!addresses(&lab, &before).is_empty());
        let shown = said(&lab, &["network", "inspect", "one"]);
        assert!(shown.contains("\"containers\": []"), "{context}: {shown}");
        let left = addresses(&lab, &before);
        assert!(left.is_empty(), "{context}: {left:?}");
        // A container without an address does not belong to the network.
        pruned += usize::from(!said(&lab, &["prune"]).is_empty());
        let left = settled(&lab, &before, |_| true);
        assert!(left.is_empty(), "{context}: {left:?}");
    }
    said(&lab, &["network", "remove", "one"]);
    let left = lab.left();
    assert!(left.is_empty(), "seed {seed}: {}", left.join("\n"));
    count("cycles with -net -p: killed the supervisor", killed);
    count("cycles with -net -p: `network` found a dead container", dead);
    count("cycles with -net -p: prune removed the rest", pruned);
    assert!(cycles < 20 || dead > 0, "no run left an address");
}

/// Whether the host has an end of a veth pair.
fn has_veth() -> bool {
    let links = std::fs::read_dir("/sys/class/net").unwrap().flatten();
    let mut names = links.map(|link| link.file_name());
    names.any(|name| name.to_string_lossy().starts_with("veth"))
}

fn run(lab: &Lab, detached: bool) -> Command {
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--name", "one", "-net", "one", "-p", "18481:80"]);
    command.args(["-p", "18481:80/udp"]).args(detached.then_some("-d"));
    command.args(["busybox", "sh", "-c", "sleep 0.02 & sleep 0.02"]);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The standard output of a command that succeeds.
fn said(lab: &Lab, words: &[&str]) -> String {
    let output = lab.chapter(BIN).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether the kernel itself removes this when a process dies.
fn is_the_kernels(line: &str) -> bool {
    let kinds = ["rule", "link", "address", "route", "process", "mount", "sysctl"];
    kinds.iter().any(|kind| line.starts_with(kind))
}

/// The addresses that containers still have.
fn addresses(lab: &Lab, before: &Snapshot) -> Vec<String> {
    let mut left = before.differences(&Snapshot::take(&lab.state()));
    left.retain(|line| line.contains("networks/one/addresses/"));
    left
}

/// The differences among the selected lines that remain after the kernel has had time.
fn settled(
    lab: &Lab,
    before: &Snapshot,
    counts: impl Fn(&str) -> bool,
) -> Vec<String> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let mut left = before.differences(&Snapshot::take(&lab.state()));
        left.retain(|line| counts(line) && !line.contains("networks/one/claims "));
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        sleep(Duration::from_millis(5));
    }
}
