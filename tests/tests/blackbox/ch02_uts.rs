//! ch02-uts: the hostname, and the properties that every chapter gets from the engine.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use blackbox::{Lab, one_output};
use insta::assert_snapshot;
use predicates::prelude::*;
use serial_test::file_serial;

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap()
}

#[test]
#[file_serial(machine)]
fn a_hostname_change_inside_does_not_change_the_host() {
    let lab = Lab::new();
    let before = hostname();
    let script = "hostname; hostname inside; hostname";
    let mut run = lab.chapter("ch02-uts");
    run.args(["run", "--hostname", "box", "sh", "-c", script]);
    run.assert().success().stdout("box\ninside\n");
    assert_eq!(hostname(), before);
}

#[test]
#[file_serial(machine)]
fn only_the_uts_namespace_differs_from_the_hosts() {
    let lab = Lab::new();
    let kinds = ["uts", "ipc", "pid", "mnt", "net", "user"];
    let mut run = lab.chapter("ch02-uts");
    run.args(["run", "sh", "-c", "for file; do readlink $file; done", "sh"]);
    run.args(kinds.map(|kind| format!("/proc/self/ns/{kind}")));
    let out = run.assert().success().get_output().stdout.clone();
    let inside = String::from_utf8(out).unwrap();
    for (kind, inside) in kinds.iter().zip(inside.lines()) {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let same = outside.to_str().unwrap() == inside;
        assert_eq!(same, *kind != "uts", "{kind}: {inside}");
    }
    assert_eq!(inside.lines().count(), kinds.len());
}

#[test]
#[file_serial(machine)]
fn the_default_hostname_is_the_container_id() {
    let lab = Lab::new();
    let id = predicate::str::is_match("^[0-9a-f]{12}\n$").unwrap();
    lab.chapter("ch02-uts").args(["run", "hostname"]).assert().success().stdout(id);
}

#[test]
#[file_serial(machine)]
fn a_domain_name_is_set_only_inside() {
    let lab = Lab::new();
    let outside = || fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    let before = outside();
    for new in [Lab::chapter, Lab::as_user] {
        let mut run = new(&lab, "ch02-uts");
        run.args(["run", "-domainname", "example.org"]);
        run.args(["cat", "/proc/sys/kernel/domainname"]);
        run.assert().success().stdout("example.org\n");
        // Without the flag it is a copy of the host's.
        let mut run = new(&lab, "ch02-uts");
        run.args(["run", "cat", "/proc/sys/kernel/domainname"]);
        run.assert().success().stdout(before.clone());
    }
    assert_eq!(outside(), before);
}

#[test]
#[file_serial(machine)]
fn options_in_go_style_are_accepted() {
    let lab = Lab::new();
    for flag in [&["-hostname", "box"][..], &["-hostname=box"], &["--hostname=box"]]
    {
        let mut run = lab.chapter("ch02-uts");
        run.arg("run").args(flag).arg("hostname").assert().success().stdout("box\n");
    }
}

#[test]
#[file_serial(machine)]
fn arguments_are_passed_unchanged() {
    let lab = Lab::new();
    let odd: [&[u8]; 9] = [
        b"two words",
        b"",
        b"'\"`$x",
        b"new\nline",
        b"\xff\xfe",
        b"--",
        b"-hostname",
        b"--trace",
        b"*",
    ];
    let odd = odd.map(OsStr::from_bytes);
    let mut run = lab.chapter("ch02-uts");
    run.args(["run", "sh", "-c", "cat /proc/$$/cmdline; :", "name"]).args(odd);
    let mut expected = b"sh\0-c\0cat /proc/$$/cmdline; :\0name\0".to_vec();
    for word in odd {
        expected.extend(word.as_bytes());
        expected.push(0);
    }
    run.assert().success().stdout(expected);
}

#[test]
#[file_serial(machine)]
fn the_exit_status_is_that_of_the_program() {
    let lab = Lab::new();
    let code = |words: &[&str]| {
        let mut run = lab.chapter("ch02-uts");
        run.arg("run").args(words).assert().get_output().status.code()
    };
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(code(&["/etc"]), Some(126));
    assert_eq!(code(&["no-such-program"]), Some(127));
    assert_eq!(code(&["/no/such/program"]), Some(127));
    assert_eq!(code(&[""]), Some(127));
    assert_eq!(code(&["--no-such-flag"]), Some(2));
}

