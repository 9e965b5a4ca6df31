//! Tests of the order of the engine's hooks. They need no namespace and no root
//! privileges: the parts only print a line when they are called, and the programs
//! are real.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The exit status, and the lines of stderr.
fn run(words: &[&str]) -> (Option<i32>, Vec<String>) {
    run_in(None, words)
}

/// The same for a container whose files are kept in this state directory.
fn run_in(state: Option<&Path>, words: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = witness(words);
    if let Some(state) = state {
        command.env("MYDOCKER_ROOT", state).env("WITNESS_STAYS", "1");
    }
    let out =
        command.output().expect("the example is built by `cargo test -p common`");
    let text = String::from_utf8(out.stderr).unwrap();
    (out.status.code(), text.lines().map(str::to_owned).collect())
}

fn witness(words: &[&str]) -> Command {
    let this = env::current_exe().unwrap();
    let deps = this.parent().unwrap();
    let witness = deps.parent().unwrap().join("examples/witness");
    let mut command = Command::new(witness);
    command.args(words).env("RUST_BACKTRACE", "0").env_remove("MYDOCKER_ROOT");
    command
}

const UNDONE: [&str; 5] =
    ["second ended", "first ended", "second removed", "first removed", "dropped"];

fn expect(words: &[&str], code: i32, before: &[&str], error: Option<&str>) {
    let (found_code, mut lines) = run(words);
    if let Some(error) = error {
        let at = lines.iter().position(|line| line.starts_with("error: "));
        let said = lines.remove(at.unwrap_or_else(|| panic!("no error: {lines:?}")));
        assert_eq!(said, format!("error: {error}"));
        lines.retain(|line| !line.starts_with("hint: "));
    }
    let expected: Vec<&str> = before.iter().chain(&UNDONE).copied().collect();
    assert_eq!(lines, expected);
    assert_eq!(found_code, Some(code));
}

const PREPARED: [&str; 2] = ["first prepare", "second prepare"];
const ATTACHED: [&str; 4] =
    ["first prepare", "second prepare", "first attach", "second attach"];

fn entered() -> Vec<&'static str> {
    [&ATTACHED[..], &["first enter", "second enter"]].concat()
}

