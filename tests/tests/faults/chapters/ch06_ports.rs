//! A run of ch06-ports that is connected to a network and publishes a port: each system
//! call of the supervisor fails once, and the supervisor is killed once before each call.
//!
//! The network is made before each trial and removed after it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Call, Faulty, Lab, Outcome, Side, Snapshot};
use nix::errno::Errno::{self, EIO};
use nix::libc;

use super::ok;
use crate::count;
use crate::lived_with::rule_for;
use crate::table::{changes, errnos, row_of};

const BIN: &str = "ch06-ports";

const RUN: [&str; 8] =
    ["run", "--rm", "-net", "one", "-p", "18480:80", "busybox", "true"];

/// A subnet that no test machine uses.
const CREATE: [&str; 5] = ["network", "create", "--subnet", "10.231.6.0/24", "one"];

/// A run that takes longer counts as a hang, also on a busy emulated machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The time that the kernel may take to remove the resources of a dead process.
const SETTLING: Duration = Duration::from_secs(3);

/// The number of tests that share the trials.
const PARTS: usize = 3;

/// Without `--all`, only one of this number of trials is made.
const SAMPLE: usize = 16;

#[test]
fn each_failure_is_reported_and_each_kill_leaves_nothing_0() {
    part(0);
}

#[test]
fn each_failure_is_reported_and_each_kill_leaves_nothing_1() {
    part(1);
}

#[test]
fn each_failure_is_reported_and_each_kill_leaves_nothing_2() {
    part(2);
}

/// What happens at a call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Fails(Errno),
    Killed,
}

struct Trial {
    call: Call,
    /// Whether the program has already ended.
    late: bool,
    fault: Fault,
}

impl Trial {
    fn name(&self) -> String {
        let Call { number, nth, what, .. } = &self.call;
        format!("{}#{nth} ({what}) {:?}", row_of(*number).name, self.fault)
    }
}

fn part(part: usize) {
    let lab = Lab::with_patience(TIMEOUT);
    ok(&lab, BIN, &CREATE);
    // The first run enables controllers for inner groups. They stay enabled.
    lab.chapter(BIN).args(RUN).assert().success();
    // The recording must be the first run in a network, as each trial is.
    ok(&lab, BIN, &["network", "remove", "one"]);
    ok(&lab, BIN, &CREATE);
    let calls = started(&lab, None).calls();
    ok(&lab, BIN, &["network", "remove", "one"]);
    let trials = trials(&calls);
    if part == 0 {
        count("run -net -p: calls of the supervisor", own(&calls).count());
        count("run -net -p: distinct faults", trials.len());
    }
    let all = std::env::var_os("MYDOCKER_ALL").is_some();
    let stride = if all { PARTS } else { PARTS * SAMPLE };
    let mut wrong = Vec::new();
    let mut made = 0;
    for trial in trials.iter().skip(part).step_by(stride) {
        made += 1;
        if let Err(what) = attempt(&lab, trial) {
            wrong.push(format!("{}: {what}", trial.name()));
        }
    }
    count("run -net -p: faults tried", made);
    let sum = wrong.len();
    assert!(wrong.is_empty(), "{sum} of {made} faults:\n{}", wrong.join("\n"));
    assert!(made > 5, "{made}");
}

fn own(calls: &[Call]) -> impl Iterator<Item = &Call> {
    calls.iter().filter(|call| call.side == Side::Host)
}

/// The faults, without those that are equivalent to another. Failures of calls with the
/// same backtrace are equivalent. A kill is equivalent to the previous one if nothing has
/// changed since.
fn trials(calls: &[Call]) -> Vec<Trial> {
    let first =
        |call: &Call| call.number == libc::SYS_getrandom && call.arguments[1] == 6;
    let main = own(calls).position(first).expect("the ID of the container");
    let waited = own(calls).position(|call| call.number == libc::SYS_waitid);
    let waited = waited.expect("waitid(2)");
    let mut seen = BTreeSet::new();
    let mut changed = true;
    let mut trials = Vec::new();
    for (index, call) in own(calls).enumerate() {
        let trial =
            |fault| Trial { call: call.clone(), late: index > waited, fault };
        let new = seen.insert((call.number, call.place.clone()));
        if index >= main && new {
            // The number of calls before it varies a little, so the fault may hit the
            // close(2) of a directory. It must not be EIO, because Rust panics.
            let usual =
                |errno: &Errno| (call.number, *errno) != (libc::SYS_close, EIO);
            let errno = errnos(call).into_iter().find(usual);
            trials.extend(errno.map(Fault::Fails).map(trial));
        }
        if changed {
            trials.push(trial(Fault::Killed));
        }
        changed = changes(call);
    }
    trials
}

/// A run that has not begun yet.
fn started(lab: &Lab, call: Option<i64>) -> Faulty {
    lab.faulty(BIN, call, |command| {
        let said = File::create(lab.dir().join("said")).unwrap();
        command.args(RUN).stdout(Stdio::null()).stderr(said)
    })
}

/// Create the network, make the trial, repair, and remove the network.
fn attempt(lab: &Lab, trial: &Trial) -> Result<(), String> {
    ok(lab, BIN, &CREATE);
    let before = Snapshot::take(&lab.state());
    let mut came = Err("the run never came to this call".to_owned());
    // The number of polls depends on the other side.
    for _ in 0..3 {
        let run = started(lab, Some(trial.call.number));
        let outcome = match trial.fault {
            Fault::Fails(errno) => run.fail(&trial.call, errno),
            Fault::Killed => run.killed(&trial.call, Side::Host),
        };
        if outcome.reached {
            came = judge(lab, trial, &outcome, &before);
            break;
        }
    }
    let repaired = repair(lab);
    let has_killed = lab.has_killed();
    let left = lab.left();
    came?;
    repaired?;
    if has_killed {
        return Err("it hung, and was killed".into());
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("after all repairs there is {left:?}")),
    }
}

