//! A container cannot change the host's binary through /proc/PID/exe of a visible process:
//! of `exec`, and of PID 1 with `--init`.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use blackbox::{Caller, Lab, Terminal, bin_dir, probe, until};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch05-attach";

/// A directory with the probe, for `-v`.
fn volume(lab: &Lab) -> String {
    let directory = lab.dir().join("bin");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(probe(), directory.join("probe")).unwrap();
    format!("{}:/v:ro", directory.display())
}

/// A copy of the chapter's binary. No other process executes it, so ETXTBSY does not
/// protect it.
fn second_copy(lab: &Lab) -> PathBuf {
    let copy = lab.dir().join("second-copy");
    fs::copy(bin_dir().join(BIN), &copy).unwrap();
    copy
}

/// All properties of a file that a container could change.
fn everything(path: &Path) -> (u32, u32, u32, Vec<u8>, Vec<u8>) {
    let about = fs::metadata(path).unwrap();
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(path, &mut names[..]).unwrap();
    names.truncate(length);
    (about.mode(), about.uid(), about.gid(), names, fs::read(path).unwrap())
}

/// Assert that all ways to change the file were tried, and that each failed.
#[track_caller]
fn refused(seen: &str, when: &str) {
    let lines: Vec<&str> =
        seen.lines().filter(|line| line.starts_with(when)).collect();
    assert_eq!(lines.len(), 10, "{seen}");
    let done: Vec<_> = lines.iter().filter(|line| line.ends_with("done")).collect();
    assert!(done.is_empty(), "{done:?}");
}

/// Start a detached container with the name `one`.
fn start(caller: Caller, lab: &Lab, words: &[&str]) {
    let mut run = caller.command(lab, BIN);
    run.args(["run", "-d", "--name", "one"]).args(words);
    let out = run.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn remove(caller: Caller, lab: &Lab) {
    assert!(
        caller
            .command(lab, BIN)
            .args(["rm", "-f", "one"])
            .output()
            .unwrap()
            .status
            .success()
    );
}

/// The standard output of a command that succeeds.
fn ok(mut command: Command, words: &[&str]) -> String {
    let out = command.args(words).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {said}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
#[file_serial(machine)]
fn root_below_an_init_cannot_change_the_hosts_binary() {
    let lab = Lab::new();
    let volume = volume(&lab);
    let binary = second_copy(&lab);
    let before = everything(&binary);
    let run = lab.command(&[], binary.to_str().unwrap());
    let words = ["run", "--rm", "--init", "-v", &volume, "busybox"];
    let attack = ["/v/probe", "tamper", "/proc/1/exe"];
    let seen = ok(run, &[&words[..], &attack].concat());
    refused(&seen, "now");
    assert!(everything(&binary) == before, "the binary was changed");

    // Root of an ordinary user's container cannot even read the link to the file.
    let mut run = Caller::User.command(&lab, BIN);
    run.args(words).args(attack);
    let out = run.output().unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("PermissionDenied"));
}

#[test]
#[file_serial(machine)]
fn root_cannot_change_the_hosts_binary_during_or_after_exec() {
    let lab = Lab::new();
    let volume = volume(&lab);
    let binary = second_copy(&lab);
    let before = everything(&binary);
    // The first program looks for a process that does not run a file of the image.
    let script = "while :; do for p in /proc/[0-9]*; do
        if [ -e $p/exe ] && ! [ $p/exe -ef /bin/busybox ]; then
            /v/probe tamper $p/exe later; exec sleep 1000; fi; done; done";
    start(Caller::Root, &lab, &["-v", &volume, "busybox", "sh", "-c", script]);
    // The helper of this `exec` is stopped inside the container.
    let words = ["exec", "one", "sleep", "0.1"];
    let mut exec = lab.traced_with_stderr(binary.to_str().unwrap(), &words);
    while exec.call() != Some("chroot") {
        assert!(exec.step().is_some(), "it joins: {}", lab.traced_stderr());
    }
    let logs = || ok(Caller::Root.command(&lab, BIN), &["logs", "one"]);
    until(|| logs().contains("now remount: "));
    refused(&logs(), "now");
    assert_eq!(exec.end_beside_others(), 0, "{}", lab.traced_stderr());
    // No process executes the binary any more.
    until(|| logs().contains("tampered"));
    refused(&logs(), "later");
    assert!(everything(&binary) == before, "the binary was changed");
    remove(Caller::Root, &lab);
}

#[test]
#[file_serial(machine)]
fn the_trace_shows_which_file_the_program_executes() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        start(caller, &lab, &["busybox", "sleep", "1000"]);
        for words in [
            &["exec", "--trace", "one", "true"][..],
            &["run", "--rm", "--init", "--trace", "busybox", "true"],
        ] {
            let out = caller.command(&lab, BIN).args(words).output().unwrap();
            let trace = String::from_utf8(out.stderr).unwrap();
            let lines = trace.lines().filter(|line| line.contains("execveat(2)"));
            let lines: Vec<_> = lines.collect();
            assert!(
                lines.len() == 1 && lines[0].contains("on a read-only mount"),
                "{trace}"
            );
        }
        // No other command executes itself again.
        let out = caller
            .command(&lab, BIN)
            .args(["run", "--rm", "--trace", "busybox", "true"])
            .output();
        let trace = String::from_utf8(out.unwrap().stderr).unwrap();
        assert!(!trace.contains("execveat(2)"), "{trace}");
        remove(caller, &lab);
    }
}

