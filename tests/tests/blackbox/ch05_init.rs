//! ch05-init: `--init`, a small init process as the parent of the program.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::time::{Duration, Instant};

use blackbox::{Caller, Lab, Terminal, until};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serial_test::file_serial;

use crate::containers::{Detached, accounts, ok, run, sh};

const BIN: &str = "ch05-init";

#[test]
#[file_serial(machine)]
fn the_program_is_a_child_of_an_init_that_is_not_part_of_the_image() {
    // The two processes are in different sessions. 0 is a session from outside.
    let script = "echo $$ $PPID; cut -d ' ' -f 6 /proc/1/stat /proc/2/stat; \
                  cat /proc/1/comm; tr -d '\\0' < /proc/1/cmdline";
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let words = ["--init", "busybox", "sh", "-c", script];
        assert_eq!(ok(&lab, BIN, caller, &words), "2 1\n1\n0\ninit\ninit");
        let words = ["busybox", "sh", "-c", "echo $$ $PPID"];
        assert_eq!(ok(&lab, BIN, caller, &words), "1 0\n");
    }
}

#[test]
#[file_serial(machine)]
fn orphans_are_reaped_only_with_an_init() {
    let lab = Lab::new();
    // The children of the subshell are orphans when it ends.
    let script = "(sleep 0.1 & sleep 0.1 &); echo ready; exec sleep 1000";
    for (flags, zombies) in [(&["--init"][..], 0), (&[], 2)] {
        let one = [flags, &["busybox", "sh", "-c", script]].concat();
        let one = Detached::new(&lab, BIN, Caller::Root, &one);
        // Before this line there may be no orphan yet.
        until(|| one.ok(&["logs", "one"]).contains("ready"));
        // Both children are zombies, or none is. The program sleeps, and so does the init
        // if there is one. A child that is just starting is neither asleep nor a zombie.
        until(|| {
            let starting = one.count('R') + one.count('D');
            let sleeping = one.count('S');
            starting == 0 && sleeping == 1 + flags.len() && one.count('Z') == zombies
        });
    }
}

#[test]
#[file_serial(machine)]
fn a_program_without_a_handler_ends_immediately_on_stop() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let one = Detached::new(
            &lab,
            BIN,
            caller,
            &["--init", "busybox", "sleep", "1000"],
        );
        let begun = Instant::now();
        one.ok(&["stop", "one"]);
        // It would be killed after ten seconds.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert_eq!(one.ok(&["wait", "one"]), "143\n");
        drop(one);
        let one = Detached::new(&lab, BIN, caller, &["busybox", "sleep", "1000"]);
        one.ok(&["stop", "-t", "1", "one"]);
        assert_eq!(one.ok(&["wait", "one"]), "137\n");
    }
}

#[test]
#[file_serial(machine)]
fn the_init_forwards_each_signal_and_sigkill_ends_the_container() {
    let lab = Lab::new();
    let script = "for s in HUP INT QUIT USR1 USR2 TERM WINCH CONT; do
        trap \"echo $s\" $s; done; echo ready; while :; do sleep 0.05; done";
    let words = ["--init", "busybox", "sh", "-c", script];
    let one = Detached::new(&lab, BIN, Caller::Root, &words);
    let seen = || one.ok(&["logs", "one"]);
    until(|| seen() == "ready\n");
    let mut expected = "ready\n".to_owned();
    for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "CONT"] {
        one.ok(&["kill", "-s", signal, "one"]);
        expected += &format!("{signal}\n");
        until(|| seen() == expected);
    }
    one.ok(&["kill", "one"]);
    assert_eq!(one.ok(&["wait", "one"]), "137\n");
}

#[test]
#[file_serial(machine)]
fn the_init_returns_exit_statuses_and_exec_errors_of_the_program() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("kill -9 $$", 137),
            ("kill -TERM $$", 143),
            // The end of another process is not the end of the program.
            ("(exit 3) & wait; (sleep 0.1 &); sleep 0.2; exit 4", 4),
        ] {
            let words = ["--init", "busybox", "sh", "-c", script];
            run(&lab, BIN, caller, &words).assert().code(code).stdout("");
        }
        for (words, code, reason) in [
            (&["busybox", "no-such"][..], 127, "exec no-such: not found in PATH"),
            (&["busybox", "/etc/passwd"], 126, "it is not executable"),
            (&["busybox", "/proc/1/exe"], 126, "exec /proc/1/exe: "),
            (&["busybox", "/proc/self/exe"], 126, "the host's own binary"),
            (&["-u", "eve", "busybox", "true"], 125, "has no user eve"),
        ] {
            let words = [&["--init"], words].concat();
            let assert = run(&lab, BIN, caller, &words).assert();
            assert.code(code).stdout("").stderr(contains(reason));
            let words = [&["-d"], &words[..]].concat();
            let assert = run(&lab, BIN, caller, &words).assert();
            assert.code(code).stdout("").stderr(contains(reason));
        }
    }
}

