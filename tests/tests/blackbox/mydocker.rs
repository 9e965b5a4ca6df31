//! mydocker: every command of every chapter.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;

use blackbox::{Lab, bin_dir};

const BIN: &str = "mydocker";

/// The commands that a help text lists.
fn commands(lab: &Lab, program: &str, group: &[&str]) -> BTreeSet<String> {
    let mut command = lab.chapter(program);
    let out = command.args(group).arg("--help").assert().success();
    let text = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    let lines = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    lines.filter_map(first).collect()
}

#[test]
fn every_command_of_every_chapter_is_available() {
    let lab = Lab::new();
    let own = commands(&lab, BIN, &[]);
    assert!(own.len() > 30, "{own:?}");
    // The tools of chapter 2 are groups. `run` of chapters 1 and 2 and `pair` are
    // experiments: `run` of a later chapter does more.
    let groups = [
        ("ch02-cgroups", "cgroup"),
        ("ch02-setns", "namespace"),
        ("ch02-net", "device"),
        ("ch02-ipc", "ipc"),
    ];
    let mut chapters = 0;
    for entry in fs::read_dir(bin_dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let chapter = name.starts_with("ch0") && !name.contains('.');
        if !chapter || name == "ch01-fifty-lines" {
            continue;
        }
        chapters += 1;
        let group = groups.iter().find(|(chapter, _)| *chapter == name);
        let (there, not) = match group {
            None => (own.clone(), None),
            Some((_, group)) => {
                (commands(&lab, BIN, &[*group]), Some(["run", "pair"]))
            }
        };
        for command in commands(&lab, &name, &[]) {
            if not.is_some_and(|not| not.contains(&command.as_str())) {
                continue;
            }
            assert!(there.contains(&command), "{name} {command}: {there:?}");
        }
    }
    assert!(chapters > 30, "{chapters} chapters in {}", bin_dir().display());
}

#[test]
fn the_command_groups_of_chapter_2_work() {
    let lab = Lab::new();
    let out = lab.chapter(BIN).args(["namespace", "list"]).assert().success();
    assert!(String::from_utf8_lossy(&out.get_output().stdout).contains("uts"));
    let out = lab.chapter(BIN).args(["device", "list"]).assert().success();
    assert!(String::from_utf8_lossy(&out.get_output().stdout).contains("lo"));
    lab.chapter(BIN).args(["cgroup", "list"]).assert().success();
    lab.chapter(BIN).args(["ipc", "list"]).assert().success();
}

#[test]
fn default_values_and_alternative_spellings_are_available() {
    let lab = Lab::new();
    lab.chapter(BIN).args(["list", "-a"]).assert().success();
    let out = lab.chapter(BIN).args(["run", "--help"]).assert().success();
    let help = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
    assert!(help.contains("[default: mydocker0]"), "{help}");
}

#[test]
fn the_version_is_also_an_option() {
    let lab = Lab::new();
    let out = lab.chapter(BIN).arg("--version").assert().success();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8_lossy(&out.get_output().stdout),
        format!("mydocker {version}\n")
    );
}
