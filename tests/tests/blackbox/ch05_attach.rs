//! ch05-attach: `run -d` with `-t` and `-i`, and `attach`.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Caller, Lab, Terminal, until};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::LocalFlags;
use nix::unistd::Pid;
use predicates::str::contains;
use serial_test::file_serial;

use crate::containers::{Detached, accounts};

const BIN: &str = "ch05-attach";

/// `attach` on a terminal, with these flags.
fn attached(lab: &Lab, flags: &[&str]) -> Terminal {
    let mut command = lab.command(&[], BIN);
    command.arg("attach").args(flags).arg("one");
    Terminal::run(command)
}

/// A detached shell with a terminal.
fn shell<'a>(lab: &'a Lab, flags: &[&str]) -> Detached<'a> {
    let words = [&["-ti"], flags, &["busybox", "sh"]].concat();
    Detached::new(lab, BIN, Caller::Root, &words)
}

/// Wait until the shell in the container answers. Earlier output is ignored.
fn greet(terminal: &mut Terminal) {
    terminal.type_keys("echo rea''dy\n");
    terminal.see("ready\r\n");
    terminal.see("# ");
}

#[test]
#[file_serial(machine)]
fn a_detached_program_may_have_a_terminal() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let script = "tty; echo err >&2; echo TERM=$TERM; echo again > /dev/tty; exit 7";
    let expected = "/dev/pts/0\r\nerr\r\nTERM=vt100\r\nagain\r\n";
    for (caller, flags) in [
        (Caller::Root, &["-t"][..]),
        (Caller::Root, &["-ti", "--init", "-u", "ann"]),
        (Caller::User, &["-ti"]),
    ] {
        let mut run = caller.chapter(&lab, BIN);
        run.env("TERM", "vt100");
        run.args(["run", "-d", "--name", "one"]).args(flags);
        run.args(["busybox", "sh", "-c", script]).assert().success();
        caller
            .chapter(&lab, BIN)
            .args(["wait", "one"])
            .assert()
            .success()
            .stdout("7\n");
        let mut logs = caller.chapter(&lab, BIN);
        logs.args(["logs", "one"]).assert().success().stdout(expected).stderr("");
        caller.chapter(&lab, BIN).args(["rm", "one"]).assert().success();
    }
    let mut run = lab.chapter(BIN);
    run.args(["run", "-d", "-ti", "busybox", "no-such"]).assert().code(127);
}

#[test]
#[file_serial(machine)]
fn an_attached_client_types_reads_and_detaches_from_a_running_program() {
    let lab = Lab::new();
    let one = shell(&lab, &[]);
    let mut terminal = attached(&lab, &[]);
    greet(&mut terminal);
    terminal.type_keys("stty size\n");
    terminal.see("24 80");
    terminal.resize(132, 50);
    terminal
        .type_keys("until stty size | grep -q 132; do sleep 0.1; done; stty size\n");
    terminal.see("50 132");
    terminal.type_keys("sleep 1000\n");
    sleep(Duration::from_millis(300));
    terminal.type_keys("\x03");
    terminal.see("# ");
    terminal.type_keys("sleep 1000\n");
    sleep(Duration::from_millis(300));
    terminal.type_keys("\x1a");
    terminal.see("Stopped");
    terminal.type_keys("kill %1; fg\n");
    terminal.see("# ");
    terminal.type_keys("x=\x10\x11");
    assert_eq!(terminal.end(), 0);
    assert!(one.ok(&["ps"]).contains("Up"));
    let mut terminal = attached(&lab, &[]);
    terminal.type_keys("1; echo $x; exit 7\n");
    terminal.see("1\r\n");
    assert_eq!(terminal.end(), 7);
    assert_eq!(one.ok(&["wait", "one"]), "7\n");
}