#[test]
#[file_serial(machine)]
fn the_init_has_no_open_files_and_reveals_nothing_of_the_host() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let lab = lab;
    let words = ["--init", "busybox", "sleep", "1000"];
    let one = Detached::new(&lab, BIN, Caller::Root, &words);
    let open = |pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        entries.count()
    };
    assert_eq!((open(one.noted("process")), open(one.noted("program"))), (0, 3));
    let variables = fs::read(format!("/proc/{}/environ", one.noted("process")));
    assert!(variables.unwrap().iter().all(|byte| *byte == 0));
    drop(one);

    // A user that is not root outside can open neither the binary nor the memory of the
    // init.
    let script =
        "for file in exe cwd root; do readlink /proc/1/$file && echo $file; done
        for file in exe environ mem maps; do head -c 1 /proc/1/$file && echo $file; done
        ls /proc/1/fd > /dev/null && echo fd; true";
    let user = ["--init", "-u", "ann", "busybox", "sh", "-c", script];
    let root = ["--init", "busybox", "sh", "-c", script];
    for (caller, words) in [(Caller::Root, &user[..]), (Caller::User, &root)] {
        let out = run(&lab, BIN, caller, words).assert().success();
        assert_eq!(String::from_utf8_lossy(&out.get_output().stdout), "");
    }
    // The user can read this information of the program itself.
    let own = "readlink /proc/2/exe; head -c 0 /proc/2/maps";
    assert_eq!(sh(&lab, BIN, &["--init"], own), "/bin/busybox\n");
}

#[test]
#[file_serial(machine)]
fn a_privileged_program_cannot_write_to_the_hosts_binary() {
    let lab = Lab::new();
    // The binary is on its own read-only mount; see also host_binary.rs.
    let binary = lab.dir().join(BIN);
    fs::copy(blackbox::bin_dir().join(BIN), &binary).unwrap();
    let script = "echo evil > /proc/1/exe; echo $?";
    let mut run = assert_cmd::Command::new(&binary);
    run.env("MYDOCKER_ROOT", lab.state()).args(["run", "--rm", "--init"]);
    let out = run.args(["busybox", "sh", "-c", script]).assert().success();
    out.stdout("1\n").stderr(contains("Read-only file system"));
}

#[test]
#[file_serial(machine)]
fn exec_and_ps_work_with_an_init() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let words = ["--init", "-e", "A=run", "busybox", "sleep", "1000"];
        let one = Detached::new(&lab, BIN, caller, &words);
        let script = "echo $A; tr '\\0' ' ' < /proc/2/cmdline; echo; echo $PPID";
        let seen = one.ok(&["exec", "one", "sh", "-c", script]);
        assert_eq!(seen, "run\nsleep 1000 \n0\n");
        let listed = one.ok(&["ps", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert!(listed.to_string().contains(&one.noted("process").to_string()));
        // An orphan of a program of `exec` is reaped too.
        one.ok(&["exec", "one", "sh", "-c", "sleep 0.1 & true"]);
        until(|| one.count('Z') == 0 && one.count('S') == 2);
    }
}

#[test]
#[file_serial(machine)]
fn all_processes_are_killed_with_the_supervisor() {
    let lab = Lab::new();
    let script = "trap '' TERM INT HUP; sleep 1000 & while :; do sleep 1; done";
    let words = ["--init", "busybox", "sh", "-c", script];
    let one = Detached::new(&lab, BIN, Caller::Root, &words);
    let pids = ["process", "program"].map(|role| one.noted(role));
    kill(Pid::from_raw(one.noted("host")), Signal::SIGKILL).unwrap();
    until(|| {
        pids.iter().all(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_err())
    });
}

/// A shell with its own terminal, below an init.
fn shell(lab: &Lab, flags: &[&str]) -> Terminal {
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--rm", "-ti", "--init"]).args(flags);
    command.args(["busybox", "sh"]);
    Terminal::run(command)
}

