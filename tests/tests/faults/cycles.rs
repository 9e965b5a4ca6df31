//! Run, kill, prune, over and over: what is left of a container whose host side or
//! program was killed at a random moment goes by one `prune`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::Lab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::count;
use crate::random::{Random, program};

/// So many parts there are.
const PARTS: usize = 2;

/// One in so many cycles the whole machine is looked at; the state directory at each.
const LOOK: usize = 25;

/// A part of the cycles.
pub(crate) fn part(part: usize) {
    let number = |name, or| {
        std::env::var(name).map_or(or, |text| text.parse::<u64>().expect(name))
    };
    let seed = number("MYDOCKER_SEED", 1);
    let cycles = number("MYDOCKER_CYCLES", 100) as usize / PARTS;
    let mut random = Random::new(seed.wrapping_mul(PARTS as u64) + part as u64);
    let lab = Lab::new();
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(run(&lab).status().unwrap().success());
        assert_eq!(prune(&lab), "one\n");
    }
    // About as long as a run takes.
    let longest = begun.elapsed().as_micros() as u64 / 4;
    let mut came = [0; 3];
    for cycle in 0..cycles {
        let mut child = run(&lab).spawn().unwrap();
        let host = Pid::from_raw(child.id().cast_signed());
        sleep(Duration::from_micros(random.below(longest)));
        let victim = random.below(2) as usize;
        // Whoever has ended meanwhile is fine.
        let _ = match victim {
            0 => kill(host, Signal::SIGKILL),
            _ => program(host).map_or(Ok(()), |pid| kill(pid, Signal::SIGKILL)),
        };
        child.wait().unwrap();
        came[victim] += 1;
        let told = prune(&lab);
        came[2] += usize::from(!told.is_empty());
        let left = kept(&lab);
        assert_eq!(left, 0, "seed {seed}, cycle {cycle}: {told}");
        if cycle % LOOK == LOOK - 1 {
            let left = lab.left();
            assert!(
                left.is_empty(),
                "seed {seed}, cycle {cycle}: {}",
                left.join("\n")
            );
        }
    }
    assert_eq!(prune(&lab), "", "seed {seed}");
    count("cycles: killed the host side", came[0]);
    count("cycles: killed the program", came[1]);
    count("cycles: prune found something", came[2]);
    assert!(cycles < 20 || came[2] > 0, "no run left anything");
}

fn run(lab: &Lab) -> Command {
    let mut command = lab.command(&[], "ch05-rm");
    command
        .args(["run", "-m", "50m", "-pids", "20", "--name", "one", "-v", "/:/v:ro"]);
    command.args(["busybox", "sh", "-c", "echo x > /x; sleep 0.02 & sleep 0.02"]);
    command.process_group(0).stderr(Stdio::null());
    command
}

/// What it says it has removed.
fn prune(lab: &Lab) -> String {
    let output = lab.chapter("ch05-rm").arg("prune").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How much containers have in the state directory.
fn kept(lab: &Lab) -> usize {
    let count =
        |name| fs::read_dir(lab.state().join(name)).map_or(0, Iterator::count);
    ["running", "containers", "names"].into_iter().map(count).sum()
}