#[test]
#[file_serial(machine)]
fn a_client_that_attaches_within_a_line_sees_the_rest_of_it() {
    let lab = Lab::new();
    let script = "printf 'name? '; read -r name; exit 3";
    let words = ["-ti", "busybox", "sh", "-c", script];
    let one = Detached::new(&lab, BIN, Caller::Root, &words);
    until(|| one.ok(&["logs", "one"]) == "name? ");
    let mut terminal = attached(&lab, &[]);
    // From now on, only the terminal of the program echoes the keys.
    until(|| !terminal.modes().local_flags.contains(LocalFlags::ECHO));
    terminal.type_keys("Ann");
    terminal.see("Ann");
    terminal.type_keys("\n");
    assert_eq!(terminal.end(), 3);
}

#[test]
#[file_serial(machine)]
fn all_attached_clients_end_with_the_program() {
    let lab = Lab::new();
    for flags in [&[][..], &["--rm"], &["--init"]] {
        let one = shell(&lab, flags);
        let mut both = [attached(&lab, &[]), attached(&lab, &[])];
        let [first, second] = &mut both;
        greet(first);
        greet(second);
        second.type_keys("echo sec''ond\n");
        second.see("second\r\n");
        first.see("second\r\n");
        first.type_keys("exit 5\n");
        for terminal in both {
            assert_eq!(terminal.end(), 5);
        }
        if flags == ["--rm"] {
            std::mem::forget(one);
        }
    }
}

#[test]
#[file_serial(machine)]
fn the_detach_keys_can_be_changed_and_invalid_keys_are_refused() {
    let lab = Lab::new();
    let one = shell(&lab, &[]);
    let mut terminal = attached(&lab, &["--detach-keys", "ctrl-a,q"]);
    greet(&mut terminal);
    terminal.type_keys("echo \x10\x11 go''es on\n");
    terminal.see("goes on\r\n");
    terminal.type_keys("\x01q");
    terminal.see("detached: container one keeps running");
    assert_eq!(terminal.end(), 0);
    for (keys, reason) in [
        ("", "invalid key \"\""),
        ("ctrl-1", "invalid key \"ctrl-1\": expected ctrl- and a letter"),
        ("ctrl-p,", "invalid key \"\""),
        ("alt-x", "invalid key \"alt-x\""),
    ] {
        let mut attach = lab.chapter(BIN);
        attach.args(["attach", "--detach-keys", keys, "one"]);
        attach.assert().code(2).stdout("").stderr(contains(reason));
    }
    drop(one);
}

#[test]
#[file_serial(machine)]
fn the_users_terminal_is_restored_however_attach_ends() {
    let lab = Lab::new();
    let one = shell(&lab, &[]);
    // A shell of the user keeps the terminal open. It does not change the modes.
    let loop_ = "while printf 'outside$ '; read -r line; do eval \"$line\"; done";
    let mut outside = Command::new("sh");
    outside.args(["-c", loop_]).env("MYDOCKER_ROOT", lab.state());
    let mut terminal = Terminal::run(outside);
    terminal.see("outside$");
    let cooked = terminal.modes();
    let line = format!("{} attach one\n", blackbox::bin_dir().join(BIN).display());
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
        terminal.type_keys(&line);
        until(|| terminal.modes() != cooked);
        greet(&mut terminal);
        match signal {
            None => terminal.type_keys("\x10\x11"),
            Some(signal) => {
                let path = format!("/proc/{0}/task/{0}/children", terminal.pid());
                let children = fs::read_to_string(path).unwrap();
                let pid = children.trim().parse().unwrap();
                kill(Pid::from_raw(pid), signal).unwrap();
            }
        }
        terminal.see("outside$");
        until(|| terminal.modes() == cooked);
    }
    // The program still runs.
    assert_eq!(one.ok(&["exec", "one", "echo", "lives"]), "lives\n");
    terminal.type_keys("exit\n");
    terminal.end();
}