#[test]
#[file_serial(machine)]
fn the_program_below_an_init_controls_the_terminal() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    for (flags, prompt) in [(&[][..], "/ # "), (&["-u", "ann"], "$ ")] {
        let mut terminal = shell(&lab, flags);
        terminal.see(prompt);
        terminal.type_keys("sleep 1000\n");
        terminal.see("sleep 1000");
        std::thread::sleep(Duration::from_millis(300));
        terminal.type_keys("\x03");
        terminal.see(prompt);
        terminal.type_keys("echo code $?\n");
        terminal.see("code 130");
        terminal.type_keys("sleep 1000\n");
        terminal.see("sleep 1000");
        std::thread::sleep(Duration::from_millis(300));
        terminal.type_keys("\x1a");
        terminal.see("Stopped");
        terminal.type_keys("kill %1; fg; echo ov''er\n");
        terminal.see("over");
        terminal.resize(132, 50);
        let wait = "until stty size | grep -q 132; do sleep 0.1; done; stty size\n";
        terminal.type_keys(wait);
        terminal.see("50 132");
        terminal.type_keys("exit 7\n");
        assert_eq!(terminal.end(), 7);
    }
}

#[test]
#[file_serial(machine)]
fn ctrl_c_ends_and_ctrl_z_does_not_stop_a_program_below_an_init() {
    let lab = Lab::new();
    // Not a shell, because a shell handles both keys itself.
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--rm", "-ti", "--init", "busybox", "cat"]);
    let mut terminal = Terminal::run(command);
    terminal.type_keys("one\n");
    terminal.see("one\r\none");
    // No process could continue a stopped program, so the kernel does not stop it.
    terminal.type_keys("\x1a");
    terminal.type_keys("two\n");
    terminal.see("two\r\ntwo");
    terminal.type_keys("\x03");
    assert_eq!(terminal.end(), 130);
}

#[test]
#[file_serial(machine)]
fn without_its_own_terminal_ctrl_c_reaches_the_program_once() {
    let lab = Lab::new();
    let script = "n=0; trap 'n=$((n+1))' INT; echo ready; i=0;
        while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; echo got $n";
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--rm", "--init", "busybox", "sh", "-c", script]);
    let mut terminal = Terminal::run(command);
    terminal.see("ready");
    terminal.type_keys("\x03");
    terminal.see("got 1");
    assert_eq!(terminal.end(), 0);
}

#[test]
#[file_serial(machine)]
fn a_hangup_of_the_terminal_ends_the_shell_below_an_init() {
    let lab = Lab::new();
    let mut terminal = shell(&lab, &[]);
    terminal.see("/ # ");
    drop(terminal);
    // The lab waits until the processes have ended.
}

#[test]
#[file_serial(machine)]
fn a_read_only_root_works_with_an_init() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let words = ["--init", "--read-only", "-w", "/made", "busybox", "sh", "-c"];
        let script = ["pwd; touch /x 2> /dev/null; echo $?"];
        let seen = ok(&lab, BIN, caller, &[&words[..], &script].concat());
        assert_eq!(seen, "/made\n1\n");
    }
}

#[test]
#[file_serial(machine)]
fn exec_reports_an_ending_init_and_not_a_later_error() {
    let lab = Lab::new();
    let one = Detached::new(
        &lab,
        BIN,
        Caller::Root,
        &["--init", "busybox", "sleep", "99"],
    );
    let file = one.state().join("running").join(&one.id);
    let before = fs::read_to_string(&file).unwrap();
    // As if the init was killed and the program was not yet: the PID has been reused by a
    // process that started later.
    let init = format!("process until-removed {} ", one.noted("process"));
    let own = format!("process until-removed {} ", std::process::id());
    fs::write(&file, before.replace(&init, &own)).unwrap();
    let why = "error: container one is not running: it is starting or ending\n";
    let mut exec = lab.chapter(BIN);
    exec.args(["exec", "-w", "/none", "one", "true"]).assert().code(125).stderr(why);
    fs::write(&file, before).unwrap();
}

#[test]
#[file_serial(machine)]
fn the_program_is_noted_before_the_init() {
    let lab = Lab::new();
    // `exec` joins the noted program, and the init if no program is noted.
    for (flags, init) in
        [(&[][..], "process until-removed "), (&["--rm"], "process until-exit ")]
    {
        let words = [flags, &["--init", "busybox", "sleep", "99"]].concat();
        let one = Detached::new(&lab, BIN, Caller::Root, &words);
        let file = one.state().join("running").join(&one.id);
        let text = fs::read_to_string(file).unwrap();
        let at = |note: &str| text.find(note).unwrap();
        assert!(at("\nprogram ") < at(init), "{text}");
    }
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    for (name, words) in
        [("ch05-init-help", &["--help"][..]), ("ch05-init-run-help", &["run", "-h"])]
    {
        let out = lab.chapter(BIN).args(words).assert().success();
        assert_snapshot!(name, String::from_utf8_lossy(&out.get_output().stdout));
    }
}