#[test]
#[file_serial(machine)]
fn exec_errors_name_the_program_and_the_reason() {
    let lab = Lab::new();
    let said = |words: &[&str]| {
        let mut run = lab.chapter("ch02-uts");
        let out = run.arg("run").args(words).assert().failure().get_output().clone();
        assert!(out.stdout.is_empty());
        String::from_utf8(out.stderr).unwrap()
    };
    let script = lab.dir().join("own-script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    make_executable(&script);
    let script = script.to_str().unwrap();
    assert_snapshot!(said(&["no-such-program"]), @"error: exec no-such-program: not found in PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    // It is in the caller's PATH, in which the container does not search.
    let mut command = lab.chapter("ch02-uts");
    command.args(["run", "own-script"]).env("PATH", lab.dir());
    command.assert().code(127).stderr(predicate::str::contains(format!(
        "\nhint: the program is {script}, but a container has its own PATH: run it by its \
         path\n"
    )));
    assert_snapshot!(said(&["/etc/passwd"]), @"error: exec /etc/passwd: it is not executable (use chmod +x)");
    assert_snapshot!(said(&["/etc"]), @"error: exec /etc: it is a directory");
    assert_snapshot!(said(&[script]).replace(script, "SCRIPT"), @"error: exec SCRIPT: it exists, but its interpreter or dynamic loader was not found");
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[file_serial(machine)]
fn the_environment_is_clean() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch02-uts");
    run.env("SECRET", "of the host").env("HOME", "/home/me");
    run.args(["run", "--hostname", "box", "env"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    run.assert().success().stdout(format!("HOME=/home/me\nHOSTNAME=box\n{path}\n"));
}

#[test]
#[file_serial(machine)]
fn signals_have_their_default_dispositions() {
    let lab = Lab::new();
    // Ignore SIGHUP, as nohup(1) does.
    let ignoring = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"].map(OsStr::new);
    let mut run = lab.wrapped(&ignoring, "ch02-uts");
    run.args(["run", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    run.assert().success().stdout(none);
}

#[test]
#[file_serial(machine)]
fn no_file_descriptor_of_the_caller_leaks_into_the_container() {
    let lab = Lab::new();
    let script = "exec 3</etc/passwd 7</etc/group 9>/dev/null; exec \"$@\"";
    let shell = ["sh", "-c", script, "sh"].map(OsStr::new);
    let probe = blackbox::probe();
    // The probe sees the descriptors of the caller outside, so it would also see them
    // inside.
    let mut outside = std::process::Command::new("sh");
    outside.args(["-c", script, "sh"]).arg(&probe).arg("fds");
    let out = String::from_utf8(outside.output().unwrap().stdout).unwrap();
    assert!(out.contains("3 /etc/passwd") && out.contains("7 /etc/group"), "{out}");
    let mut run = lab.wrapped(&shell, "ch02-uts");
    run.arg("run").arg(&probe).arg("fds");
    let out = run.assert().success().get_output().stdout.clone();
    let numbers: Vec<_> = std::str::from_utf8(&out)
        .unwrap()
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(numbers, ["0", "1", "2"]);
}

#[test]
#[file_serial(machine)]
fn without_a_pid_namespace_a_daemon_outlives_the_container() {
    // The chapter on PID namespaces solves this: without one, the daemon survives.
    let lab = Lab::new();
    let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let mut run = lab.chapter("ch02-uts");
    let out = run.args(["run", "sh", "-c", script]).assert().success();
    let pid = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    let killed = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    assert_eq!(killed, Ok(()), "the daemon has ended already");
}

#[test]
#[file_serial(machine)]
fn invalid_names_are_refused() {
    let lab = Lab::new();
    let long = "a".repeat(65);
    for name in ["", "a/b", "..", "-x", "a b", &long] {
        let mut run = lab.chapter("ch02-uts");
        run.arg("run").arg(format!("--hostname={name}")).arg("true");
        run.assert().code(2).stderr(predicate::str::contains("name"));
    }
}

#[test]
#[file_serial(machine)]
fn a_closed_stdout_does_not_cause_a_panic() {
    let lab = Lab::new();
    let shell = ["sh", "-c", "exec \"$@\" >&-", "sh"].map(OsStr::new);
    let mut run = lab.wrapped(&shell, "ch02-uts");
    run.args(["run", "true"]).assert().success().stderr("");
}

#[test]
#[file_serial(machine)]
fn trace_prints_each_step_in_order() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch02-uts");
    run.args(["run", "--trace", "--hostname", "box", "true"]);
    let out = run.assert().success().stdout("").get_output().stderr.clone();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"chdir\(2\) .*", "chdir(2) DIRECTORY");
    settings.bind(|| {
        assert_snapshot!(String::from_utf8(out).unwrap(), @"
    trace: parent clone               socketpair(2)
    trace: parent clone               clone3(2) CLONE_NEWUTS
    trace: parent release             all parts are attached, the barrier opens
    trace: child  cloned              prctl(2) PR_SET_PDEATHSIG SIGKILL
    trace: child  cloned              sigprocmask(2) to none
    trace: child  enter    uts        sethostname(2) box
    trace: child  seal                seccomp(2) deny TIOCSTI, TIOCLINUX
    trace: child  seal                setgroups(2) []
    trace: child  seal                chdir(2) DIRECTORY
    trace: child  seal                close_range(2) from 3, CLOEXEC
    trace: child  seal                prctl(2) PR_SET_PDEATHSIG SIGKILL
    trace: child  exec                execve(2) true
    trace: parent wait                waitid(2)
    ")
    });
    // The program prints after the trace of its start.
    for _ in 0..20 {
        let mut run = lab.wrapped(&one_output(), "ch02-uts");
        run.args(["run", "--trace", "echo", "program"]);
        let out = run.assert().success().get_output().stdout.clone();
        let out = String::from_utf8(out).unwrap();
        let [exec, program] =
            ["execve(2) echo\n", "\nprogram\n"].map(|it| out.find(it));
        assert!(exec.is_some() && exec < program, "{out}");
    }
    // The environment variable has the same effect as the flag.
    let mut run = lab.chapter("ch02-uts");
    run.env("MYDOCKER_TRACE", "1").args(["run", "true"]);
    run.assert()
        .success()
        .stderr(predicate::str::contains("clone3(2) CLONE_NEWUTS"));
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    let page = |words: &[&str]| {
        let mut help = lab.chapter("ch02-uts");
        let out = help.args(words).assert().success().get_output().stdout.clone();
        String::from_utf8(out).unwrap()
    };
    assert_snapshot!("ch02-uts-help", page(&["--help"]));
    assert_snapshot!("ch02-uts-run-help", page(&["run", "--help"]));
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_set_the_hostname() {
    let lab = Lab::new();
    let mut run = lab.as_user("ch02-uts");
    run.args(["run", "--hostname", "box", "hostname"]);
    let line = "not root: in a user namespace of its own (ch02-user)\n";
    run.assert().success().stdout("box\n").stderr(line);
}

#[test]
#[file_serial(machine)]
fn a_working_command_is_printed_if_user_namespaces_are_disabled() {
    let lab = Lab::new();
    // In its own user namespace, the limit affects no other process.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
    let probe = blackbox::probe();
    let mut shell =
        ["unshare", "-r", "sh", "-c", script, "sh"].map(OsStr::new).to_vec();
    shell.extend([probe.as_os_str(), "powerless".as_ref()]);
    let mut run = lab.wrapped(&shell, "ch02-uts");
    run.args(["run", "--hostname", "box", "echo", "two words"]);
    let said = run.assert().code(125).stdout("").get_output().stderr.clone();
    let said = String::from_utf8(said).unwrap();
    let binary = blackbox::bin_dir().join("ch02-uts");
    let binary = binary.to_str().unwrap();
    assert_snapshot!(said.replace(binary, "BINARY"), @"
    not root: in a user namespace of its own (ch02-user)
    error: clone3(2) CLONE_NEWUTS|CLONE_NEWUSER: ENOSPC: No space left on device
    hint: user namespaces are disabled (sysctl user.max_user_namespaces is 0); run as root: sudo BINARY run --hostname box echo 'two words'
    ");
}
