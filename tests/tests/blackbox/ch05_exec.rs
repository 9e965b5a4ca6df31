//! ch05-exec: a second program in a running container.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use blackbox::{
    Caller, Lab, One, Terminal, assert_devices_unchanged, cgroup_roots, is_alone,
    probe, state_of, until,
};
use insta::assert_snapshot;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch05-exec";

#[test]
#[file_serial(machine)]
fn exec_runs_in_the_same_environment_as_the_first_program() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let limits: &[&str] =
            if caller == Caller::Root { &["-m", "50m"] } else { &[] };
        let flags = [limits, &["--hostname", "box"]].concat();
        let one = One::new(
            &lab,
            caller,
            &flags,
            "echo text > /file; mkdir /tmp/m; mount -t tmpfs none /tmp/m; : > /tmp/m/in",
        );
        // Namespaces, groups, root, working directory, environment.
        for what in [
            "ls -l NS | sed 's/.* //'",
            "cat PROC/cgroup",
            "cat PROC/mountinfo",
            "readlink PROC/root; readlink PROC/cwd",
        ] {
            let of = |proc: &str| {
                let what = what.replace("NS", "PROC/ns/");
                one.sh(&what.replace("PROC", proc))
            };
            let (first, second) = (of("/proc/1"), of("/proc/self"));
            assert_eq!(first, second, "{what}");
            assert!(!first.trim().is_empty(), "{what}");
        }
        // Without a shell, because a shell changes the signals.
        let pattern = "[UG]id\\|Groups\\|Cap\\|Umask\\|Sig[IB]\\|NoNew";
        let of = |proc: &str| one.ok(&["one", "grep", pattern, proc]);
        assert_eq!(of("/proc/1/status"), of("/proc/self/status"));
        let variables = "sort | grep -v '^SHLVL\\|^PWD'";
        let first =
            one.sh(&format!("tr '\\0' '\\n' < /proc/1/environ | {variables}"));
        assert_eq!(one.sh(&format!("env | {variables}")), first);
        assert!(first.contains("HOSTNAME=box"), "{first}");
        assert_eq!(
            one.sh("hostname; cat /file; ls /tmp/m; pwd; id -u"),
            "box\ntext\nin\n/\n0\n"
        );
        // It is neither the first program nor one of its children.
        let seen = one.sh("echo $$ $PPID");
        let (own, parent) = seen.trim().split_once(' ').unwrap();
        assert!(own.parse::<u32>().unwrap() > 1 && parent == "0", "{seen}");
    }
}

#[test]
#[file_serial(machine)]
fn exec_returns_the_exit_status_of_the_program() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let one = One::new(&lab, caller, &[], "");
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("kill -9 $$", 137),
            ("kill -TERM $$", 143),
        ] {
            one.exec(&["one", "sh", "-c", script]).assert().code(code).stderr("");
        }
        let missing = contains("error: exec no-such: not found in PATH=");
        one.exec(&["one", "no-such"]).assert().code(127).stderr(missing);
        let missing =
            contains("error: exec /no/such: file not found in the container");
        one.exec(&["one", "/no/such"]).assert().code(127).stderr(missing);
        let refused = contains("error: exec /etc/passwd: it is not executable");
        one.exec(&["one", "/etc/passwd"]).assert().code(126).stderr(refused);
        one.exec(&["one", "/etc"])
            .assert()
            .code(126)
            .stderr(contains("it is a directory"));
        one.exec(&["-d", "one", "no-such"]).assert().code(127);
        // Standard input is forwarded, and both outputs are separate.
        let mut cat = one.exec(&["one", "sh", "-c", "cat; echo err >&2"]);
        cat.write_stdin("in").assert().success().stdout("in").stderr("err\n");
    }
}

