//! The state directory in which a fault happens, and whether the run behaved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::time::Duration;

use blackbox::{Call, Faulty, Lab, Outcome, Side};
use nix::errno::Errno;
use nix::libc;

use crate::lived_with::rule_for;
use crate::table::{changes, errnos, row_of};
use crate::trial::{Fault, Scene, Trial};

/// A run that takes longer counts as a hang, also on a busy emulated machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The state directory in which the runs take place.
pub(crate) struct Ground {
    pub(crate) lab: Lab,
}

impl Ground {
    pub(crate) fn new() -> Ground {
        let lab = Lab::with_patience(TIMEOUT);
        // The first run enables controllers for inner groups. They stay enabled.
        lab.chapter("ch04-volume").args(RUN).arg("true").assert().success();
        Ground { lab }
    }

    /// A run that has not begun yet.
    fn run(&self, call: Option<i64>) -> Faulty {
        self.lab.faulty("ch04-volume", call, |command| {
            let said = File::create(self.lab.dir().join("said")).unwrap();
            command.args(RUN).arg("true").stderr(said)
        })
    }

    /// Prepare the scene.
    fn set(&self, scene: Scene) {
        let _ = fs::remove_dir_all(self.lab.dir().join("v"));
        if scene == Scene::Sweep {
            let run =
                self.lab.faulty("ch04-volume", Some(libc::SYS_waitid), |run| {
                    run.args(RUN).args(["-name", "old", "true"])
                });
            let call = Call {
                side: Side::Host,
                number: libc::SYS_waitid,
                nth: 1,
                arguments: [0; 6],
                what: String::new(),
                place: Vec::new(),
            };
            assert_eq!(run.killed(&call, Side::Host).code, 137);
            // The directory exists after any run.
            fs::remove_dir_all(self.lab.dir().join("v")).unwrap();
            assert!(!self.lab.left().is_empty(), "there is nothing to sweep");
        }
    }

    /// The relevant calls of a scene, and whether each belongs to the clean-up.
    fn calls(&self, scene: Scene) -> Vec<(Call, bool)> {
        self.set(scene);
        let calls = self.run(None).calls();
        let own =
            |call: &Call, number| call.side == Side::Host && call.number == number;
        let at = |number| calls.iter().position(|call| own(call, number)).unwrap();
        let waited = at(libc::SYS_waitid);
        let of_host = |index: usize| calls[index].side == Side::Host;
        let late = |index: usize| of_host(index) && index > waited;
        let range = match scene {
            Scene::Plain => 0..calls.len(),
            // From the first access to the containers until the run creates its own
            // directory.
            Scene::Sweep => {
                let first = calls.iter().position(|call| {
                    call.number == libc::SYS_openat
                        && call.what.ends_with("/running")
                });
                let made = calls.iter().position(|call| {
                    call.number == libc::SYS_mkdir
                        && call.what.contains("/containers/")
                });
                first.unwrap()..made.unwrap()
            }
        };
        range.map(|index| (calls[index].clone(), late(index))).collect()
    }

    /// All faults of a scene, without those that are equivalent to another.
    ///
    /// Failures of calls with the same backtrace are equivalent. A kill before a call is
    /// equivalent to a kill before the previous call, unless that call changed something.
    pub(crate) fn distinct(&self, scene: Scene) -> Vec<Trial> {
        let all = self.trials(scene);
        if std::env::var_os("MYDOCKER_ALL").is_some() {
            return all;
        }
        let mut seen = BTreeSet::new();
        let mut kept = Vec::new();
        for trial in all {
            let call = &trial.call;
            let new = match trial.fault {
                Fault::Fails(errno) => {
                    let place = call.place.clone();
                    seen.insert((call.side, call.number, errno as i32, place))
                }
                Fault::Kills(_) => trial.changed,
            };
            if new {
                kept.push(trial);
            }
        }
        kept
    }

    /// All faults of a scene.
    pub(crate) fn trials(&self, scene: Scene) -> Vec<Trial> {
        let calls = self.calls(scene);
        // The calls before main belong to the start-up of libc and Rust.
        let main = match scene {
            Scene::Plain => {
                calls.iter().position(|(call, _)| is_first(call)).unwrap()
            }
            Scene::Sweep => 0,
        };
        let mut trials = Vec::new();
        // Whether the previous call of each side has changed something. The first call has
        // no previous call.
        let mut changed = BTreeMap::new();
        for (index, (call, late)) in calls.into_iter().enumerate() {
            let changed = changed.insert(call.side, changes(&call)).unwrap_or(true);
            let trial =
                |fault| Trial { scene, call: call.clone(), late, changed, fault };
            if call.side == Side::Guest || index >= main {
                let fails = errnos(&call).into_iter().map(Fault::Fails);
                trials.extend(fails.map(trial));
            }
            trials.push(trial(Fault::Kills(Side::Host)));
            if call.side == Side::Guest {
                trials.push(trial(Fault::Kills(Side::Guest)));
            }
        }
        trials
    }

