//! `commit` of ch04-commit, killed, and while its container ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use blackbox::{Lab, Side, until};
use nix::sys::signal::Signal;

use super::ok;

const BIN: &str = "ch04-commit";

#[test]
fn a_commit_killed_at_any_system_call_leaves_a_complete_image_or_none() {
    let lab = Lab::new();
    let before = layers(&lab.state());
    ok(
        &lab,
        BIN,
        &["run", "--name", "one", "busybox", "sh", "-c", "echo text > /file"],
    );
    let mut made = [0, 0];
    for number in (0..).step_by(3) {
        let mut commit = lab.traced(BIN, |command| {
            command.args(["commit", "one", "image"]).stderr(Stdio::null())
        });
        if !commit.to(Side::Host, number) {
            assert_eq!(commit.end(), 0);
            ok(&lab, BIN, &["rmi", "image"]);
            break;
        }
        commit.signal(Side::Host, Signal::SIGKILL);
        assert_eq!(commit.end(), 137, "{number}");
        let whole = ok(&lab, BIN, &["images", "-q"]) == "busybox\nimage\n";
        made[usize::from(whole)] += 1;
        if whole {
            let seen = ok(&lab, BIN, &["run", "--rm", "image", "cat", "/file"]);
            assert_eq!(seen, "text\n", "{number}");
        }
        // Every change sweeps.
        let commit = ["commit", "one", "image"];
        let commit = lab.chapter(BIN).args(commit).assert().success().stdout("");
        let said = String::from_utf8_lossy(&commit.get_output().stderr);
        // Two images that were made in one second are the same image.
        assert!(
            said.is_empty() || whole && said.contains(" replaces image "),
            "{said}"
        );
        assert_eq!(layers(&lab.state()).len(), before.len() + 1, "{number}");
        ok(&lab, BIN, &["rmi", "image"]);
        assert_eq!(layers(&lab.state()), before, "{number}");
        for (place, count) in [("records", 1), ("names", 1), ("blobs/sha256", 3)] {
            let place = lab.state().join("images").join(place);
            assert_eq!(fs::read_dir(&place).unwrap().count(), count, "{number}");
        }
    }
    assert!(made[0] > 20 && made[1] > 0, "{made:?}");
    ok(&lab, BIN, &["rm", "one"]);
}

#[test]
fn a_commit_of_an_ending_container_is_complete_or_fails() {
    let lab = Lab::new();
    let script = "mkdir a b c; touch a/1 b/1 c/1; echo > /ready; sleep 1000";
    for flags in [&[][..], &["--rm"]] {
        for number in (40..).step_by(13) {
            let mut command = lab.command(&[], BIN);
            command.args(["run", "--name", "one"]).args(flags);
            command.args(["busybox", "sh", "-c", script]);
            let mut run = command.spawn().unwrap();
            until(|| ready(&lab.state()));
            let mut commit =
                lab.traced_with_stderr(BIN, &["commit", "one", "image"]);
            let reached = commit.to(Side::Host, number);
            let mut kill = lab.chapter("ch05-stop");
            kill.args(["kill", "one"]).assert().success();
            assert_eq!(run.wait().unwrap().code(), Some(137));
            let code = commit.end_beside_others();
            let said = lab.traced_stderr();
            if code == 0 {
                assert_eq!(said, "", "{number}");
                let words = ["run", "--rm", "image", "sh", "-c", "echo /[abc]/1"];
                assert_eq!(ok(&lab, BIN, &words), "/a/1 /b/1 /c/1\n", "{number}");
                ok(&lab, BIN, &["rmi", "image"]);
            } else {
                let gone = [
                    "container \"one\" not found",
                    "container one has no record",
                    "container one is being removed",
                ];
                let told = gone.iter().any(|text| said.contains(text));
                assert!(told && flags == ["--rm"], "{number}: {said}");
            }
            if flags.is_empty() {
                ok(&lab, BIN, &["rm", "one"]);
            }
            if !reached {
                break;
            }
        }
    }
}

/// Whether the only container has created its file `ready`.
fn ready(state: &Path) -> bool {
    let entries = fs::read_dir(state.join("containers"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().join("upper/ready").exists())
}

fn layers(state: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(state.join("layers")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