#[test]
#[file_serial(machine)]
fn exec_passes_arguments_and_variables_unchanged() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &[], "");
    let words: [&[u8]; 7] =
        [b"a b", b"'\"", b"", b"line\nline", b"\xff\xfe", b"-x", b"$HOME"];
    let mut command = one.exec(&["one", "sh", "-c", "printf '<%s>' \"$@\"", "sh"]);
    let command = command.args(words.map(OsStr::from_bytes));
    let expected: Vec<u8> =
        words.iter().flat_map(|word| [b"<", *word, b">"].concat()).collect();
    command.assert().success().stdout(expected);
    // Options end at the name of the container.
    assert_eq!(one.ok(&["one", "echo", "-e", "-w", "--detach"]), "-w --detach\n");

    let mut command = one.exec(&[
        "-e", "A=1", "--env", "A= b=c", "-e", "HOST", "-e", "NONE", "-e=E=", "-e",
    ]);
    command
        .arg(OsStr::from_bytes(b"B=\xff\n"))
        .env("HOST", "from outside")
        .env("LEAK", "x");
    command.args(["one", "env"]);
    let out = command.assert().success();
    let seen = [b"\n", &out.get_output().stdout[..]].concat();
    let has = |text: &[u8]| seen.windows(text.len()).any(|window| window == text);
    for line in [
        &b"\nA= b=c\n"[..],
        b"\nHOST=from outside\n",
        b"B=\xff\n\n",
        b"E=\n",
        b"PATH=/usr/local/sbin:",
    ] {
        assert!(has(line), "{line:?} in {seen:?}");
    }
    assert!(!has(b"LEAK") && !has(b"NONE") && !has(b"A=1"), "{seen:?}");
    let refused = contains("a variable needs a name: KEY=VALUE");
    one.exec(&["-e", "=x", "one", "true"]).assert().code(2).stderr(refused);

    assert_eq!(one.ok(&["-w", "/tmp", "one", "pwd"]), "/tmp\n");
    let missing = contains("error: chdir(2) /none: ENOENT");
    one.exec(&["-w", "/none", "one", "pwd"]).assert().code(125).stderr(missing);
}

#[test]
#[file_serial(machine)]
fn exec_is_subject_to_the_containers_limits() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &["-m", "20m", "-pids", "5"], "");
    one.exec(&["one", "tail", "/dev/zero"]).assert().code(137);
    // The machine may lack memory too, but it does not lack PIDs.
    let many = "for i in 1 2 3 4 5 6; do sleep 1 & done; wait";
    let mut exec = one.exec(&["one", "sh", "-c", many]);
    exec.assert().stderr(contains("can't fork"));
    assert_eq!(one.sh("echo alive"), "alive\n");
}

#[test]
#[file_serial(machine)]
fn exec_refuses_a_container_that_is_not_running() {
    let lab = Lab::new();
    let text = |words: &[&str]| {
        let out =
            lab.chapter(BIN).arg("exec").args(words).assert().code(125).stdout("");
        String::from_utf8(out.get_output().stderr.clone()).unwrap()
    };
    let mut run = lab.chapter(BIN);
    run.args(["run", "--name", "one", "busybox", "sh", "-c", "exit 3"])
        .assert()
        .code(3);
    assert_snapshot!(text(&["one", "true"]), @"error: container one is not running: its program has ended with 3");
    assert_snapshot!(text(&["none", "true"]), @r#"error: container "none" not found: give a name or an ID"#);
    lab.chapter(BIN).args(["rm", "one"]).assert().success();

    let mut one = One::new(&lab, Caller::Root, &[], "");
    let noted = lab.state().join("running").join(one.id().unwrap());
    // The PID has been reused by a process that started later.
    let before = fs::read_to_string(&noted).unwrap();
    let own = std::process::id().to_string();
    fs::write(&noted, before.replace(&one.pid().to_string(), &own)).unwrap();
    assert_snapshot!(text(&["one", "true"]), @"error: container one is not running: it is starting or ending");
    fs::write(&noted, before).unwrap();
    one.exec(&["one", "true"]).assert().success();

    // The program has ended, and the supervisor has not noticed it yet.
    let host = Pid::from_raw(one.host.id() as i32);
    kill(host, Signal::SIGSTOP).unwrap();
    let program = one.pid();
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    until(|| state_of(program) == Some('Z'));
    assert_snapshot!(text(&["one", "true"]), @"error: container one is not running: it is starting or ending");
    kill(host, Signal::SIGCONT).unwrap();
    assert!(!one.host.wait().unwrap().success());
    lab.chapter(BIN).args(["rm", "one"]).assert().success();

    let mut one = One::new(&lab, Caller::Root, &[], "");
    one.stop();
    assert_snapshot!(text(&["one", "true"]), @"error: container one is not running: its supervisor was killed");
    // There are at most two lock files, so the next start sweeps it. The error is the
    // same afterwards.
    let mut next = lab.chapter(BIN);
    next.args(["run", "--rm", "busybox", "true"]).assert().success();
    assert_snapshot!(text(&["one", "true"]), @"error: container one is not running: its supervisor was killed");
}

#[test]
#[file_serial(machine)]
fn the_program_of_exec_is_killed_with_its_supervisor() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let one = One::new(&lab, caller, &[], "");
        let mut command = caller.command(&lab, BIN);
        command.args(["exec", "one", "sh", "-c", ": > /there; exec sleep 998"]);
        let mut exec = command.spawn().unwrap();
        until(|| one.sh("ls /there 2> /dev/null; true") == "/there\n");
        kill(Pid::from_raw(exec.id() as i32), Signal::SIGKILL).unwrap();
        exec.wait().unwrap();
        until(|| is_alone(&one));
    }
}

