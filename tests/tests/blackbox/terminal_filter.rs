//! A program of a container cannot type into a terminal of the host.
//!
//! These tests create the conditions under which the program could type without the
//! filter, and check them: the same program can type when it runs outside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use blackbox::{Caller, Lab, Terminal, only, probe, state_of, until};
use serial_test::file_serial;

const BIN: &str = "ch05-attach";

/// The input that a program tries to type. The screen shows INJECTED only if a shell
/// executes it.
const TYPED: &str = "echo INJ''ECTED\n";

/// Enables TIOCSTI, which can be disabled since Linux 6.2, and which distributions disable.
/// Drop restores the setting.
struct LegacyTiocsti(Option<String>);

const SWITCH: &str = "/proc/sys/dev/tty/legacy_tiocsti";

impl LegacyTiocsti {
    fn on() -> LegacyTiocsti {
        let before = fs::read_to_string(SWITCH).ok();
        if before.is_some() {
            fs::write(SWITCH, "1").unwrap();
        }
        LegacyTiocsti(before)
    }
}

impl Drop for LegacyTiocsti {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(SWITCH, before);
        }
    }
}

/// A directory with the probe, for `-v`.
fn volume(lab: &Lab) -> String {
    let directory = lab.dir().join("bin");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(probe(), directory.join("probe")).unwrap();
    format!("{}:/v:ro", directory.display())
}

/// A command as a line for a shell.
fn line(mut command: Command, words: &[&str]) -> String {
    command.args(words);
    let quoted = |word: &OsStr| {
        let word = String::from_utf8(word.as_bytes().to_vec()).unwrap();
        format!("'{}'", word.replace('\'', "'\\''"))
    };
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_str()?, quoted(value?)))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = variables.chain(words.map(quoted));
    format!("env -i {}", words.collect::<Vec<_>>().join(" "))
}

/// The caller: a shell that is the leader of its session and controls its terminal.
struct CallingShell {
    terminal: Terminal,
    script: PathBuf,
}

impl CallingShell {
    fn new(lab: &Lab) -> CallingShell {
        let mut command = Command::new("sh");
        let prompt =
            "while printf 'caller$ '; read -r line; do eval \"$line\"; done";
        command.args(["-c", prompt]).current_dir(lab.dir());
        let mut terminal = Terminal::run(command);
        terminal.see("caller$ ");
        CallingShell { terminal, script: lab.dir().join("line") }
    }

    /// Run a line. Returns the text on the screen until the shell has also executed the
    /// input that was typed meanwhile.
    fn run(&mut self, line: &str) -> String {
        fs::write(&self.script, line).unwrap();
        self.terminal.type_keys(&format!(". {}\n", self.script.display()));
        let mut seen = self.terminal.see("typed\r\n");
        // The input of an attack is before this line in the queue.
        self.terminal.type_keys("echo en''d\n");
        seen += &self.terminal.see("end\r\n");
        self.terminal.see("caller$ ");
        seen
    }
}

/// Assert that nothing was typed: the shell executed nothing, and each ioctl(2) failed with
/// EPERM.
#[track_caller]
fn refused(seen: &str, what: &str) {
    assert!(!seen.contains("INJECTED"), "{what}: {seen}");
    assert!(!seen.contains("TIOC"), "{what}: {seen}");
}