#[test]
#[file_serial(machine)]
fn a_stopped_client_does_not_block_the_program_or_other_clients() {
    let lab = Lab::new();
    let one = shell(&lab, &[]);
    let mut terminal = attached(&lab, &[]);
    greet(&mut terminal);
    let stopped = Pid::from_raw(terminal.pid());
    kill(stopped, Signal::SIGSTOP).unwrap();
    let mut other = attached(&lab, &[]);
    greet(&mut other);
    // This output is larger than the buffers of a pipe, a socket or a terminal.
    other.type_keys("seq 1 100000; exit 3\n");
    assert_eq!(one.ok(&["wait", "one"]), "3\n");
    let log = one.ok(&["logs", "one"]);
    assert!(log.contains("\r\n99999\r\n100000\r\n"));
    other.see("\r\n100000\r\n");
    assert_eq!(other.end(), 3);
    // The continued client still gets all the output.
    kill(stopped, Signal::SIGCONT).unwrap();
    let seen = terminal.see("\r\n100000\r\n");
    assert!(seen.ends_with("\r\n99998\r\n99999"));
    assert_eq!(terminal.end(), 3);
}

#[test]
#[file_serial(machine)]
fn without_a_terminal_streams_stay_separate_and_input_is_forwarded() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let script = "while read -r line; do echo out $line; echo err $line >&2; \
                      [ $line = end ] && exit 4; done; echo closed";
        let words = ["-i", "busybox", "sh", "-c", script];
        let one = Detached::new(&lab, BIN, caller, &words);
        let command = || {
            let root = caller == Caller::Root;
            let mut command =
                if root { lab.command(&[], BIN) } else { lab.user_command(BIN) };
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command
        };
        // The end of a client's input does not end the input of the program.
        let mut first =
            command().args(["attach", "one"]).stderr(Stdio::null()).spawn().unwrap();
        let mut keys = first.stdin.take().unwrap();
        keys.write_all(b"one\n").unwrap();
        drop(keys);
        let mut out = BufReader::new(first.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "out one\n");
        // A client that only reads.
        let read_only = ["attach", "--no-stdin", "one"];
        let mut second = command();
        second.args(read_only).stderr(Stdio::piped());
        let mut second = second.spawn().unwrap();
        second.stdin.take().unwrap().write_all(b"never\n").unwrap();
        sleep(Duration::from_millis(300));
        caller
            .chapter(&lab, BIN)
            .args(["attach", "one"])
            .write_stdin("two\nend\n")
            .assert()
            .code(4);
        assert_eq!(first.wait().unwrap().code(), Some(4));
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "out two\nout end\n");
        let seen = second.wait_with_output().unwrap();
        assert_eq!(seen.status.code(), Some(4));
        assert_eq!(String::from_utf8_lossy(&seen.stdout), "out two\nout end\n");
        let said = String::from_utf8_lossy(&seen.stderr);
        assert!(said.ends_with("err two\nerr end\n"), "{said}");
        assert!(!one.ok(&["wait", "one"]).contains("never"));
    }
}