#[test]
#[file_serial(machine)]
fn exec_passes_no_file_descriptors_of_the_host() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let volume = format!("{}:/v:ro", probe().parent().unwrap().display());
        let one = One::new(&lab, caller, &["-v", &volume], "");
        let probe = format!("/v/{}", probe().file_name().unwrap().display());
        let mut command = Command::new("sh");
        let exec = one.caller.command(&lab, BIN);
        command.arg("-c").arg("exec \"$@\" 7< / 8> leak 9<> leak").arg("sh");
        command.arg(exec.get_program()).args(exec.get_args());
        command.args(["exec", "one", &probe, "fds"]).current_dir(lab.dir());
        command.env_clear().stdin(Stdio::null());
        for (key, value) in exec.get_envs() {
            command.env(key, value.unwrap());
        }
        let out = command.output().unwrap();
        let seen = String::from_utf8(out.stdout).unwrap();
        let numbers: Vec<&str> = seen.lines().map(|line| &line[..2]).collect();
        assert_eq!(numbers, ["0 ", "1 ", "2 "], "{seen} {:?}", out.stderr);
    }
}

#[test]
#[file_serial(machine)]
fn exec_refuses_a_program_that_leads_to_the_hosts_own_binary() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let script = "ln -s /proc/self/exe /bin/evil; ln -s /proc/thread-self/exe /bin/evil2
            printf '#!/proc/self/exe exec\\n' > /bin/script; printf '#!/bin/script x\\n' > /bin/twice
            chmod +x /bin/script /bin/twice";
        let one = One::new(&lab, caller, &[], script);
        for program in ["evil", "evil2", "script", "twice", "/proc/self/exe"] {
            let refused = contains(
                "leads to the host's own binary, which a container must not run",
            );
            one.exec(&["one", program])
                .assert()
                .code(126)
                .stdout("")
                .stderr(refused);
        }
    }
}

