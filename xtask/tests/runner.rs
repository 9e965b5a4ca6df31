//! Tests of the test runner: whatever a test does in the VM, it counts as passed
//! only if it passed, and its failure is named correctly. Invalid requests get a
//! clear error. These tests boot VMs, so they are a separate lane: `cargo test -p
//! xtask --test runner`. They do not need root.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use blackbox::Terminal;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn xtask(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(words).env("RUST_BACKTRACE", "0");
    command
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The text of an error; the exit status must be a failure.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("error: "), "{text}");
    text
}

#[test]
fn each_misbehaving_test_fails_with_the_correct_reason() {
    // Only these tests run until their time limit. The others need more time on a slow
    // machine.
    let hanging = [
        ("freezes_pid_1", "failed", "hung the VM"),
        ("hangs", "failed", "timed out after 6 s"),
        ("hangs_in_a_child_that_holds_its_output", "failed", "timed out after 6 s"),
    ];
    let (text, _) = misbehaving(&["--timeout", "6"], &hanging);
    assert!(text.contains("test result: FAILED. 0 passed; 3 failed; 0 ignored;"));
    let others = [
        ("aborts", "failed", "killed by signal 6"),
        ("behaves", "passed", ""),
        (
            "ends_the_vm_with_the_agreed_exit_status",
            "failed",
            "the VM ended with the agreed exit status, but without its last message",
        ),
        ("exits_early", "failed", "exited with 0 before its verdict"),
        ("floods_its_output", "failed", "exited with"),
        ("floods_the_console", "failed", "flooded the console"),
        (
            "forges_the_last_message_on_the_channel",
            "failed",
            "wrote on the runner's channel",
        ),
        ("forges_the_last_message_on_the_console", "failed", "powered the VM off"),
        ("leaks_a_mount", "failed", "left behind: mount: "),
        ("leaks_a_process", "failed", "left behind: process "),
        ("panics", "failed", "failed"),
        ("panics_the_kernel", "failed", "the kernel panicked"),
        ("powers_off", "failed", "powered the VM off"),
        ("reboots", "failed", "powered the VM off"),
        ("sees_no_leak", "passed", ""),
        ("skips_as_expected", "skipped", "as said"),
        ("skips_unexpectedly", "failed", "skipped unexpectedly: lazy"),
    ];
    let (text, xml) = misbehaving(&[], &others);
    assert!(
        text.contains("test result: FAILED. 2 passed; 14 failed; 1 ignored;"),
        "{text}"
    );
    // The output must contain what is needed to find the fault.
    assert!(text.contains("as it should"), "{text}");
    assert!(text.contains("sysrq triggered crash"), "{text}");
    assert!(text.contains("again: cargo xtask test --kernel 6.1"), "{text}");
    assert!(xml.contains("tests=\"17\" failures=\"14\" skipped=\"1\""), "{xml}");
    let file = include_str!("../init/tests/misbehaving.rs");
    assert_eq!(file.matches("#[test]").count(), hanging.len() + others.len());
}

/// A test, its expected verdict, and the beginning of the reason.
type Expected<'a> = (&'a str, &'a str, &'a str);

/// Run these misbehaving tests, and compare. Returns the output and the JUnit file.
fn misbehaving(words: &[&str], expected: &[Expected]) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results.json");
    let junit = dir.path().join("results.xml");
    let names: Vec<&str> = expected.iter().map(|(name, ..)| *name).collect();
    let output = xtask(&["test", "--program", "misbehaving"])
        .args(words)
        .arg("--json")
        .arg(&file)
        .arg("--junit")
        .arg(&junit)
        .args(names)
        .output()
        .unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let results: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let word = |test: &Value, key: &str| test[key].as_str().unwrap().to_owned();
    let found: BTreeMap<String, (String, String)> = results["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| {
            (word(test, "name"), (word(test, "verdict"), word(test, "reason")))
        })
        .collect();
    for (name, verdict, reason) in expected {
        let (was, why) = &found[*name];
        assert!(was == verdict && why.starts_with(reason), "{name}: {was}, {why}");
    }
    assert_eq!(found.len(), expected.len(), "{text}");
    (text, fs::read_to_string(junit).unwrap())
}

