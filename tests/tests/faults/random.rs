//! Kills at random moments. They also happen within a system call, which the other tests of
//! the fault lane do not cover.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::Lab;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::count;

/// The number of parts.
const PARTS: usize = 4;

/// A quarter of the runs. Each is killed at a random moment.
pub(crate) fn part(part: usize) {
    let number = |name, or| {
        std::env::var(name).map_or(or, |text| text.parse::<u64>().expect(name))
    };
    let seed = number("MYDOCKER_SEED", 1);
    let runs = number("MYDOCKER_RUNS", 1000) as usize / PARTS;
    let mut random = Random(seed.wrapping_mul(PARTS as u64) + part as u64);
    let lab = Lab::new();
    fs::create_dir(lab.dir().join("v")).unwrap();
    let begun = Instant::now();
    for _ in 0..5 {
        assert!(run(&lab).status().unwrap().success());
    }
    // A little more than the duration of a run.
    let longest = begun.elapsed().as_micros() as u64 / 4;
    let mut came = [0; 5];
    for _ in 0..runs {
        let mut child = run(&lab).spawn().unwrap();
        let host = Pid::from_raw(child.id().cast_signed());
        sleep(Duration::from_micros(random.below(longest)));
        let victim = random.below(3);
        // The process may have ended meanwhile.
        let _ = match victim {
            0 => kill(host, Signal::SIGKILL),
            1 => program(host).map_or(Ok(()), |pid| kill(pid, Signal::SIGKILL)),
            _ => killpg(host, Signal::SIGKILL),
        };
        let how = child.wait().unwrap();
        let ends = [Some(0), Some(125), Some(137)];
        assert!(how.signal() == Some(9) || ends.contains(&how.code()), "{how}");
        came[victim as usize] += 1;
        came[3] += usize::from(how.code() == Some(0));
        came[4] += usize::from(containers(&lab) > 0);
    }
    let keys = ["the supervisor", "the program", "all at once"];
    for (key, number) in keys.into_iter().zip(came) {
        count(&format!("killed at random: {key}"), number);
    }
    count("killed at random: too late, it had ended", came[3]);
    count("killed at random: it left something", came[4]);
    // Without any leftovers, the test would prove nothing.
    assert!(runs < 100 || came[4] > 0, "no run left anything");

    // A start examines only two lock files, so use prune.
    let mut prune = lab.command(&[], "ch05-rm");
    let pruned = prune.arg("prune").output().unwrap();
    assert!(pruned.status.success(), "seed {seed}: {pruned:?}");
    let first = traced(&lab);
    assert_eq!(containers(&lab), 0, "seed {seed}: {first}");
    let left = lab.left();
    assert!(left.is_empty(), "seed {seed}: {}", left.join("\n"));
    let second = traced(&lab);
    assert_eq!(ids(&second).len(), 1, "seed {seed}: {second}");
}

fn run(lab: &Lab) -> Command {
    let mut command = lab.command(&[], "ch04-volume");
    command.args(["run", "-m", "50m", "-pids", "20", "-v", "v:/v", "sh", "-c"]);
    command.arg("echo x > /tmp/x; echo x > /v/x; sleep 0.02 & sleep 0.02");
    // All processes that it starts are in its process group.
    command.process_group(0).stderr(Stdio::null());
    command
}

/// The trace of a run.
fn traced(lab: &Lab) -> String {
    let mut command = lab.chapter("ch04-volume");
    let words = ["run", "--trace", "-m", "50m", "-pids", "20", "-v", "v:/v", "true"];
    let output = command.args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The IDs of the containers in a trace.
fn ids(trace: &str) -> BTreeSet<&str> {
    let ids = trace.split("containers/").skip(1).filter_map(|rest| rest.get(..12));
    ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
}

fn containers(lab: &Lab) -> usize {
    fs::read_dir(lab.state().join("running")).map_or(0, Iterator::count)
}

/// The first child of the supervisor.
///
/// # Source
/// proc_tid_children(5)
pub(crate) fn program(host: Pid) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{host}/task/{host}/children"));
    text.ok()?.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// A generator of pseudorandom numbers from a seed.
///
/// # Source
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", SplitMix64
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