#[test]
#[file_serial(machine)]
fn the_container_never_sees_the_hosts_binary_during_exec() {
    // Root inside is this user outside, and may open the same files. It must therefore
    // never see a process whose executable is the host's binary.
    let lab = Lab::new();
    let binary = lab.dir().join(BIN);
    drop(lab.user_command(BIN));
    let volume = format!("{}:/v:ro", binary.parent().unwrap().display());
    // A process that does not run busybox is the helper of `exec`. Each check is made
    // twice, because the process may execute the program or end between two checks.
    let scan = "while :; do for p in /proc/[0-9]*; do
            ! [ $p/exe -ef /bin/busybox ] && [ -e $p/exe ] &&
            ! [ $p/exe -ef /bin/busybox ] && [ -e $p/exe ] && echo $p >> /seen
        done; done > /dev/null 2>&1 &";
    let one = One::new(&lab, Caller::User, &["-v", &volume], scan);
    for _ in 0..40 {
        one.exec(&["one", "true"]).assert().success();
    }
    assert_eq!(one.sh("cat /seen 2> /dev/null; true"), "");
    // The scan works: it finds the same binary when the container itself runs it.
    one.sh("until [ -s /seen ]; do /v/ch05-exec --help > /dev/null; done");
}

#[test]
#[file_serial(machine)]
fn exec_runs_scripts_as_the_kernel_does() {
    let lab = Lab::new();
    let script = r#"
        printf '#! /bin/sh -e \necho "$0" "$@"; echo $-; false; echo not here\n' > /bin/with
        printf '#!/bin/with one two\n' > /bin/nested
        printf '#!/no/such\n' > /bin/lost; printf '#!/bin/loop\n' > /bin/loop
        printf 'echo no line\n' > /bin/plain
        chmod +x /bin/with /bin/nested /bin/lost /bin/loop /bin/plain"#;
    let one = One::new(&lab, Caller::Root, &[], script);
    let both = |words: &[&str]| {
        let joined = one.exec(&[&["one"], words].concat()).output().unwrap();
        // The same script, executed by the kernel from inside.
        let line = "exec \"$@\"";
        let inner = one
            .exec(&[&["one", "sh", "-c", line, "sh"], words].concat())
            .output()
            .unwrap();
        (joined, inner)
    };
    for words in [&["with", "a b", ""][..], &["/bin/nested", "x"]] {
        let (joined, inner) = both(words);
        assert_eq!(joined.stdout, inner.stdout, "{words:?}");
        assert_eq!(joined.status.code(), inner.status.code(), "{words:?}");
        assert!(!joined.stdout.is_empty(), "{words:?}");
    }
    let lost =
        contains("exec /bin/lost: it exists, but its interpreter or dynamic loader");
    one.exec(&["one", "/bin/lost"]).assert().code(126).stderr(lost);
    one.exec(&["one", "loop"]).assert().code(126).stderr(contains("ELOOP"));
    one.exec(&["one", "plain"])
        .assert()
        .code(126)
        .stderr(contains("neither a program"));
}

#[test]
#[file_serial(machine)]
fn exec_has_its_own_terminal() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let one = One::new(&lab, caller, &[], "");
        let mut command = caller.command(&lab, BIN);
        command.env("TERM", "vt100").args(["exec", "-ti", "one", "sh"]);
        let mut terminal = Terminal::run(command);
        terminal.see("/ # ");
        terminal.type_keys("tty; stty size; echo $TERM-\n");
        let seen = terminal.see("vt100-\r\n");
        assert!(seen.contains("/dev/pts/0\r\n24 80\r\n"), "{seen}");
        // Ctrl-C ends the foreground program, and not the shell.
        terminal.type_keys("sleep 1000\n");
        terminal.see("sleep 1000");
        until(|| {
            one.sh("ps").contains("sleep 1000\n")
                && one.sh("ps").matches("sleep 1000").count() == 2
        });
        terminal.type_keys("\x03");
        terminal.see("/ # ");
        terminal.type_keys("exit 5\n");
        assert_eq!(terminal.end(), 5);
    }
}

#[test]
#[file_serial(machine)]
fn a_detached_exec_continues_without_the_caller() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let one = One::new(&lab, caller, &[], "");
        let script = "a=$(readlink /proc/$$/fd/0); b=$(readlink /proc/$$/fd/1)
            c=$(readlink /proc/$$/fd/2); echo $a $b $c > /streams
            read -r own name state parent group session tty rest < /proc/$$/stat
            echo $((own == group)) $((own == session)) $tty $parent > /ids; exec sleep 999";
        assert_eq!(one.ok(&["-d", "one", "sh", "-c", script]), "");
        until(|| !one.sh("cat /ids 2> /dev/null; true").is_empty());
        assert_eq!(one.sh("cat /streams"), "/dev/null /dev/null /dev/null\n");
        // It has its own group and session, no terminal, and no parent in the container.
        assert_eq!(one.sh("cat /ids"), "1 1 0 0\n");
        let refused = contains("cannot be used with");
        one.exec(&["-d", "-t", "one", "true"]).assert().code(2).stderr(refused);
    }
}