/// The block of a page, and the expected error; empty if the page is correct.
const PAGES: [(&str, &str, &str); 13] = [
    ("honest", "$ echo $((6 * 7)); false; echo $?\n42\n1\n", ""),
    ("lies", "$ echo true\n$ echo hot\ncold\n", "lies.md:3: $ echo hot\n"),
    (
        "lies-on-a-terminal",
        TERMINAL,
        "\n   / # false; echo $?\n  -0\n  +1\n   / # exit\n",
    ),
    ("shows-less", "$ echo one; echo two\none\n", "\n   one\n  +two\n"),
    ("declares-nothing", "$ sh -c 'echo $$'\n99999\n", "\n  -99999\n  +"),
    ("hangs", "$ sleep 1000\n", "hung: printed nothing for 20 s"),
    ("wrong-status", "$ sh -c 'exit 3'; echo $?\n4\n", "\n  -4\n  +3\n"),
    ("fails-silently", "$ false\n", "exited with 1, which the page does not show"),
    ("leaves-a-mount", "# mount -t tmpfs left /mnt\n", "mount left: "),
    ("leaves-a-process", "# sleep 1000 &\n", "process left: "),
    ("leaves-a-file", "# touch /etc/left\n", "left: file /etc/left"),
    ("leaves-the-shell", "$ exit 0\n", "the page's shell has ended"),
    ("kills-the-runner", "# kill -9 $PPID\n", ""),
];

/// A block that types at a shell in the container. The actual output is 1.
const TERMINAL: &str =
    "$ ch04-pivot-root run -ti sh\n/ # false; echo $?\n0\n/ # exit\n";

/// Create a checkout with a page that has only this block.
fn page(checkout: &Path, name: &str, declared: &str, block: &str) {
    let pages = checkout.join("book/src");
    fs::create_dir_all(&pages).unwrap();
    fs::write(checkout.join("README.md"), "").unwrap();
    let text = format!("{declared}```console\n{block}```\n");
    fs::write(pages.join(name).with_extension("md"), text).unwrap();
}

#[test]
fn each_wrong_page_fails_with_the_correct_reason() {
    let dir = tempfile::tempdir().unwrap();
    for (name, block, _) in PAGES {
        page(dir.path(), name, "", block);
    }
    // Only this page shows the version of its machine's kernel.
    let other = "<!-- book: on 6.12 with v1 -->\n";
    page(dir.path(), "other-machine", other, "$ uname -r | cut -c 1-4\n6.1.\n");
    let file = dir.path().join("results.json");
    let output = xtask(&["test", "book", "--timeout", "40", "--pages"])
        .arg(dir.path())
        .arg("--json")
        .arg(&file)
        .output()
        .unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let results: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let tests = results["tests"].as_array().unwrap();
    assert_eq!(tests.len(), PAGES.len() + 1, "{text}");
    let found = |name: &str| {
        let test = tests.iter().find(|test| test["name"] == format!("book::{name}"));
        let word = |key: &str| test.unwrap()[key].as_str().unwrap().to_owned();
        (word("verdict"), word("reason"), word("output"), word("again"))
    };
    for (name, _, reason) in PAGES {
        let (verdict, why, output, again) = found(name);
        let wanted = if name == "honest" { "passed" } else { "failed" };
        assert_eq!(verdict, wanted, "{name}: {why}\n{output}");
        assert!(output.contains(reason), "{name}: {why}\n{output}");
        assert_eq!(again, format!("cargo xtask test book {name}"));
    }
    assert_eq!(found("kills-the-runner").1, "killed by signal 9");
    let (verdict, _, output, _) = found("other-machine::6.12-v1");
    assert_eq!(verdict, "failed");
    assert!(output.contains("\n  -6.1.\n  +6.12\n"), "{output}");
    assert!(text.contains("test result: FAILED. 1 passed; 12 failed;"), "{text}");
}

