//! Each system call of a run fails once, and the run is killed once at each moment.

use std::collections::BTreeMap;
use std::fs;

use blackbox::{Call, Side};

use crate::count;
use crate::ground::Ground;
use crate::lived_with::RULES;
use crate::trial::{Fault, Scene, Trial, word};

/// A part of the faults of both scenes.
pub(crate) fn all(part: usize, parts: usize) {
    let ground = Ground::new();
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // A rule that is no longer needed is counted with 0.
    for rule in RULES {
        counts.insert(format!("failed: lived with: {}", rule.reason), 0);
    }
    for scene in [Scene::Plain, Scene::Sweep] {
        let trials = ground.distinct(scene);
        if part == 0 {
            tell(scene, &ground.trials(scene), &trials);
        }
        for trial in trials.iter().filter(|trial| trial.part(parts) == part) {
            match ground.attempt(trial) {
                Ok(key) => *counts.entry(key).or_default() += 1,
                Err(what) => wrong.push(format!(
                    "{trial} ({}): {what}\n    again: cargo xtask faults --only '{trial}'",
                    trial.call.what
                )),
            }
        }
    }
    counts.into_iter().for_each(|(key, number)| count(&key, number));
    let sum = wrong.len();
    assert!(wrong.is_empty(), "{sum} faults:\n{}", wrong.join("\n"));
}

/// Count the calls and the faults of a scene.
fn tell(scene: Scene, all: &[Trial], distinct: &[Trial]) {
    let mut calls: Vec<&Call> = all.iter().map(|trial| &trial.call).collect();
    calls.dedup();
    let of = |side| calls.iter().filter(|call| call.side == side).count();
    let which = match scene {
        Scene::Plain => "a run",
        Scene::Sweep => "a sweep",
    };
    for side in [Side::Host, Side::Guest] {
        count(&format!("calls: {which}, {}", word(side)), of(side));
    }
    for (trials, word) in [(all, "in all"), (distinct, "distinct")] {
        let fails = trials.iter().filter(|t| matches!(t.fault, Fault::Fails(_)));
        let fails = fails.count();
        count(&format!("faults: {which}, failures, {word}"), fails);
        count(&format!("faults: {which}, kills, {word}"), trials.len() - fails);
    }
}

/// Try the fault with this name, and print the result.
pub(crate) fn named(name: &str) {
    let ground = Ground::new();
    let scene = match name.starts_with("sweep:") {
        true => Scene::Sweep,
        false => Scene::Plain,
    };
    let trials = ground.trials(scene);
    let found = trials.iter().find(|trial| trial.to_string() == name);
    let trial = found.unwrap_or_else(|| {
        // Suggest only faults of the same call, if there are any: there are thousands.
        let call = |name: &str| name.split('#').next().map(str::to_owned);
        let known: Vec<String> = trials.iter().map(Trial::to_string).collect();
        let mut near: Vec<String> = known
            .iter()
            .filter(|known| call(known) == call(name))
            .cloned()
            .collect();
        if near.is_empty() {
            near.extend(known.iter().filter_map(|known| call(known)));
            near.sort();
            near.dedup();
        }
        panic!("there is no fault {name:?}; there are: {}", near.join(" "))
    });
    let came = ground.attempt(trial);
    let said = fs::read_to_string(ground.lab.dir().join("said")).unwrap();
    panic_or_tell(trial, came, &said);
}

fn panic_or_tell(trial: &Trial, came: Result<String, String>, said: &str) {
    let about = format!("{trial} ({})", trial.call.what);
    match came {
        Ok(key) => {
            use std::io::Write;
            let mut out = std::io::stdout();
            writeln!(out, "\n{about}\n{key}\n{said}").unwrap();
        }
        Err(what) => panic!("{about}: {what}"),
    }
}