#[test]
#[file_serial(machine)]
fn no_program_can_type_into_the_callers_terminal() {
    let _legacy = LegacyTiocsti::on();
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let volume = volume(&lab);
        let mut shell = CallingShell::new(&lab);
        // Check the conditions: outside, the same program can type.
        let outside = format!("{} type \"{TYPED}\"", probe().display());
        let seen = shell.run(&outside);
        assert!(seen.contains("INJECTED\r\n"), "{seen}");
        assert!(seen.contains("0 TIOCSTI native: done"), "{seen}");
        assert!(seen.contains("/dev/tty TIOCSTI upper half: done"), "{seen}");
        assert!(seen.contains("TIOCLINUX native: ENOTTY"), "{seen}");

        let attack = ["busybox", "/v/probe", "type", TYPED];
        for flags in [&[][..], &["--init"]] {
            let words = [&["run", "--rm", "-v", &volume], flags, &attack].concat();
            refused(
                &shell.run(&line(caller.command(&lab, BIN), &words)),
                &format!("{flags:?}"),
            );
        }
        // A program that `exec` starts from a terminal in a detached container.
        let held = ["-v", &volume, "busybox", "sleep", "1000"];
        let mut run = caller.command(&lab, BIN);
        run.args(["run", "-d", "--name", "one"]).args(held);
        assert!(run.output().unwrap().status.success());
        let words = ["exec", "one", "/v/probe", "type", TYPED];
        refused(&shell.run(&line(caller.command(&lab, BIN), &words)), "exec");
        if caller == Caller::Root {
            let words = ["exec", "-u", "1234", "one", "/v/probe", "type", TYPED];
            refused(&shell.run(&line(caller.command(&lab, BIN), &words)), "exec -u");
        }
        assert!(
            caller
                .command(&lab, BIN)
                .args(["rm", "-f", "one"])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
}

#[test]
#[file_serial(machine)]
fn run_of_every_chapter_has_the_filter() {
    let _legacy = LegacyTiocsti::on();
    let lab = Lab::new();
    let mut shell = CallingShell::new(&lab);
    // The chapters whose containers see the host's filesystem.
    let probe = probe();
    let probe = probe.to_str().unwrap();
    for chapter in ["ch02-uts", "ch02-pid", "ch03-run", "ch03-limits"] {
        let command = lab.command(&[], chapter);
        let words = ["run", probe, "type", TYPED];
        refused(&shell.run(&line(command, &words)), chapter);
    }
}

#[test]
#[file_serial(machine)]
fn a_program_without_a_terminal_cannot_type_into_that_of_an_exec() {
    let _legacy = LegacyTiocsti::on();
    let lab = Lab::new();
    let volume = volume(&lab);
    // The program has all capabilities, so it can open the files of other processes.
    let script = "while :; do for p in /proc/[0-9]*; do case $(readlink $p/fd/0) in \
                  /dev/pts/*) /v/probe type \"$0\" $p/fd/0; : > /tried; exec sleep 1000;; \
                  esac; done; done";
    let mut run = lab.command(&[], BIN);
    run.args(["run", "-d", "--name", "one", "-v", &volume, "busybox", "sh", "-c"]);
    assert!(run.args([script, TYPED]).output().unwrap().status.success());
    let mut shell = CallingShell::new(&lab);
    let words =
        ["exec", "one", "sh", "-c", "until [ -e /tried ]; do :; done; echo typed"];
    refused(&shell.run(&line(lab.command(&[], BIN), &words)), "exec");
    let logs = lab.command(&[], BIN).args(["logs", "one"]).output().unwrap();
    let logs = String::from_utf8(logs.stdout).unwrap();
    assert!(logs.contains("typed\n"), "{logs}");
    refused(&logs, "the container");
    lab.chapter(BIN).args(["rm", "-f", "one"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn an_init_has_the_filter_and_setuid_programs_still_work() {
    let lab = Lab::new();
    for caller in Caller::BOTH {
        let mut run = caller.command(&lab, BIN);
        let script =
            "grep '^Seccomp:\\|NoNewPrivs' /proc/1/status /proc/self/status";
        run.args(["run", "--rm", "--init", "busybox", "sh", "-c", script]);
        let out = run.output().unwrap();
        let seen = String::from_utf8(out.stdout).unwrap();
        let expected = "/proc/1/status:NoNewPrivs:\t0\n/proc/1/status:Seccomp:\t2\n\
                        /proc/self/status:NoNewPrivs:\t0\n/proc/self/status:Seccomp:\t2\n";
        assert_eq!(seen, expected);
    }
    // Without no_new_privs a setuid program has the rights of its owner.
    let volume = volume(&lab);
    let script =
        "cp /v/probe /setuid; chmod 4755 /setuid; : > /ready; exec sleep 1000";
    let mut run = lab.chapter(BIN);
    run.args(["run", "-d", "--name", "one", "-v", &volume, "busybox", "sh", "-c"]);
    run.arg(script).assert().success();
    let exec = |words: &[&str]| {
        let mut exec = lab.chapter(BIN);
        exec.arg("exec").args(words);
        exec
    };
    until(|| {
        exec(&["one", "test", "-e", "/ready"]).output().unwrap().status.success()
    });
    let effective = exec(&["-u", "1234", "one", "/setuid", "euid"]).assert();
    effective.success().stdout("0\n");
    lab.chapter(BIN).args(["rm", "-f", "one"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn exec_has_the_filter_before_it_enters_the_container() {
    let lab = Lab::new();
    let mut run = lab.chapter(BIN);
    run.args(["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    run.assert().success();
    let mut exec = lab.chapter(BIN);
    let out = exec.args(["exec", "--trace", "one", "true"]).output().unwrap();
    let trace = String::from_utf8(out.stderr).unwrap();
    let at =
        |call: &str| trace.find(call).unwrap_or_else(|| panic!("{call}: {trace}"));
    assert!(at("seccomp(2)") < at("setns(2)"), "{trace}");
    assert_eq!(trace.matches("seccomp(2)").count(), 1, "{trace}");
    lab.chapter(BIN).args(["rm", "-f", "one"]).assert().success();
}

/// The PID of the program of the only container; with an init, of its child.
fn program(lab: &Lab, init: bool) -> i32 {
    let (_, up) = only(lab.chapter(BIN));
    let first = i32::try_from(up["pid"].as_i64().unwrap()).unwrap();
    if !init {
        return first;
    }
    let children = format!("/proc/{first}/task/{first}/children");
    fs::read_to_string(children).unwrap().trim().parse().unwrap()
}

#[test]
#[file_serial(machine)]
fn ctrl_c_ctrl_z_and_fg_of_a_plain_run_work() {
    let lab = Lab::new();
    for flags in [&[][..], &["--init"]] {
        let init = !flags.is_empty();
        // The shell of busybox has job control on every machine.
        let mut shell = Command::new(lab.image().join("bin/busybox"));
        shell.args(["sh", "-i"]).env("PS1", "caller$ ").env_remove("ENV");
        let mut terminal = Terminal::run(shell);
        terminal.see("caller$ ");
        let script = "echo rea''dy; exec head -n 1";
        let words = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]];
        let run = lab.dir().join("line");
        fs::write(&run, line(lab.command(&[], BIN), &words.concat())).unwrap();
        let run = format!("sh {}\n", run.display());

        // Ctrl-Z also stops PID 1, which the kernel does not do.
        terminal.type_keys(&run);
        terminal.see("ready");
        let program = program(&lab, init);
        until(|| terminal.foreground() != terminal.pid());
        terminal.type_keys("\x1a");
        until(|| state_of(program) == Some('T'));
        until(|| terminal.foreground() == terminal.pid());
        terminal.type_keys("\n");
        terminal.see("Stopped");
        terminal.type_keys("fg\n");
        until(|| terminal.foreground() != terminal.pid());
        terminal.type_keys("again\n");
        // The terminal does not show what is typed.
        terminal.see("again\r\n");
        until(|| terminal.foreground() == terminal.pid());

        terminal.type_keys(&run);
        terminal.see("ready");
        terminal.type_keys("\x03");
        until(|| terminal.foreground() == terminal.pid());
        terminal.type_keys("echo code $?\n");
        terminal.see("code 130");
        terminal.type_keys("exit\n");
        terminal.end();
    }
}