#[test]
#[file_serial(machine)]
fn chmod_of_the_streams_of_exec_does_not_reach_the_host() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &[], "");
    let null = "exec \"$@\" </dev/null >/dev/null 2>&1";
    let null = ["sh", "-c", null, "sh"].map(OsStr::new);
    let mut exec = lab.wrapped(&null, BIN);
    let closing = "chmod 600 /dev/stdin /dev/stdout /dev/stderr && : > /closed";
    exec.args(["exec", "one", "sh", "-c", closing]);
    assert_devices_unchanged(|| assert!(exec.output().unwrap().status.success()));
    assert_eq!(
        one.sh("stat -c %a /dev/null; chmod 666 /dev/null; rm /closed"),
        "600\n"
    );
    assert_devices_unchanged(|| {
        one.ok(&["-d", "one", "sh", "-c", closing]);
        until(|| one.exec(&["one", "test", "-e", "/closed"]).ok().is_ok());
    });
    assert_eq!(one.sh("stat -c %a /dev/null; chmod 666 /dev/null"), "600\n");
    // The program also starts if /dev/null is now another kind of file.
    assert_eq!(one.sh("rm /dev/null; mkfifo /dev/null; echo fifo"), "fifo\n");
    let mut exec = lab.wrapped(&null, BIN);
    exec.args(["exec", "one", "true"]);
    assert!(exec.output().unwrap().status.success());
}

/// Freeze the groups of the container, or thaw them.
fn freeze(id: &str, frozen: bool) {
    for root in cgroup_roots() {
        let group = root.join(format!("mydocker-{id}"));
        let (word, digit) = if frozen { ("FROZEN", "1") } else { ("THAWED", "0") };
        let _ = fs::write(group.join("freezer.state"), word);
        if group.join("cgroup.freeze").exists() {
            fs::write(group.join("cgroup.freeze"), digit).unwrap();
        }
    }
}

#[test]
#[file_serial(machine)]
fn exec_waits_for_a_frozen_container_and_says_so() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &[], "");
    let id = one.id().unwrap();
    freeze(&id, true);
    let mut command = lab.command(&[], BIN);
    command.args(["exec", "one", "echo", "thawed"]);
    let said = lab.dir().join("said");
    command.stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
    let exec = command.spawn().unwrap();
    let line = "container one is frozen: the program starts when it is thawed\n";
    until(|| fs::read_to_string(&said).unwrap() == line);
    freeze(&id, false);
    let out = exec.wait_with_output().unwrap();
    assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), &b"thawed\n"[..]));
    assert_eq!(fs::read_to_string(&said).unwrap(), line);
}

#[test]
#[file_serial(machine)]
fn exec_in_a_frozen_container_can_be_interrupted() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &[], "");
    let id = one.id().unwrap();
    freeze(&id, true);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut command = lab.command(&[], BIN);
        let said = lab.dir().join("said");
        command
            .args(["exec", "one", "echo", "no"])
            .stderr(File::create(&said).unwrap());
        let mut exec = command.spawn().unwrap();
        until(|| fs::read_to_string(&said).unwrap().contains("is frozen"));
        kill(Pid::from_raw(exec.id() as i32), signal).unwrap();
        until(|| exec.try_wait().unwrap().is_some());
        assert_eq!(exec.wait().unwrap().signal(), Some(signal as i32));
    }
    freeze(&id, false);
}

