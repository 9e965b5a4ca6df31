//! The learner's commands, in a workspace of their own: start, try, hint, show, compare and
//! progress, with code that is right, wrong, not compiled and not Rust. Each verdict boots
//! a VM: `cargo test -p xtask --test learner`. They do not need root.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A learner with an empty workspace.
struct Learner {
    directory: tempfile::TempDir,
}

impl Learner {
    fn new() -> Learner {
        Learner { directory: tempfile::tempdir().unwrap() }
    }

    fn mine(&self) -> PathBuf {
        self.directory.path().join("mine")
    }

    /// Run a command: whether it succeeded, and all of its output.
    fn run(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(words)
            .env("MYDOCKER_MINE", self.mine())
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let (out, err) = (&output.stdout, &output.stderr);
        let (out, err) =
            (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        (output.status.success(), format!("{out}{err}"))
    }

    /// Run a command that succeeds, or that fails: its output, which contains these texts.
    #[track_caller]
    fn expect(&self, words: &[&str], success: bool, texts: &[&str]) -> String {
        let (status, output) = self.run(words);
        assert_eq!(status, success, "{words:?}: {output}");
        for text in texts {
            assert!(output.contains(text), "{words:?}: no {text:?} in: {output}");
        }
        output
    }

    /// Replace a text in a file of the workspace.
    #[track_caller]
    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.mine().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from:?} in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }
}

const UTS: &str = "chapters/ch02-uts/src/lib.rs";

#[test]
fn a_chapter_is_started_tried_and_solved() {
    let learner = Learner::new();
    learner.expect(&["try"], false, &["no chapter was started"]);
    learner.expect(&["start", "ch02-utz"], false, &["ch02-uts"]);
    let start = [
        "task 1: Uts::prepare",
        "ch02-uts, task 1: write Uts::prepare",
        "environ(7)",
    ];
    learner.expect(&["start", "ch02-uts"], true, &start);
    learner.expect(
        &["try"],
        false,
        &["write Uts::prepare", "0 of 3 tasks are solved"],
    );
    learner.expect(&["hint"], true, &["hint:", "to_string()", "cargo xtask show 1"]);

    // Wrong code: the verdict has what was expected and what happened.
    let hole = "anyhow::bail!(\"ch02-uts, task 1 is not written yet: see `cargo xtask hint`\")";
    let right = "self.hostname = match &self.flags.hostname { \
        Some(name) => name.to_string(), None => plan.home.id.to_string() }; \
        plan.environment.insert(\"HOSTNAME\".into(), self.hostname.clone().into()); Ok(())";
    let wrong = right.replace("name.to_string()", "String::from(\"wrong\")");
    learner.edit(UTS, hole, &wrong);
    let told =
        ["task 1: Uts::prepare ... not yet", "expected: \"box\\n\"", "wrong\\n"];
    learner.expect(&["try"], false, &told);
    // Code that is not compiled, and a file that is not Rust.
    learner.edit(UTS, "String::from(\"wrong\")", "77");
    learner.expect(&["try"], false, &["mismatched types", "not compiled yet"]);
    learner.edit(UTS, "=> 77", "=> {");
    learner.expect(&["try"], false, &["not compiled yet"]);
    learner.expect(&["progress"], true, &["ch02-uts: ", "not valid Rust"]);
    learner.edit(UTS, "Some(name) => {", "Some(name) => name.to_string()");
    learner.expect(
        &["try"],
        false,
        &["prepare ... solved", "write Uts::clone_args"],
    );
    learner.expect(&["progress"], true, &["ch02-uts: 1 of 3 tasks are solved"]);

    // The book's code, and the learner's beside it.
    learner.expect(&["show"], true, &["CLONE_NEWUTS", "--take"]);
    learner.expect(&["show", "2", "--take"], true, &["history of mine/"]);
    learner.expect(&["compare", "2"], true, &["the same as in the book"]);
    learner.expect(&["compare", "1"], true, &["--- mine", "+++ book"]);
    learner.expect(&["show", "3", "--take"], true, &[]);
    let solved = ["ch02-uts: solved, 3 tasks", "cargo run -p ch02-uts"];
    learner.expect(&["try"], true, &solved);

    // A second start changes nothing.
    let before = fs::read_to_string(learner.mine().join(UTS)).unwrap();
    learner.expect(&["start", "ch02-uts"], true, &["your code stays as it is"]);
    assert_eq!(fs::read_to_string(learner.mine().join(UTS)).unwrap(), before);
    let log = Command::new("git")
        .args(["log", "--format=%s"])
        .current_dir(learner.mine())
        .output()
        .unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    assert!(log.contains("ch02-uts: 3 of 3 tasks are solved"), "{log}");
}

#[test]
fn the_first_program_is_typed_in_stages() {
    let learner = Learner::new();
    let file = learner.mine().join("chapters/ch01-fifty-lines/src/main.rs");
    learner.expect(
        &["start", "ch01-fifty-lines"],
        true,
        &["stage 1 of the program"],
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "fn main() {}\n");
    learner.expect(&["try"], false, &["write stage 1", "0 of 5"]);
    // The first two stages are typed; the third is the next.
    learner.expect(&["show", "2", "--take"], true, &[]);
    assert!(!fs::read_to_string(&file).unwrap().contains("CLONE_NEWPID"));
    let told =
        ["stage 2 of the program ... solved", "stage 3 of the program ... not yet"];
    learner.expect(&["try"], false, &told);
    learner.expect(&["hint"], true, &["task 3: write stage 3", "CLONE_NEWPID"]);
    learner.expect(&["show", "5", "--take"], true, &[]);
    learner.expect(&["try"], true, &["ch01-fifty-lines: solved, 5 tasks"]);
}