/// The next network command removes everything of dead containers from the network, and
/// `prune` removes the rest.
fn repair(lab: &Lab) -> Result<(), String> {
    let run = |words: &[&str]| {
        let out = lab.chapter(BIN).args(words).output().unwrap();
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            false => Err(format!("{words:?}: {out:?}")),
        }
    };
    let shown = run(&["network", "inspect", "one"]);
    let emptied = shown.and_then(|text| {
        let networks: serde_json::Value = serde_json::from_str(&text).unwrap();
        match networks[0]["containers"].as_array().is_some_and(Vec::is_empty) {
            true => Ok(()),
            false => Err(format!("inspect shows a dead container: {text}")),
        }
    });
    let pruned = run(&["prune"]);
    let removed = run(&["network", "remove", "one"]);
    emptied?;
    pruned?;
    removed.map(drop)
}

fn judge(
    lab: &Lab,
    trial: &Trial,
    outcome: &Outcome,
    before: &Snapshot,
) -> Result<(), String> {
    let said = fs::read_to_string(lab.dir().join("said")).unwrap();
    let said = said.trim().replace('\n', "\n    ");
    let left = settled(lab, before, |left| match trial.fault {
        Fault::Killed => is_the_kernels(left),
        Fault::Fails(_) => true,
    });
    let wrong = |what: &str| {
        Err(format!("{what}; code {}; left {left:?}; said: {said}", outcome.code))
    };
    if said.contains("panicked") {
        return wrong("it panicked");
    }
    match trial.fault {
        Fault::Killed if outcome.code != 137 => wrong("it was not killed"),
        Fault::Killed if !left.is_empty() => wrong("the kernel has kept something"),
        Fault::Killed => Ok(()),
        Fault::Fails(errno) => {
            let told = said.contains(&format!("{errno:?}: "));
            let tried_again = trial.late && told;
            match outcome.code {
                // The container has run. A failed clean-up is repeated later.
                _ if !(left.is_empty() || tried_again) => wrong("something is left"),
                0 if told || lives(trial, errno) => Ok(()),
                0 => wrong("it went on as if nothing had happened"),
                125 | 126 if told => Ok(()),
                125 | 126 => wrong("the error is not named"),
                _ => wrong("it has ended in another way"),
            }
        }
    }
}

/// Failures that this run tolerates, in addition to those that all runs tolerate: the
/// calls, their object, whether the rule applies only after the end of the program, and
/// the reason.
type Rule = (&'static [&'static str], fn(&str) -> bool, bool, &'static str);

const LIVED_WITH: &[Rule] = &[
    (
        &["write"],
        |what| what.ends_with("/said"),
        false,
        "there is nobody to be told",
    ),
    (
        &["openat", "read", "mkdir", "write"],
        |what| what.contains("cgroup") || what.ends_with("/mountinfo"),
        false,
        "a container without limits does without a group",
    ),
    (
        &["openat", "write"],
        |what| what.contains("/running/"),
        false,
        "the note of that group, which is not made then",
    ),
    (
        &["openat", "read", "write"],
        |what| what.ends_with("/claims"),
        false,
        "the symlinks are read, and the search for a free address begins elsewhere",
    ),
    (
        &["statx"],
        |what| what.contains("/addresses/"),
        false,
        "the line of this symlink is not written",
    ),
    (
        &["openat", "read"],
        |what| what.ends_with("/ip_tables_names"),
        false,
        "there is no iptables-legacy then, or nobody can tell",
    ),
    (
        &["openat", "read"],
        |what| {
            ["/stat", "[signalfd]"].iter().any(|it| what.ends_with(it))
                || what.starts_with("pipe:")
        },
        false,
        "ps knows less of the program; the output of one that has ended is over",
    ),
    (
        &["statx"],
        |what| what.ends_with("/networks"),
        false,
        "mkdir(2) says it is there",
    ),
    (
        &["socket", "bind", "sendto", "recvfrom", "getsockname", "setsockopt"],
        |_| true,
        true,
        "what conntrack knows of the connections runs out by itself",
    ),
    (
        &["statx"],
        |what| what.ends_with("/record"),
        true,
        "it is removed all the same",
    ),
];

fn lives(trial: &Trial, errno: Errno) -> bool {
    let Trial { call, late, .. } = trial;
    let name = row_of(call.number).name;
    let own = LIVED_WITH.iter().any(|(calls, about, ended, _)| {
        calls.contains(&name) && about(&call.what) && (!ended || *late)
    });
    // close(2) also releases the lock.
    let unlocks =
        call.number == libc::SYS_flock && call.arguments[1] == libc::LOCK_UN as u64;
    own || unlocks || rule_for(call, errno).is_some()
}

/// Whether the kernel itself removes this when a process dies.
fn is_the_kernels(line: &str) -> bool {
    ["rule", "link", "address", "route", "process", "mount"]
        .iter()
        .any(|kind| line.starts_with(kind))
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
        left.retain(|line| counts(line) && !is_the_networks(line));
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        sleep(Duration::from_millis(10));
    }
}

/// Whether this belongs to the network after its first run: the directory of the
/// addresses, the claims, and the setting that the host forwards packets.
fn is_the_networks(line: &str) -> bool {
    let kept = ["networks/one/addresses ", "networks/one/claims ", "ip_forward"];
    kept.iter().any(|what| line.contains(what))
}