/// The number of processes in the group of the container with the most processes.
fn processes(id: &str) -> usize {
    let groups =
        cgroup_roots().into_iter().map(|it| it.join(format!("mydocker-{id}")));
    let count = |group: PathBuf| {
        let procs = fs::read_to_string(group.join("cgroup.procs"));
        procs.unwrap_or_default().lines().count()
    };
    groups.map(count).max().unwrap_or(0)
}

#[test]
#[file_serial(machine)]
fn exec_can_be_interrupted_if_the_container_is_frozen_meanwhile() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &[], "");
    let id = one.id().unwrap();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        // `exec` checks that the container is not frozen before it writes the first line
        // of the trace. The pipe of the trace is full, so it waits there.
        let (mut reader, writer) = pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        (&writer).write_all(&[b'.'; 4096]).unwrap();
        let mut command = lab.command(&[], BIN);
        command.args(["exec", "--trace", "one", "echo", "no"]);
        let mut exec = command.stderr(writer).spawn().unwrap();
        drop(command);
        let call = format!("/proc/{}/syscall", exec.id());
        until(|| fs::read_to_string(&call).unwrap().starts_with("1 0x2 "));
        let alone = processes(&id);
        freeze(&id, true);
        let drain = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        until(|| processes(&id) > alone);
        kill(Pid::from_raw(exec.id() as i32), signal).unwrap();
        until(|| exec.try_wait().unwrap().is_some());
        assert_eq!(exec.wait().unwrap().code(), Some(code));
        assert_eq!(processes(&id), alone);
        let text = drain.join().unwrap().unwrap();
        assert!(text.contains("arrived before the program started"), "{text}");
        freeze(&id, false);
    }
    assert_eq!(one.sh("echo goes on"), "goes on\n");
}

#[test]
#[file_serial(machine)]
fn exec_joins_containers_of_every_kind() {
    let lab = Lab::new();
    for flags in [&["--rm"][..], &["--chroot"], &["--driver", "copy"]] {
        let mut one = One::new(&lab, Caller::Root, flags, "echo own > /etc/own");
        assert_eq!(
            one.sh("cat /etc/own; ls /proc/1/exe"),
            "own\n/proc/1/exe\n",
            "{flags:?}"
        );
        if flags == ["--rm"] {
            one.stop();
            // It is the only container, so the next run sweeps it.
            lab.chapter(BIN)
                .args(["run", "--rm", "busybox", "true"])
                .assert()
                .success();
            assert!(one.id().is_none());
        }
    }
    // Root can join a container of an ordinary user, and is the root of that user there.
    let one = One::new(&lab, Caller::User, &[], "");
    let mut command = lab.chapter(BIN);
    command.env("MYDOCKER_ROOT", lab.user_state());
    command.args(["exec", "one", "sh", "-c", "id -u; id -g; : > /made"]);
    command.assert().success().stdout("0\n0\n");
    let made = Path::new("containers").join(one.id().unwrap()).join("upper/made");
    let owner = std::os::unix::fs::MetadataExt::uid(
        &lab.user_state().join(made).metadata().unwrap(),
    );
    assert_eq!(owner, blackbox::user());
}

#[test]
#[file_serial(machine)]
fn exec_works_fifteen_times_in_a_row_and_five_times_at_once() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let one = One::new(&lab, caller, &[], "");
        for number in 0..15 {
            let number = number.to_string();
            assert_eq!(one.ok(&["one", "echo", &number]), format!("{number}\n"));
        }
        let five = [0; 5].map(|_| {
            let mut command = caller.command(&lab, BIN);
            command.args(["exec", "one", "sh", "-c", "exit 6"]).spawn().unwrap()
        });
        for mut exec in five {
            assert_eq!(exec.wait().unwrap().code(), Some(6));
        }
    }
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    for (name, words) in [
        ("ch05-exec-help", &["--help"][..]),
        ("ch05-exec-exec-help", &["exec", "-h"]),
    ] {
        let out = lab.chapter(BIN).args(words).assert().success();
        assert_snapshot!(name, String::from_utf8_lossy(&out.get_output().stdout));
    }
}
