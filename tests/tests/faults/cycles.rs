//! Many cycles of run, kill and prune: one `prune` removes everything of a container whose
//! supervisor or program was killed at a random moment.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Lab, living};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::count;
use crate::random::{Random, program};

/// The number of parts.
const PARTS: usize = 2;

/// The whole machine is checked after this number of cycles, and the state directory after
/// each.
const LOOK: usize = 25;

/// A container that runs longer counts as a hang.
const LONGEST: Duration = Duration::from_secs(120);

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
        assert!(run(&lab, false).status().unwrap().success());
        assert_eq!(prune(&lab), "one\n");
    }
    // Approximately the duration of a run.
    let longest = begun.elapsed().as_micros() as u64 / 4;
    let mut came = [0; 4];
    for cycle in 0..cycles {
        // Every second container is detached.
        let detached = cycle % 2 == 1;
        let mut child = run(&lab, detached).spawn().unwrap();
        let caller = Pid::from_raw(child.id().cast_signed());
        sleep(Duration::from_micros(random.below(longest)));
        let victim = random.below(2) as usize;
        let host = match detached {
            true => program(caller).or_else(|| noted(&lab)),
            false => Some(caller),
        };
        let victims = [host, host.and_then(program)];
        // The process may have ended meanwhile.
        let _ = victims[victim].map(|pid| kill(pid, Signal::SIGKILL));
        child.wait().unwrap();
        // A living supervisor records the end of its program, which ends soon.
        let deadline = Instant::now() + LONGEST;
        while detached && !living().is_empty() {
            assert!(
                Instant::now() < deadline,
                "seed {seed}, cycle {cycle}: it lives"
            );
            sleep(Duration::from_millis(2));
        }
        came[victim] += 1;
        came[3] += usize::from(detached);
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
    count("cycles: killed the supervisor", came[0]);
    count("cycles: killed the program", came[1]);
    count("cycles: prune found something", came[2]);
    count("cycles: in the background", came[3]);
    assert!(cycles < 20 || came[2] > 0, "no run left anything");
}

/// The supervisor of the only container, according to its notes.
pub(crate) fn noted(lab: &Lab) -> Option<Pid> {
    let lock = fs::read_dir(lab.state().join("running")).ok()?.next()?.ok()?.path();
    let notes = fs::read_to_string(lock).ok()?;
    let host = notes.lines().find_map(|line| line.strip_prefix("host "))?;
    host.split(' ').next()?.parse().ok().map(Pid::from_raw)
}

fn run(lab: &Lab, detached: bool) -> Command {
    let mut command = lab.command(&[], "ch05-rm");
    command
        .args(["run", "-m", "50m", "-pids", "20", "--name", "one", "-v", "/:/v:ro"]);
    command.args(detached.then_some("-d")).stdout(Stdio::null());
    command.args(["busybox", "sh", "-c", "echo x > /x; sleep 0.02 & sleep 0.02"]);
    command.process_group(0).stderr(Stdio::null());
    command
}

/// The output of `prune`: the removed containers.
fn prune(lab: &Lab) -> String {
    let output = lab.chapter("ch05-rm").arg("prune").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The number of files that containers have in the state directory.
fn kept(lab: &Lab) -> usize {
    let count =
        |name| fs::read_dir(lab.state().join(name)).map_or(0, Iterator::count);
    ["running", "containers", "names"].into_iter().map(count).sum()
}
