//! ch02-uts: the host name, and what every chapter has from the engine.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use blackbox::Lab;
use insta::assert_snapshot;
use predicates::prelude::*;
use serial_test::file_serial;

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap()
}

#[test]
#[file_serial(machine)]
fn a_host_name_changed_inside_is_unchanged_outside() {
    let lab = Lab::new();
    let before = host_name();
    let script = "hostname; hostname inside; hostname";
    let mut run = lab.chapter("ch02-uts");
    run.args(["run", "--hostname", "box", "sh", "-c", script]);
    run.assert().success().stdout("box\ninside\n");
    assert_eq!(host_name(), before);
}

#[test]
#[file_serial(machine)]
fn the_namespace_is_another_and_the_others_are_the_hosts() {
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
fn the_host_name_is_the_id_unless_one_is_given() {
    let lab = Lab::new();
    let id = predicate::str::is_match("^[0-9a-f]{12}\n$").unwrap();
    lab.chapter("ch02-uts").args(["run", "hostname"]).assert().success().stdout(id);
}

#[test]
#[file_serial(machine)]
fn a_domain_name_is_set_inside_and_unchanged_outside() {
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
fn flags_are_taken_in_go_style_too() {
    let lab = Lab::new();
    for flag in [&["-hostname", "box"][..], &["-hostname=box"], &["--hostname=box"]]
    {
        let mut run = lab.chapter("ch02-uts");
        run.arg("run").args(flag).arg("hostname").assert().success().stdout("box\n");
    }
}

#[test]
#[file_serial(machine)]
fn arguments_arrive_exactly() {
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
fn exit_codes_are_the_programs_own() {
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
fn what_does_not_run_is_named_with_its_reason() {
    let lab = Lab::new();
    let said = |words: &[&str]| {
        let mut run = lab.chapter("ch02-uts");
        let out = run.arg("run").args(words).assert().failure().get_output().clone();
        assert!(out.stdout.is_empty());
        String::from_utf8(out.stderr).unwrap()
    };
    let script = lab.dir().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    blackbox_chmod(&script);
    let script = script.to_str().unwrap();
    assert_snapshot!(said(&["no-such-program"]), @"error: exec no-such-program: not found in PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_snapshot!(said(&["/etc/passwd"]), @"error: exec /etc/passwd: it is not executable (use chmod +x)");
    assert_snapshot!(said(&["/etc"]), @"error: exec /etc: it is a directory");
    assert_snapshot!(said(&[script]).replace(script, "SCRIPT"), @"error: exec SCRIPT: it exists, but its interpreter or dynamic loader was not found");
}

fn blackbox_chmod(path: &std::path::Path) {
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
fn signals_start_at_their_defaults() {
    let lab = Lab::new();
    // As nohup(1) does; this test harness blocks nothing but might.
    let ignoring = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"].map(OsStr::new);
    let mut run = lab.wrapped(&ignoring, "ch02-uts");
    run.args(["run", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    run.assert().success().stdout(none);
}

#[test]
#[file_serial(machine)]
fn no_descriptor_of_the_caller_gets_in() {
    let lab = Lab::new();
    let script = "exec 3</etc/passwd 7</etc/group 9>/dev/null; exec \"$@\"";
    let shell = ["sh", "-c", script, "sh"].map(OsStr::new);
    let probe = blackbox::probe();
    // The caller's own are there, which shows that the probe would see them.
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
fn without_a_process_wall_a_daemon_outlives_the_container() {
    // What the chapter on PID namespaces is for: here it is shown to fail.
    let lab = Lab::new();
    let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let mut run = lab.chapter("ch02-uts");
    let out = run.args(["run", "sh", "-c", script]).assert().success();
    let pid = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    let killed = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    assert_eq!(killed, Ok(()), "it is gone already");
}

#[test]
#[file_serial(machine)]
fn names_that_can_do_harm_are_refused() {
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
fn a_closed_stdout_of_the_host_side_is_no_panic() {
    let lab = Lab::new();
    let shell = ["sh", "-c", "exec \"$@\" >&-", "sh"].map(OsStr::new);
    let mut run = lab.wrapped(&shell, "ch02-uts");
    run.args(["run", "true"]).assert().success().stderr("");
}

#[test]
#[file_serial(machine)]
fn trace_tells_each_step_in_order() {
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
    trace: child  born                prctl(2) PR_SET_PDEATHSIG SIGKILL
    trace: child  born                sigprocmask(2) to none
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
    // The environment does the same as the flag.
    let mut run = lab.chapter("ch02-uts");
    run.env("MYDOCKER_TRACE", "1").args(["run", "true"]);
    run.assert()
        .success()
        .stderr(predicate::str::contains("clone3(2) CLONE_NEWUTS"));
}

#[test]
#[file_serial(machine)]
fn help_is_a_page() {
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
fn an_ordinary_user_can_do_it_too() {
    let lab = Lab::new();
    let mut run = lab.as_user("ch02-uts");
    run.args(["run", "--hostname", "box", "hostname"]);
    let line = "not root: in a user namespace of its own (ch02-user)\n";
    run.assert().success().stdout("box\n").stderr(line);
}

#[test]
#[file_serial(machine)]
fn where_user_namespaces_are_closed_the_command_that_works_is_printed() {
    let lab = Lab::new();
    // In a user namespace of its own the limit can be set without harm to others.
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
