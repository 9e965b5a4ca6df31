//! ch03-run: all namespaces together, and a terminal.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use blackbox::{Lab, Terminal, probe};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::LocalFlags;
use nix::unistd::Pid;
use predicates::prelude::*;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn all_five_namespaces_are_new() {
    let lab = Lab::new();
    for kind in ["uts", "ipc", "pid", "mnt", "net"] {
        let mut run = lab.chapter("ch03-run");
        let link = format!("/proc/self/ns/{kind}");
        let outside = fs::read_link(&link).unwrap().display().to_string();
        let other = predicate::ne(format!("{outside}\n"));
        run.args(["run", "readlink", &link]).assert().success().stdout(other);
    }
}

#[test]
#[file_serial(machine)]
fn proc_shows_only_the_containers_processes() {
    let lab = Lab::new();
    for mut run in [lab.chapter("ch03-run"), lab.as_user("ch03-run")] {
        run.args([
            "run",
            "sh",
            "-c",
            "echo /proc/[0-9]*; grep ' /proc ' /proc/mounts",
        ]);
        let text = run.assert().success().get_output().stdout.clone();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("/proc/1\n"), "{text}");
        assert!(text.contains("proc /proc proc rw,nosuid,nodev,noexec"), "{text}");
    }
}

#[test]
#[file_serial(machine)]
fn the_hosts_proc_and_mounts_do_not_change() {
    let lab = Lab::new();
    let probe = probe();
    for kind in ["shared", "private"] {
        let mut run =
            lab.wrapped(&[probe.as_os_str(), OsStr::new(kind)], "ch03-run");
        run.args(["run", "true"]).assert().success();
    }
    assert!(fs::read_to_string("/proc/self/status").is_ok());
}

#[test]
#[file_serial(machine)]
fn run_without_a_command_starts_a_shell() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch03-run");
    run.arg("run").write_stdin("echo $0 $$\n").assert().success().stdout("sh 1\n");
}

#[test]
#[file_serial(machine)]
fn ti_keeps_the_plain_streams_if_the_caller_has_no_terminal() {
    let lab = Lab::new();
    for flags in ["-ti", "-it", "-t"] {
        let mut run = lab.chapter("ch03-run");
        run.args(["run", flags, "sh", "-c", "cat; echo err >&2; tty"]);
        let assert = run.write_stdin("typed\n").assert().code(1);
        assert.stdout("typed\nnot a tty\n").stderr("err\n");
    }
}

fn shell(lab: &Lab) -> Terminal {
    let mut command = lab.command(&[], "ch03-run");
    command.args(["run", "-ti", "sh"]).env("TERM", "vt100");
    let mut terminal = Terminal::run(command);
    // The prompt of busybox, dash or bash.
    terminal.see("# ");
    terminal
}

#[test]
#[file_serial(machine)]
fn the_container_has_its_own_terminal() {
    let lab = Lab::new();
    let mut terminal = shell(&lab);
    terminal
        .type_keys("tty; echo TERM=$TERM; ls /dev/pts | tr '\\n' ' '; echo end\n");
    terminal.see("/dev/pts/0");
    terminal.see("TERM=vt100");
    terminal.see("0 ptmx end");
    terminal.type_keys("exit 7\n");
    assert_eq!(terminal.end(), 7);
}

#[test]
#[file_serial(machine)]
fn changes_of_the_window_size_reach_the_container() {
    let lab = Lab::new();
    let mut terminal = shell(&lab);
    terminal.type_keys("stty size\n");
    terminal.see("24 80");
    terminal.resize(132, 50);
    // The program gets the new size by a signal, which may arrive later.
    terminal
        .type_keys("until stty size | grep -q 132; do sleep 0.1; done; stty size\n");
    terminal.see("50 132");
    terminal.type_keys("exit\n");
    assert_eq!(terminal.end(), 0);
}