#[test]
fn a_page_with_invalid_declarations_is_not_run() {
    for (declared, reason) in [
        (
            "<!-- book: 7 is a pid -->\n",
            "a.md:2: 7 is declared, but not in the block",
        ),
        ("<!-- book: 42 is a number -->\n", "a.md:1: unknown kind \"number\""),
        ("<!-- book: not run: -->\n", "a.md:1: \"not run:\" requires a reason"),
        ("<!-- book: on 2.4 with v1 -->\n", "unknown machine 2.4-v1"),
        ("```sh\nrm\n```\n", "a.md:1: commands must be in"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        page(dir.path(), "a", declared, "$ echo 42\n42\n");
        let text = refused(xtask(&["test", "book", "--pages"]).arg(dir.path()));
        assert!(text.contains(reason), "{text}");
    }
    let text = refused(&mut xtask(&["test", "book", "--here"]));
    assert!(text.contains("they run in a VM"), "{text}");
}

#[test]
fn invalid_requests_get_a_clear_error() {
    for (words, reason) in [
        (&["test", "no_such_test"][..], "name contains \"no_such_test\""),
        (&["test", "--kernel", "/nonexistent"], "/nonexistent"),
        (&["test", "--kernel", "/etc/passwd"], "neither a vmlinux nor a bzImage"),
        (&["test", "--kernel", "2.0"], "no kernel 2.0"),
        (&["test", "--cgroup", "v3"], "possible values"),
        (&["test", "--here", "--cgroup", "v2"], "cannot be used with"),
        (&["test", "--here", "--keep"], "cannot be used with"),
        (
            &["test", "--keep", "behaves"],
            "standard input or output is not a terminal",
        ),
        (&["test", "--bin-dir", "/nonexistent"], "/nonexistent"),
        (&["test", "--bin-dir", "/etc"], "has a chapter's name"),
        (&["shell", "ch99-none"], "chapter ch99-none not found"),
        (&["run", "ch99-none", "run", "true"], "chapter ch99-none not found"),
    ] {
        let text = refused(&mut xtask(words));
        assert!(text.contains(reason), "{words:?}: {text}");
    }
}

/// A fake emulator that runs this script instead of booting.
fn emulator(dir: &Path, script: &str) -> String {
    let path = dir.join("qemu-system-x86_64");
    let version = "QEMU emulator version 0.0.1 (fake)";
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '{version}'; exit; }}\n{script}\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let rest = std::env::var("PATH").unwrap();
    format!("{}:{rest}", dir.display())
}

/// The emulator in PATH, which another task has installed if it could.
fn real() -> PathBuf {
    let output = xtask(&["run", "true"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let path = std::env::var("PATH").unwrap();
    let places = std::env::split_paths(&path);
    let mut files = places.map(|dir| dir.join("qemu-system-x86_64"));
    files.find(|file| file.is_file()).unwrap()
}

#[test]
fn a_vm_that_does_not_start_is_an_error_and_not_a_hang() {
    for (script, reason) in [
        ("exec sleep 1000", "no answer within 1 s"),
        ("echo no such machine >&2; exit 1", "no such machine"),
        ("echo Booting; exec sleep 1000", "noise on the channel"),
        ("exit 43", "QEMU ended with exit status: 43"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = emulator(dir.path(), script);
        let words = ["test", "--accel", "tcg", "--boot-timeout", "1", "exit_status"];
        let text = refused(xtask(&words).env("PATH", path));
        assert!(text.contains("no VM starts"), "{text}");
        assert!(text.contains("microvm") && text.contains("q35"), "{text}");
        assert!(text.contains(reason), "{script}: {text}");
        assert!(text.contains("hint: "), "{text}");
    }
}

#[test]
fn a_vm_starts_although_kvm_hangs_and_microvm_fails() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "case \"$*\" in *microvm*kvm*) exec sleep 1000;; *microvm*) echo no; exit 1;; \
         *kvm*) echo no >&2; exit 1;; esac; exec {} \"$@\"",
        real().display()
    );
    let path = emulator(dir.path(), &script);
    let words =
        ["test", "--accel", "kvm", "--boot-timeout", "15", "a_hostname_change"];
    let output = xtask(&words).env("PATH", path).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("microvm, vmlinux, KVM: no answer within 15 s"), "{text}");
    assert!(text.contains("started with q35, bzImage, emulation"), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn a_vm_that_ends_with_an_unexpected_exit_status_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = emulator(dir.path(), &format!("{} \"$@\"; exit 0", real().display()));
    let words = ["test", "--accel", "tcg", "a_hostname_change"];
    let text = refused(xtask(&words).env("PATH", path));
    assert!(text.contains("exit status must be 43, but is Some(0)"), "{text}");
    assert!(text.contains("test result: FAILED. 1 passed; 0 failed;"), "{text}");
}

#[test]
fn the_install_command_is_printed_if_qemu_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["test", "--kernel", "6.1"];
    let empty = |command: &mut Command| refused(command.env("PATH", dir.path()));
    let text = empty(&mut xtask(&words));
    assert!(text.contains("no VM can start"), "{text}");
    assert!(text.contains("install QEMU's x86-64 system emulator"), "{text}");

    let manager = dir.path().join("apt-get");
    fs::write(&manager, "#!/bin/sh\necho 'E: no route' >&2; exit 100\n").unwrap();
    for path in [dir.path(), &manager] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let install = "apt-get install --yes --no-install-recommends qemu-system-x86";
    let text = empty(&mut xtask(&words));
    assert!(text.contains(install), "{text}");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    assert!(text.contains("E: no route"), "{text}");
    // An ordinary user may not be able to reach the checkout.
    let copy = dir.path().join("xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &copy).unwrap();
    let mut user = Command::new(copy);
    user.args(words).current_dir("/").uid(1500).gid(1500);
    let text = empty(&mut user);
    assert!(text.contains(&format!("install it: sudo {install}")), "{text}");
}

#[test]
fn a_chapter_that_is_not_static_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(env!("CARGO_BIN_EXE_xtask"), dir.path().join("ch02-uts")).unwrap();
    let directory = dir.path().to_str().unwrap();
    let text = refused(&mut xtask(&["test", "--bin-dir", directory]));
    assert!(text.contains("ch02-uts is not static"), "{text}");
}