#[test]
fn a_failed_undo_is_repeated_by_a_later_run() {
    let dir = tempfile::tempdir().unwrap();
    let containers = || {
        let entries = std::fs::read_dir(dir.path().join("containers")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let run = |words: &[&str]| {
        let mut command = witness(words);
        command.env("MYDOCKER_ROOT", dir.path()).env("WITNESS_KEEPS", "1");
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, said) = run(&["ended", "fail", "true"]);
    assert_eq!(code, Some(125), "{said}");
    let left = containers();
    assert_eq!(left.len(), 1, "{said}");
    // A run that cannot undo the note prints a warning, and still runs its program.
    fs::write(dir.path().join("stuck"), "").unwrap();
    let (code, said) = run(&["none", "none", "true"]);
    let warning = format!("warning: sweep container {}: ", left[0].display());
    assert!(said.contains(&warning) && said.contains("second started"), "{said}");
    assert_eq!((code, containers().len()), (Some(0), 1), "{said}");
    fs::remove_file(dir.path().join("stuck")).unwrap();
    let (code, said) = run(&["none", "none", "true"]);
    assert_eq!((code, containers().len()), (Some(0), 0), "{said}");
    // The row is called once for any number of notes of its kind.
    assert_eq!(said.matches("undone").count(), 1, "{said}");
}

#[test]
fn hooks_run_in_order_and_are_undone_in_reverse() {
    let started = [&entered()[..], &["first started", "second started"]].concat();
    expect(&["none", "none", "sh", "-c", "exit 3"], 3, &started, None);
}

#[test]
fn after_an_error_in_any_hook_all_parts_are_undone() {
    let all = [&entered()[..], &["first started", "second started"]].concat();
    for (hook, before) in [
        ("prepare", &PREPARED[..]),
        ("attach", &ATTACHED),
        ("enter", &entered()),
        ("started", &all),
    ] {
        let error = format!("{hook} second: it fails");
        expect(&[hook, "fail", "sleep", "1000"], 125, before, Some(&error));
    }
}

#[test]
fn after_an_error_in_meanwhile_all_parts_are_undone() {
    let (code, lines) = run(&["meanwhile", "fail", "sleep", "1000"]);
    let error = "error: meanwhile second: it fails".to_owned();
    assert!(code == Some(125) && lines.contains(&error), "{lines:?}");
    let count = |name| hooks(&lines, name);
    assert_eq!((count("started"), count("ended"), count("removed")), (0, 2, 2));
}

#[test]
fn meanwhile_runs_beside_enter_and_the_program_starts_after_both() {
    let (code, lines) =
        run(&["meanwhile", "slow", "sh", "-c", "echo the program >&2"]);
    assert_eq!(code, Some(0), "{lines:?}");
    let at = |text| lines.iter().position(|line| line == text);
    let order = ["second enter", "second meanwhile is finished", "the program"];
    let [entered, finished, ran] = order.map(at);
    assert!(entered.is_some() && entered < finished && finished < ran, "{lines:?}");
}

#[test]
fn a_panic_in_the_child_is_reported_and_never_runs_the_parents_destructors() {
    let (code, lines) = run(&["enter", "panic", "true"]);
    assert_eq!(code, Some(125));
    let told = lines.iter().filter(|line| line.contains("the child panicked"));
    assert_eq!(told.count(), 1, "{lines:?}");
    let dropped = lines.iter().filter(|line| line.starts_with("dropped"));
    assert_eq!(dropped.count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.ends_with("removed")).count(), 2);
}

#[test]
fn a_child_that_is_killed_before_exec_is_not_reported_as_the_programs_exit() {
    let error = "the child was lost before its program started: killed by SIGKILL";
    expect(&["enter", "kill", "true"], 125, &entered(), Some(error));
}

#[test]
fn a_panic_in_the_parent_kills_the_child_and_undoes_the_parts() {
    let (code, lines) = run(&["started", "panic", "sleep", "1000"]);
    assert_eq!(code, Some(101));
    assert_eq!(lines.iter().filter(|line| line.ends_with("removed")).count(), 2);
}

#[test]
fn a_failed_undo_is_reported_after_the_first_error_and_the_rest_is_undone() {
    let (code, lines) = run(&["ended", "fail", "true"]);
    assert_eq!(code, Some(125));
    assert!(
        lines.contains(&"error: ended second: it fails".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"first removed".to_owned()), "{lines:?}");
    let (code, lines) = run(&["ended", "fail", "no-such-program"]);
    assert_eq!(code, Some(127));
    let text = lines.join("\n");
    assert!(text.contains("not found in PATH"), "{text}");
    assert!(
        text.contains("and the clean-up failed: ended second: it fails"),
        "{text}"
    );
}

/// The numbers of entries in `running` and in `containers`.
fn kept(state: &Path) -> [usize; 2] {
    ["running", "containers"]
        .map(|name| fs::read_dir(state.join(name)).map_or(0, Iterator::count))
}

fn hooks(lines: &[String], name: &str) -> usize {
    lines.iter().filter(|line| line.ends_with(name)).count()
}

#[test]
fn a_kept_container_is_ended_and_not_removed() {
    let state = tempfile::tempdir().unwrap();
    let (code, lines) = run_in(Some(state.path()), &["none", "none", "true"]);
    assert_eq!(code, Some(0), "{lines:?}");
    assert_eq!((hooks(&lines, "ended"), hooks(&lines, "removed")), (2, 0));
    assert_eq!(kept(state.path()), [0, 1]);
}

#[test]
fn a_failed_start_leaves_nothing_even_if_the_container_would_stay() {
    let state = tempfile::tempdir().unwrap();
    for words in [
        &["prepare", "fail", "true"][..],
        &["meanwhile", "fail", "true"],
        &["enter", "fail", "true"],
        &["enter", "kill", "true"],
        &["started", "fail", "sleep", "1000"],
        &["started", "panic", "sleep", "1000"],
        &["none", "none", "no-such-program"],
    ] {
        let (_, lines) = run_in(Some(state.path()), words);
        assert_eq!(hooks(&lines, "removed"), 2, "{lines:?}");
        assert_eq!(kept(state.path()), [0, 0], "{words:?}");
    }
}

#[test]
fn the_sweep_after_a_killed_supervisor_keeps_only_started_containers() {
    let state = tempfile::tempdir().unwrap();
    for (hook, stays) in [
        ("prepare", 0),
        ("attach", 0),
        ("meanwhile", 0),
        ("started", 0),
        ("ended", 1),
    ] {
        let (code, _) = run_in(Some(state.path()), &[hook, "kill", "sleep", "0.1"]);
        assert_eq!(code, None, "{hook}");
        assert_eq!(kept(state.path()), [1, 1], "{hook}");
        // The sweep runs before this run fails.
        let next = ["none", "none", "no-such-program"];
        let (_, lines) = run_in(Some(state.path()), &next);
        assert_eq!(lines[0], "undone", "{hook}: {lines:?}");
        assert_eq!(kept(state.path()), [0, stays], "{hook}: {lines:?}");
    }
}