    /// Make a trial. Returns the result, or what was wrong.
    pub(crate) fn attempt(&self, trial: &Trial) -> Result<String, String> {
        // The number of polls of one side depends on the other side.
        for _ in 0..3 {
            self.set(trial.scene);
            let run = self.run(Some(trial.call.number));
            let outcome = match trial.fault {
                Fault::Fails(errno) => run.fail(&trial.call, errno),
                Fault::Kills(side) => run.killed(&trial.call, side),
            };
            if outcome.reached {
                return self.judge(trial, &outcome);
            }
        }
        Err("the run never came to this call".into())
    }

    fn judge(&self, trial: &Trial, outcome: &Outcome) -> Result<String, String> {
        let said = fs::read_to_string(self.lab.dir().join("said")).unwrap();
        let wrong = |what: &str| {
            Err(format!("{what}; it said: {}", said.trim().replace('\n', "\n    ")))
        };
        if self.lab.has_killed() {
            return wrong("it hung, and was killed");
        }
        if said.contains("panicked") {
            return wrong("it panicked");
        }
        let left = self.lab.left();
        let swept = match self.sweep(&left) {
            Ok(swept) => swept,
            Err(also) => return wrong(&also),
        };
        let made = self.lab.dir().join("v").exists();
        match trial.fault {
            Fault::Kills(Side::Host) if outcome.code == 137 => {
                Ok(format!("killed: the supervisor, {}", or_nothing(swept)))
            }
            // After the child has reported that it executes the program, its end counts as
            // the end of the program.
            Fault::Kills(Side::Guest) if [125, 137].contains(&outcome.code) => {
                let lost = said.contains("the child was lost");
                if swept {
                    return wrong(&format!("{left:?} was left"));
                }
                if outcome.code == 125 && (!lost || made) {
                    return wrong("it was not told, or a directory was left");
                }
                Ok("killed: the child, nothing left".into())
            }
            Fault::Kills(_) => wrong(&format!("it ended with {}", outcome.code)),
            Fault::Fails(errno) => {
                let told = told(&trial.call, errno, &said);
                let rule = rule_for(&trial.call, errno);
                let later = rule.is_some_and(|rule| rule.later)
                    || told && (trial.late || trial.scene == Scene::Sweep);
                if swept && !later {
                    return wrong(&format!("{left:?} was left"));
                }
                // If the program was not executed, the new directory on the host must be
                // removed.
                if made && !outcome.executed {
                    return wrong("the volume's new directory was left");
                }
                let tried =
                    if swept { ", and tried again by the next run" } else { "" };
                match (outcome.code, rule) {
                    (125, _) if told => Ok(format!("failed: told{tried}")),
                    (126, _) if told && said.starts_with("error: exec ") => {
                        Ok("failed: told as a program that can't be executed".into())
                    }
                    (0, _) if told && said.starts_with("warning: sweep ") => {
                        Ok(format!("failed: told as a warning{tried}"))
                    }
                    (0, Some(rule)) => {
                        Ok(format!("failed: lived with: {}", rule.reason))
                    }
                    (0, _) => wrong("it went on as if nothing had happened"),
                    (code, _) if told => wrong(&format!("it ended with {code}")),
                    (code, _) => wrong(&format!(
                        "it ended with {code}, and named no {errno:?}"
                    )),
                }
            }
        }
    }

    /// Let the next run sweep if something is left. Returns whether something was left.
    fn sweep(&self, left: &[String]) -> Result<bool, String> {
        if left.is_empty() {
            return Ok(false);
        }
        let mut next = self.lab.chapter("ch04-volume");
        let next = next.args(["run", "no-such-program"]).output().unwrap();
        let said = String::from_utf8_lossy(&next.stderr).into_owned();
        if next.status.code() != Some(127) || said.contains("warning") {
            return Err(format!("the next run could not sweep {left:?}: {said}"));
        }
        match self.lab.left() {
            now if now.is_empty() => Ok(true),
            now => Err(format!("the next run's sweep left {now:?}")),
        }
    }
}

const RUN: [&str; 7] = ["run", "-m", "50m", "-pids", "20", "-v", "v/new:/v"];

fn or_nothing(swept: bool) -> &'static str {
    if swept { "swept by the next run" } else { "nothing left" }
}

/// Whether this is the first call of main: six random bytes for the container ID.
fn is_first(call: &Call) -> bool {
    call.side == Side::Host
        && call.number == libc::SYS_getrandom
        && call.arguments[1] == 6
}

/// Whether the error names the errno, and the call or the step to which it belongs.
fn told(call: &Call, errno: Errno, said: &str) -> bool {
    let named = row_of(call.number).said.iter().any(|word| said.contains(word));
    let begins = said.starts_with("error: ") || said.starts_with("warning: ");
    begins && named && said.contains(&format!("{errno:?}: "))
}
