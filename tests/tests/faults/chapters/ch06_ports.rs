//! A run of ch06-ports that is connected to a network and publishes a port: each system
//! call of the host side fails once, and the host side is killed once before each call.
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

/// A subnet that no test machine has.
const CREATE: [&str; 5] = ["network", "create", "--subnet", "10.231.6.0/24", "one"];

/// A run that takes longer, in an emulated machine with others at work, hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time that the kernel may take to remove the resources of a dead process.
const SETTLING: Duration = Duration::from_secs(3);

/// The number of tests that share the trials.
const PARTS: usize = 3;

/// Without `--all`, one trial in so many is made.
const SAMPLE: usize = 16;

#[test]
fn whatever_fails_is_told_and_whoever_is_killed_leaves_nothing_0() {
    part(0);
}

#[test]
fn whatever_fails_is_told_and_whoever_is_killed_leaves_nothing_1() {
    part(1);
}

#[test]
fn whatever_fails_is_told_and_whoever_is_killed_leaves_nothing_2() {
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
    /// Whether the program has ended by then.
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
    let lab = Lab::with_patience(PATIENCE);
    ok(&lab, BIN, &CREATE);
    // The first run hands controllers down to groups, which stays so.
    lab.chapter(BIN).args(RUN).assert().success();
    // Recorded as the trials are made: as the first run of a network.
    ok(&lab, BIN, &["network", "remove", "one"]);
    ok(&lab, BIN, &CREATE);
    let calls = started(&lab, None).calls();
    ok(&lab, BIN, &["network", "remove", "one"]);
    let trials = trials(&calls);
    if part == 0 {
        count("run -net -p: calls of the host side", own(&calls).count());
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

/// The faults, without those that are like another: a call fails as one that came from
/// the same place by the same way, and a kill is like the one before if nothing has
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
            // How many calls come before it differs a little, and who closes a directory
            // instead must not see an EIO: Rust panics.
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

/// A run that is about to begin.
fn started(lab: &Lab, call: Option<i64>) -> Faulty {
    lab.faulty(BIN, call, |command| {
        let said = File::create(lab.dir().join("said")).unwrap();
        command.args(RUN).stdout(Stdio::null()).stderr(said)
    })
}

/// Make the network, let the fault happen, repair, remove the network.
fn attempt(lab: &Lab, trial: &Trial) -> Result<(), String> {
    ok(lab, BIN, &CREATE);
    let before = Snapshot::take(&lab.state());
    let mut came = Err("the run never came to this call".to_owned());
    // How many times it polls is up to the other side.
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
    let bitten = lab.bitten();
    let left = lab.left();
    came?;
    repaired?;
    if bitten {
        return Err("it hung, and was killed".into());
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("after all repairs there is {left:?}")),
    }
}

/// The next command about networks removes what a network has of dead containers,
/// `prune` the rest of them.
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
                // The container has run; what could not be undone is tried again.
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

/// What this run can live with, beside what all runs can: the calls, what they are about,
/// whether only after the program has ended, and why.
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
    // close(2) unlocks it too.
    let unlocks =
        call.number == libc::SYS_flock && call.arguments[1] == libc::LOCK_UN as u64;
    own || unlocks || rule_for(call, errno).is_some()
}

/// What the kernel itself removes when a process dies.
fn is_the_kernels(line: &str) -> bool {
    ["rule", "link", "address", "route", "process", "mount"]
        .iter()
        .any(|kind| line.starts_with(kind))
}

/// What is not as it was before the run, of those lines, once the kernel is done.
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

/// What the first run of a network leaves to it: the directory of its addresses, the
/// claims, and that the host forwards.
fn is_the_networks(line: &str) -> bool {
    let kept = ["networks/one/addresses ", "networks/one/claims ", "ip_forward"];
    kept.iter().any(|what| line.contains(what))
}