#[test]
#[file_serial(machine)]
fn ctrl_c_reaches_the_foreground_program_once_and_not_the_shell() {
    let lab = Lab::new();
    let mut terminal = shell(&lab);
    let script = "n=0; trap 'n=$((n+1))' INT; echo rea''dy; i=0; \
                  while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; echo got $n";
    terminal.type_keys(&format!("sh -c '{}'\n", script.replace('\'', "'\\''")));
    terminal.see("ready");
    terminal.type_keys("\x03");
    terminal.see("got 1");
    terminal.type_keys("sleep 1000\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.type_keys("\x03");
    terminal.see("# ");
    terminal.type_keys("echo code $?\n");
    terminal.see("code 130");
    terminal.type_keys("exit\n");
    terminal.end();
}

#[test]
#[file_serial(machine)]
fn job_control_works() {
    let lab = Lab::new();
    let mut terminal = shell(&lab);
    terminal.type_keys("sleep 1000\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.type_keys("\x1a");
    terminal.see("Stopped");
    terminal.type_keys("jobs; kill %1; fg; echo over\n");
    terminal.see("over");
    terminal.type_keys("exit 0\n");
    terminal.end();
}

#[test]
#[file_serial(machine)]
fn the_users_terminal_is_restored_after_the_end() {
    let lab = Lab::new();
    // A shell outside, so that the terminal outlives the container.
    let mut terminal = outside(&lab);
    let cooked = terminal.modes();
    run_inside(&mut terminal);
    assert!(!terminal.modes().local_flags.contains(LocalFlags::ICANON));
    terminal.type_keys("word\n");
    terminal.see("outside$");
    assert_eq!(terminal.modes(), cooked);
    terminal.type_keys("echo code $?\n");
    terminal.see("code 3");
    terminal.type_keys("exit\n");
    terminal.end();
}

#[test]
#[file_serial(machine)]
fn the_users_terminal_is_restored_after_any_signal() {
    let lab = Lab::new();
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]
    {
        let mut terminal = outside(&lab);
        let cooked = terminal.modes();
        run_inside(&mut terminal);
        let supervisor = child_of(terminal.pid());
        let signal_it = || {
            let _ = kill(Pid::from_raw(supervisor), signal);
        };
        signal_it();
        // If the program ignores the first signal, the second kills it.
        std::thread::sleep(std::time::Duration::from_millis(300));
        signal_it();
        terminal.see("outside$");
        // A killed supervisor cannot restore the terminal. The guard process does this
        // immediately, but perhaps after the prompt of the shell.
        let start = std::time::Instant::now();
        while terminal.modes() != cooked {
            assert!(
                start.elapsed().as_secs() < 5,
                "{signal}: {:?}",
                terminal.modes()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        terminal.type_keys("exit\n");
        terminal.end();
    }
}

/// A shell that reads lines and does not change the terminal's modes. A shell that edits
/// lines saves the modes and sets them again later. If it saves them before the guard has
/// run, it saves those of a raw terminal. That race is the shell's, not the container's.
const OUTSIDE: &str = r#"
code=0
while printf 'outside$ '; read -r line; do
    eval "(exit $code); $line"
    code=$?
done"#;

fn outside(lab: &Lab) -> Terminal {
    let mut command = Command::new("sh");
    command.args(["-c", OUTSIDE]).env("MYDOCKER_ROOT", lab.state());
    let mut terminal = Terminal::run(command);
    terminal.see("outside$");
    terminal
}

fn run_inside(terminal: &mut Terminal) {
    let chapter = blackbox::bin_dir().join("ch03-run");
    let script = "echo in''side; read word; exit 3";
    terminal
        .type_keys(&format!("{} run -ti sh -c \"{script}\"\n", chapter.display()));
    terminal.see("inside");
}

/// The only child of a process.
fn child_of(pid: i32) -> i32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap();
    children.trim().parse().expect("one child")
}

#[test]
#[file_serial(machine)]
fn a_hangup_of_the_terminal_ends_the_shell_inside() {
    let lab = Lab::new();
    let terminal = shell(&lab);
    drop(terminal);
    // The lab waits until the processes have ended.
}

#[test]
#[file_serial(machine)]
fn large_output_arrives_completely() {
    let lab = Lab::new();
    let mut command = lab.command(&[], "ch03-run");
    command.args(["run", "-t", "sh", "-c", "seq 1 20000; echo the end"]);
    let mut terminal = Terminal::run(command);
    let before = terminal.see("the end");
    for number in ["1\r\n", "777\r\n", "19999\r\n", "20000\r\n"] {
        assert!(before.contains(number), "{number:?} is missing");
    }
    assert_eq!(before.lines().count(), 20000);
    terminal.end();
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    let mut help = lab.chapter("ch03-run");
    let out =
        help.args(["run", "--help"]).assert().success().get_output().stdout.clone();
    assert_snapshot!("ch03-run-help", String::from_utf8(out).unwrap());
}