#[test]
fn a_broken_chapter_fails_and_a_correct_one_passes() {
    // A wrong implementation of chapter 2, in which all programs have the same
    // hostname.
    let dir = tempfile::tempdir().unwrap();
    let chapter = dir.path().join("ch02-uts");
    let directory = dir.path().to_str().unwrap();
    let test = "a_hostname_change_inside_does_not_change_the_host";
    let words = ["test", "--bin-dir", directory, test];
    let write = |text: &str| {
        fs::write(&chapter, text).unwrap();
        fs::set_permissions(&chapter, Permissions::from_mode(0o755)).unwrap();
    };
    let options = "shift; [ \"$1\" = --hostname ] && { name=$2; shift 2; }";
    write(&format!("#!/bin/sh\n{options}; hostname \"$name\"; exec \"$@\"\n"));
    let text = refused(&mut xtask(&words));
    assert!(text.contains(&format!("{test} ... FAILED")), "{text}");
    let inner = "hostname \"$0\"; exec \"$@\"";
    write(&format!(
        "#!/bin/sh\n{options}\nexec unshare -u sh -c '{inner}' \"$name\" \"$@\"\n"
    ));
    let output = xtask(&words).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_shell_in_the_vm_has_a_working_terminal() {
    let mut terminal = Terminal::run(xtask(&["shell"]));
    terminal.see_within("~ # ", 120);
    terminal.type_keys("stty size\n");
    terminal.see("24 80");
    terminal.resize(100, 30);
    terminal.see("~ # ");
    terminal.type_keys("sleep 1; stty size\n");
    terminal.see("30 100");
    // Ctrl-C ends the program but not the shell, and Ctrl-Z stops the program.
    terminal.see("~ # ");
    // The quotes distinguish the program's output from the typed line.
    let waits = "sh -c \"echo o''n; exec sleep 1000\"\n";
    terminal.type_keys(waits);
    terminal.see("on\r\n");
    terminal.type_keys("\x03");
    terminal.see("~ # ");
    terminal.type_keys(waits);
    terminal.see("on\r\n");
    terminal.type_keys("\x1a");
    terminal.see("Stopped");
    terminal.see("~ # ");
    terminal.type_keys("kill -9 %1; sleep 1; hostname; exit 7\n");
    terminal.see("vm");
    assert_eq!(terminal.end(), 7);
}

/// Run the misbehaving tests with `--keep` and these arguments, on a terminal.
fn kept(words: &[&str]) -> Terminal {
    // A build has no time limit, unlike the wait for a text on the terminal.
    let listed = xtask(&["test", "--list", "--program", "misbehaving"]).output();
    assert!(listed.unwrap().status.success());
    let first = ["test", "--keep", "--jobs", "1", "--program", "misbehaving"];
    Terminal::run(xtask(&[&first, words].concat()))
}

#[test]
fn keep_opens_a_shell_in_the_vm_of_the_first_failure() {
    let mut terminal = kept(&["leaks_a_process"]);
    let told = terminal
        .see_within("a root shell in the VM in which leaks_a_process failed", 120);
    // The report comes first.
    assert!(told.contains("left behind: process "), "{told}");
    assert!(told.contains("test result: FAILED. 0 passed; 1 failed;"), "{told}");
    terminal.see("~ # ");
    terminal.resize(100, 30);
    // The quotes distinguish the shell's output from the typed line.
    terminal.type_keys("id -u''n; pidof sleep >&2 && echo le''aked; stty size\n");
    terminal.see("root");
    terminal.see("leaked");
    terminal.see("30 100");
    terminal.type_keys("exit 7\n");
    terminal.see("error: 1 test failed");
    assert_eq!(terminal.end(), 1);
}

#[test]
fn keep_opens_a_shell_while_a_test_hangs() {
    let mut terminal = kept(&["--timeout", "15", "hangs_in_a_child"]);
    terminal.see_within("timed out after 15 s", 120);
    terminal.see("~ # ");
    terminal.type_keys("pidof misbehaving >&2 && pidof sleep >&2 && echo bo''th\n");
    terminal.see("both");
    terminal.type_keys("exit\n");
    assert_eq!(terminal.end(), 1);
}

#[test]
fn keep_opens_no_shell_if_the_vm_has_ended() {
    // The test that took longer last time starts first. No other one is started.
    let mut terminal = kept(&["powers_off", "reboots"]);
    terminal.see_within("no shell: the VM ended with ", 120);
    terminal.see("0 passed; 1 failed;");
    assert_eq!(terminal.end(), 1);
    // Without a failure, `--keep` has no effect.
    let mut terminal = kept(&["behaves"]);
    terminal.see_within("1 passed; 0 failed;", 120);
    assert_eq!(terminal.end(), 0);
}

/// The snapshot for the hybrid layout, which no other test here boots.
fn snapshot() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_xtask")).ancestors().nth(2).unwrap();
    let entries = fs::read_dir(target.join("vm/snapshots")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.to_string_lossy().into_owned();
    paths.find(|path| name(path).ends_with("-hybrid-microvm")).unwrap()
}

#[test]
fn a_damaged_or_foreign_snapshot_is_created_again() {
    let one = "ch02_uts::the_exit_status_is_that_of_the_program";
    let run = || {
        let words = ["test", "--accel", "tcg", "--cgroup", "hybrid", one];
        let output = xtask(&words).output().unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        text
    };
    run();
    let fresh = run();
    assert!(!fresh.contains("no snapshot"), "{fresh}");
    let key = fs::read(snapshot().join("about.json")).unwrap();

    let devices = snapshot().join("devices");
    let whole = fs::read(&devices).unwrap();
    fs::write(&devices, &whole[..whole.len() / 2]).unwrap();
    let told = run();
    assert!(told.contains("vm: no snapshot: "), "{told}");
    assert!(!run().contains("no snapshot"));
    assert_eq!(fs::read(snapshot().join("about.json")).unwrap(), key);

    let other = String::from_utf8(key.clone())
        .unwrap()
        .replace("\"key\": \"", "\"key\": \"0");
    fs::write(snapshot().join("about.json"), other).unwrap();
    assert!(!run().contains("no snapshot"));
    assert_eq!(fs::read(snapshot().join("about.json")).unwrap(), key);
}

#[test]
fn the_main_example_runs_in_the_vm() {
    let words = ["run", "ch04-volume", "run", "-ti", "-v", "/tmp/v:/test", "sh"];
    let mut terminal = Terminal::run(xtask(&words));
    terminal.see_within("/ # ", 120);
    terminal.type_keys("echo $$ $((6 * 7)); ls -d /test; exit 3\n");
    terminal.see("1 42");
    terminal.see("/test");
    assert_eq!(terminal.end(), 3);
}

#[test]
fn pipes_work_through_the_vm() {
    let mut run = assert_cmd::Command::from_std(xtask(&["run", "sh", "-c"]));
    let script = "cat; echo aside >&2; exit 4";
    // More data than all the buffers can hold.
    let input = "0123456789abcdef".repeat(20_000);
    let assert = run.arg(script).write_stdin(input.clone()).assert();
    assert.code(4).stdout(input).stderr(contains("aside\n"));
    let mut run = assert_cmd::Command::from_std(xtask(&["run", "poweroff", "-f"]));
    run.assert().code(1).stderr(contains("error: the VM was powered off"));
}

#[test]
fn pivot_root_explains_that_the_root_must_not_be_the_initramfs() {
    let words = ["run", "--raw-root", "ch04-volume", "run", "true"];
    let mut run = assert_cmd::Command::from_std(xtask(&words));
    let error = "pivot_root(2) /var/lib/mydocker/containers/";
    let hint = "the current root must not be the initramfs: there, use mount --move";
    run.assert().code(125).stderr(contains(error).and(contains(hint)));
}