#[test]
#[file_serial(machine)]
fn attach_ends_if_its_reader_closes_the_pipe() {
    let lab = Lab::new();
    let script = "while :; do echo line; sleep 0.1; done";
    let one =
        Detached::new(&lab, BIN, Caller::Root, &["busybox", "sh", "-c", script]);
    let mut attach = lab.command(&[], BIN);
    attach.args(["attach", "one"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut attach = attach.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(attach.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    assert_eq!((line.as_str(), attach.wait().unwrap().code()), ("line\n", Some(0)));
    assert!(one.ok(&["ps"]).contains("Up"));
}

#[test]
#[file_serial(machine)]
fn attach_forwards_signals_unless_sig_proxy_is_false() {
    let lab = Lab::new();
    let script = "trap 'echo got INT' INT; trap 'echo got TERM; exit 6' TERM; \
                  while :; do echo tick; sleep 0.1; done";
    let one =
        Detached::new(&lab, BIN, Caller::Root, &["busybox", "sh", "-c", script]);
    let mut terminal = attached(&lab, &["--sig-proxy=false"]);
    terminal.see("tick");
    terminal.type_keys("\x03");
    assert_eq!(terminal.end(), 130);
    let mut terminal = attached(&lab, &[]);
    terminal.see("tick");
    terminal.type_keys("\x03");
    terminal.see("got INT");
    kill(Pid::from_raw(terminal.pid()), Signal::SIGTERM).unwrap();
    terminal.see("got TERM");
    assert_eq!(terminal.end(), 6);
    assert_eq!(one.ok(&["logs", "one"]).matches("got INT").count(), 1);
}

#[test]
#[file_serial(machine)]
fn a_hangup_of_the_terminal_ends_only_the_attach() {
    let lab = Lab::new();
    // SIGHUP would end this program.
    for flags in [&["--init", "-ti"][..], &["--init", "-i"], &["--init"]] {
        let script = ["busybox", "sleep", "1000"];
        let words = [flags, &script].concat();
        let one = Detached::new(&lab, BIN, Caller::Root, &words);
        let terminal = attached(&lab, &[]);
        let gone = format!("/proc/{}/exe", terminal.pid());
        // Wait until it is attached and waits in poll(2).
        sleep(Duration::from_millis(300));
        drop(terminal);
        until(|| fs::read_link(&gone).is_err());
        assert!(one.ok(&["ps"]).contains("Up"));
    }
}

#[test]
#[file_serial(machine)]
fn attach_reports_why_it_cannot_attach() {
    let lab = Lab::new();
    let refused = |word: &str, flags: &[&str], reason: &str| {
        let mut attach = lab.chapter(BIN);
        attach.arg("attach").args(flags).arg(word).write_stdin("x");
        attach.assert().code(125).stdout("").stderr(contains(reason));
    };
    refused("none", &[], "container \"none\" not found");
    let mut front = lab.command(&[], BIN);
    front.args(["run", "--rm", "--name", "front", "busybox", "cat"]);
    let mut front = front.stdin(Stdio::piped()).spawn().unwrap();
    until(|| {
        let listed = lab.chapter(BIN).arg("ps").output().unwrap();
        String::from_utf8_lossy(&listed.stdout).contains("Up")
    });
    refused("front", &[], "container front runs in the foreground");
    drop(front.stdin.take());
    front.wait().unwrap();

    let one = shell(&lab, &[]);
    refused(
        "one",
        &[],
        "container one has a terminal, but standard input is not a terminal",
    );
    let host = Pid::from_raw(one.noted("host"));
    let socket = lab.state().join("containers").join(&one.id).join("attach");
    let about = socket.metadata().unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    one.ok(&["kill", "one"]);
    one.ok(&["wait", "one"]);
    assert!(!socket.exists());
    let why = "container one is not running: its program has ended with 137";
    refused("one", &["--no-stdin"], why);
    assert!(fs::read_link(format!("/proc/{host}/exe")).is_err());
    drop(one);

    let one = shell(&lab, &[]);
    let program = one.noted("process");
    kill(Pid::from_raw(one.noted("host")), Signal::SIGKILL).unwrap();
    until(|| fs::read_link(format!("/proc/{program}/exe")).is_err());
    refused("one", &[], "container one is not running: its supervisor was killed");
    let socket = lab.state().join("containers").join(&one.id).join("attach");
    assert!(socket.exists());
    // It is the only container, so the next start sweeps it.
    let mut next = lab.chapter(BIN);
    next.args(["run", "--rm", "busybox", "true"]).assert().success();
    assert!(!socket.exists());
}

#[test]
#[file_serial(machine)]
fn prune_sweeps_the_containers_of_killed_supervisors_with_their_sockets() {
    let lab = Lab::new();
    // The note of the socket is in the lock file with and without `--rm`.
    for flags in [&["-ti"][..], &["-i", "--rm"]] {
        let words = [flags, &["busybox", "cat"]].concat();
        let one = Detached::new(&lab, BIN, Caller::Root, &words);
        let lock = lab.state().join("running").join(&one.id);
        let dir = lab.state().join("containers").join(&one.id);
        let notes = fs::read_to_string(&lock).unwrap();
        assert!(notes.contains("\nsocket attach\n"), "{notes}");
        let program = one.noted("process");
        kill(Pid::from_raw(one.noted("host")), Signal::SIGKILL).unwrap();
        until(|| fs::read_link(format!("/proc/{program}/exe")).is_err());
        assert!(dir.join("attach").exists());
        one.ok(&["prune"]);
        assert!(!dir.exists() && !lock.exists());
        assert!(!lab.state().join("names/one").is_symlink());
        assert_eq!(one.ok(&["prune"]), "");
        std::mem::forget(one);
    }
}

#[test]
#[file_serial(machine)]
fn attach_works_with_a_long_path_of_the_state_directory() {
    let mut lab = Lab::new();
    let long = lab.state().join("x".repeat(120));
    fs::create_dir(&long).unwrap();
    lab.update_snapshot();
    let chapter = |words: &[&str]| {
        let mut command = lab.chapter(BIN);
        let out =
            command.env("MYDOCKER_ROOT", &long).args(words).write_stdin("word\n");
        let out = out.assert().success();
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    };
    chapter(&["run", "-d", "-i", "--name", "one", "busybox", "head", "-n", "1"]);
    assert_eq!(chapter(&["attach", "one"]), "word\n");
    chapter(&["rm", "one"]);
    fs::remove_dir_all(&long).unwrap();
    lab.update_snapshot();
}

#[test]
#[file_serial(machine)]
fn an_idle_supervisor_with_a_terminal_uses_little_memory_and_never_wakes_up() {
    let lab = Lab::new();
    let one = shell(&lab, &["--init"]);
    let mut terminal = attached(&lab, &[]);
    greet(&mut terminal);
    let host = one.noted("host");
    let status = |field: &str| {
        let status = fs::read_to_string(format!("/proc/{host}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    let open = || fs::read_dir(format!("/proc/{host}/fd")).unwrap().count();
    let before = open();
    for _ in 0..5 {
        let mut visit = attached(&lab, &[]);
        greet(&mut visit);
        visit.type_keys("\x10\x11");
        visit.end();
    }
    assert_eq!(open(), before);
    sleep(Duration::from_millis(300));
    let switches = status("voluntary_ctxt_switches");
    sleep(Duration::from_secs(2));
    assert_eq!(status("voluntary_ctxt_switches"), switches);
    let rollup = fs::read_to_string(format!("/proc/{host}/smaps_rollup")).unwrap();
    // Do not use Private_Dirty: it includes the binary itself if that is on a tmpfs.
    let own = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = own.unwrap().trim().trim_end_matches(" kB").parse::<u32>().unwrap();
    assert!(kib < 256, "{rollup}");
    terminal.type_keys("\x10\x11");
    terminal.end();
}

#[test]
#[file_serial(machine)]
fn a_program_may_close_its_terminal_and_open_it_again() {
    let lab = Lab::new();
    let script = "trap '' HUP; exec < /dev/null > /dev/null 2>&1; sleep 1.5; \
                  echo again > /dev/tty; sleep 0.2; exit 2";
    let words = ["-t", "busybox", "sh", "-c", script];
    let one = Detached::new(&lab, BIN, Caller::Root, &words);
    let (host, program) = (one.noted("host"), one.noted("process"));
    let stderr = format!("/proc/{program}/fd/2");
    until(|| fs::read_link(&stderr).is_ok_and(|path| path.ends_with("null")));
    // The processor time in hundredths of a second.
    let busy = || {
        let stat = fs::read_to_string(format!("/proc/{host}/stat")).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u32>().unwrap()).sum::<u32>()
    };
    let before = busy();
    sleep(Duration::from_secs(1));
    assert!(busy() - before < 10, "{before} {}", busy());
    assert_eq!(one.ok(&["wait", "one"]), "2\n");
    assert_eq!(one.ok(&["logs", "one"]), "again\r\n");
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    for (name, words) in [
        ("ch05-attach-help", &["--help"][..]),
        ("ch05-attach-run-help", &["run", "-h"]),
        ("ch05-attach-attach-help", &["attach", "-h"]),
    ] {
        let out = lab.chapter(BIN).args(words).assert().success();
        assert_snapshot!(name, String::from_utf8_lossy(&out.get_output().stdout));
    }
}