#[test]
#[file_serial(machine)]
fn exec_keeps_its_pid_name_arguments_and_ignored_signals() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        start(caller, &lab, &["busybox", "sleep", "1000"]);
        let inner = caller.command(&lab, BIN);
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP USR1; exec \"$0\" \"$@\""]);
        shell.arg(inner.get_program()).args(inner.get_args());
        shell.args(["exec", "one", "sh", "-c", "read word; exit 7", "a b", ""]);
        shell.env_clear().current_dir(lab.dir());
        let variables =
            inner.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut exec = shell.envs(variables).stdin(Stdio::piped()).spawn().unwrap();
        let of =
            |file: &str| fs::read(format!("/proc/{}/{file}", exec.id())).unwrap();
        let exe = format!("/proc/{}/exe", exec.id());
        until(|| {
            let link = fs::read_link(&exe).unwrap();
            let link = link.to_str().unwrap();
            (link == "/" || link.starts_with("/memfd:"))
                && of("comm") == format!("{BIN}\n").into_bytes()
                // During execve(2), the file is already the new one, and the name still
                // the old one.
                && !of("cmdline").is_empty()
        });
        let arguments = of("cmdline");
        let end = b"\0exec\0one\0sh\0-c\0read word; exit 7\0a b\0\0";
        assert!(arguments.ends_with(end), "{}", String::from_utf8_lossy(&arguments));
        let status = String::from_utf8(of("status")).unwrap();
        let ignored =
            status.lines().find(|line| line.starts_with("SigIgn:")).unwrap();
        let ignored = ignored.split_whitespace().nth(1).unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        // SIGHUP is signal 1, SIGUSR1 is 10.
        assert_eq!(ignored & 0x201, 0x201, "{status}");
        drop(exec.stdin.take());
        assert_eq!(exec.wait().unwrap().code(), Some(7));
        remove(caller, &lab);
    }
}

#[test]
#[file_serial(machine)]
fn exec_works_if_its_binary_was_deleted() {
    // No path leads to the file any more, so an ordinary user's child cannot mount it.
    for (caller, file) in
        [(Caller::Root, "a read-only mount"), (Caller::User, "a sealed copy")]
    {
        let lab = Lab::new();
        start(caller, &lab, &["busybox", "sleep", "1000"]);
        let binary = second_copy(&lab);
        let user = caller.command(&lab, BIN);
        // The same command, with the descriptor of a deleted file as its program.
        let words: Vec<_> = user.get_args().collect();
        let (before, _) = words.split_at(words.len().saturating_sub(1));
        let mut shell = Command::new("sh");
        let script = format!(
            "exec 9< {0}; rm {0}; \"$@\" /proc/self/fd/9 exec --trace one echo joined",
            binary.display()
        );
        shell.args(["-c", &script, "sh"]);
        if !words.is_empty() {
            shell.arg(user.get_program()).args(before);
        }
        let variables =
            user.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.env_clear().envs(variables).current_dir(lab.dir());
        let out = shell.output().unwrap();
        let trace = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.stdout, b"joined\n", "{trace}");
        assert!(trace.contains(file), "{trace}");
        remove(caller, &lab);
    }
}

#[test]
#[file_serial(machine)]
fn exec_reports_a_missing_proc() {
    let lab = Lab::new();
    let script = "mount --make-rprivate / && umount -l /proc && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", script].map(OsStr::new);
    let mut exec = lab.wrapped(&wrapper, BIN);
    let missing = contains("error: readlink(2) /proc/self/exe: ENOENT")
        .and(contains("hint: /proc must be mounted"));
    exec.args(["exec", "one", "true"]).assert().code(125).stderr(missing);
}

#[test]
#[file_serial(machine)]
fn exec_refuses_the_hosts_binary_through_any_path() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        // The user's binary is a copy in this directory.
        drop(Caller::User.command(&lab, BIN));
        let directory =
            if caller == Caller::User { lab.dir().to_owned() } else { bin_dir() };
        let volume = format!("{}:/v:ro", directory.display());
        start(caller, &lab, &["-v", &volume, "busybox", "sleep", "1000"]);
        let binary = format!("/v/{BIN}");
        for program in ["/proc/self/exe", &binary] {
            let out = caller
                .command(&lab, BIN)
                .args(["exec", "one", program])
                .output()
                .unwrap();
            assert_eq!(out.status.code(), Some(126), "{program}");
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(said.contains("leads to the host's own binary"), "{said}");
        }
        remove(caller, &lab);
    }
}

#[test]
#[file_serial(machine)]
fn attach_is_never_visible_in_the_container() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        start(caller, &lab, &["-ti", "busybox", "sh"]);
        let mut attach = caller.command(&lab, BIN);
        attach.args(["attach", "one"]);
        let mut terminal = Terminal::run(attach);
        // The only process of the container is this shell.
        terminal.type_keys("\necho /proc/[0-9]*/exe en''d\n");
        terminal.see("/proc/1/exe end\r\n");
        terminal.type_keys("\x10\x11");
        terminal.see("detached");
        terminal.end();
        remove(caller, &lab);
    }
}
