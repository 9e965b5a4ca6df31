//! ch05-env: the environment, the user and the working directory of a program, and a
//! read-only root filesystem.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod nested;
mod streams;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Stdio};

use blackbox::{Caller, Lab, Terminal, until};
use insta::assert_snapshot;
use predicates::str::contains;
use serial_test::file_serial;

use crate::containers::{accounts, ok, run, sh};

const BIN: &str = "ch05-env";

/// A running container with the name `one`, which `exec` can join.
struct One<'a>(&'a Lab, Child);

impl One<'_> {
    fn new<'a>(lab: &'a Lab, flags: &[&str]) -> One<'a> {
        let mut command = lab.command(&[], BIN);
        command.args(["run", "--rm", "--name", "one"]).args(flags);
        command.args(["busybox", "cat"]).stdin(Stdio::piped());
        let one = One(lab, command.spawn().unwrap());
        until(|| {
            let entries = fs::read_dir(lab.state().join("running"));
            entries.into_iter().flatten().flatten().any(|entry| {
                let text = fs::read_to_string(entry.path());
                text.is_ok_and(|text| text.contains("\nprocess "))
            })
        });
        one
    }

    fn exec(&self, words: &[&str]) -> String {
        let mut command = self.0.chapter(BIN);
        let out = command.arg("exec").args(words).assert().success();
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        drop(self.1.stdin.take());
        let _ = self.1.wait();
    }
}

#[test]
#[file_serial(machine)]
fn an_image_keeps_the_options_of_its_container_as_defaults() {
    let lab = Lab::new();
    let said = |words: &[&str]| {
        let out = lab.chapter(BIN).args(words).assert().success();
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    };
    let options = ["-e", "WORD=a b", "-w", "/srv", "-u", "nobody"];
    let run = ["run", "--name", "one"];
    said(&[&run[..], &options, &["busybox", "true"]].concat());
    said(&["commit", "one", "made"]);
    said(&["rm", "one"]);
    let script = "echo $WORD; pwd; id -u";
    let run = ["run", "--rm", "made", "sh", "-c", script];
    assert_eq!(said(&run), "a b\n/srv\n65534\n");
    let other = ["run", "--rm", "-e", "WORD=c", "-w", "/", "-u", "0"];
    let run = [&other[..], &["made", "sh", "-c", script]].concat();
    assert_eq!(said(&run), "c\n/\n0\n");
    said(&["rmi", "made"]);
}

#[test]
#[file_serial(machine)]
fn variables_come_from_flags_files_and_by_name_from_the_caller() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let file = lab.dir().join("file");
        let text =
            b"# one\n\nA=file\nB=\"quoted\"  # no comment\nHOST\nNONE\n  C=\xff\r\n";
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let flags =
            ["--env-file", file, "-e", "A=flag", "-e", "D= a=b", "-e", "HOST2"];
        let words = [&flags[..], &["busybox", "env"]].concat();
        let mut command = run(&lab, BIN, caller, &words);
        command.env("HOST", "caller's").env("HOST2", "two\nlines").env("LEAK", "x");
        let out = command.assert().success();
        let mut lines: Vec<&[u8]> =
            out.get_output().stdout.split(|&byte| byte == b'\n').collect();
        lines.retain(|line| !line.is_empty() && !line.starts_with(b"HOSTNAME="));
        lines.sort_unstable();
        let path =
            b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let expected: [&[u8]; 9] = [
            b"A=flag",
            b"B=\"quoted\"  # no comment",
            b"C=\xff",
            b"D= a=b",
            b"HOME=/root",
            b"HOST2=two",
            b"HOST=caller's",
            path,
            b"lines",
        ];
        assert_eq!(
            lines,
            expected,
            "{}",
            String::from_utf8_lossy(&lines.join(&b'\n'))
        );
    }
}

#[test]
#[file_serial(machine)]
fn invalid_variables_and_users_are_refused_before_anything_is_created() {
    let lab = Lab::new();
    let file = lab.dir().join("file");
    fs::write(&file, "OK=1\nexport A=1\n").unwrap();
    let file = file.to_str().unwrap();
    let none = lab.dir().join("none");
    for (flags, code, reason) in [
        (["-e", "=x"], 2, "a variable needs a name: KEY=VALUE"),
        (["-e", ""], 2, "a variable needs a name: KEY=VALUE"),
        (["--env-file", file], 125, "file:2: invalid name \"export A\""),
        (["--env-file", none.to_str().unwrap()], 125, "none: ENOENT"),
        (["-u", "a:b:c"], 2, "invalid user \"a:b:c\": expected USER[:GROUP]"),
        (["-u", ""], 2, "invalid user \"\""),
        (["-u", "eve"], 125, "the container's /etc/passwd has no user eve"),
        (["-u", "0:eve"], 125, "the container's /etc/group has no group eve"),
        (["-w", "relative"], 125, "the working directory relative must be absolute"),
        (["-w", "/etc/passwd/x"], 125, "mkdir(2) /etc/passwd/x: ENOTDIR"),
    ] {
        let words = [&flags[..], &["busybox", "true"]].concat();
        let assert = run(&lab, BIN, Caller::Root, &words).assert();
        assert.code(code).stdout("").stderr(contains(reason));
    }
    assert_eq!(fs::read_dir(lab.state().join("containers")).unwrap().count(), 0);
}

#[test]
#[file_serial(machine)]
fn a_missing_working_directory_is_created() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        assert_eq!(
            ok(&lab, BIN, caller, &["-w", "/tmp", "busybox", "pwd"]),
            "/tmp\n"
        );
        let words =
            ["--workdir=/srv/a b/c", "busybox", "sh", "-c", "pwd; stat -c %a ."];
        assert_eq!(ok(&lab, BIN, caller, &words), "/srv/a b/c\n755\n");
        // The path of a directory outside is created inside only.
        let outside = lab.dir().join("outside");
        let inside = outside.to_str().unwrap();
        assert_eq!(
            ok(&lab, BIN, caller, &["-w", inside, "busybox", "pwd"]),
            format!("{inside}\n")
        );
        assert!(!outside.exists());
    }
}

const ID: &str = "id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status";

#[test]
#[file_serial(machine)]
fn users_come_from_the_image_and_have_no_capabilities() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let none = "CapEff:\t0000000000000000\n";
    for (user, seen) in [
        ("ann", "1234\n2345\n2345 29 50\n/home/ann\n"),
        ("1234", "1234\n2345\n2345 29 50\n/home/ann\n"),
        ("ann:staff", "1234\n50\n50\n/home/ann\n"),
        ("ann:77", "1234\n77\n77\n/home/ann\n"),
        ("4321", "4321\n0\n0\n/\n"),
        ("4321:29", "4321\n29\n29\n/\n"),
    ] {
        let got = sh(&lab, BIN, &["-u", user], ID);
        let mut lines: Vec<&str> = got.lines().collect();
        let mut groups: Vec<&str> = lines[2].split(' ').collect();
        groups[1..].sort_unstable();
        let groups = groups.join(" ");
        lines[2] = &groups;
        assert_eq!(lines.join("\n") + "\n", format!("{seen}{none}"), "{user}");
    }
    assert_eq!(sh(&lab, BIN, &["-u", "ann", "-e", "HOME=/h"], "echo $HOME"), "/h\n");
    // This also applies to the value that root would have by default.
    let root = ["-u", "ann", "-e", "HOME=/root"];
    assert_eq!(sh(&lab, BIN, &root, "echo $HOME"), "/root\n");
    assert!(sh(&lab, BIN, &["-u", "root"], ID).starts_with("0\n0\n0\n/root\n"));
    let words = ["-u", "ann", "busybox", "touch", "/file"];
    run(&lab, BIN, Caller::Root, &words).assert().code(1).stderr(contains("denied"));
    // A program in a directory that the user must not search.
    let words = ["-u", "ann", "busybox", "/root/x"];
    run(&lab, BIN, Caller::Root, &words)
        .assert()
        .code(126)
        .stderr(contains("EACCES"));
}

#[test]
#[file_serial(machine)]
fn an_invalid_passwd_file_is_refused_and_never_blocks() {
    let mut lab = Lab::new();
    let passwd = lab.image().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
    lab.update_snapshot();
    let words = ["-u", "7", "busybox", "true"];
    let refused = contains("the container's /etc/passwd is not a regular file");
    run(&lab, BIN, Caller::Root, &words).assert().code(125).stderr(refused);
    fs::remove_file(&passwd).unwrap();
    std::os::unix::fs::symlink("../../../../../etc/passwd", &passwd).unwrap();
    lab.update_snapshot();
    // Inside the container, the symlink leads to itself.
    let refused = contains("ELOOP");
    run(&lab, BIN, Caller::Root, &words).assert().code(125).stderr(refused);
    fs::remove_file(&passwd).unwrap();
    lab.update_snapshot();
    assert_eq!(sh(&lab, BIN, &["-u", "7:8"], "id -u; id -g"), "7\n8\n");
}

#[test]
#[file_serial(machine)]
fn an_ordinary_users_container_has_only_the_user_root() {
    let lab = Lab::new();
    let words = ["-u", "0:0", "busybox", "id", "-u"];
    assert_eq!(ok(&lab, BIN, Caller::User, &words), "0\n");
    let words = ["-u", "1", "busybox", "true"];
    let refused =
        contains("hint: the container's user namespace maps only these users: 0;");
    run(&lab, BIN, Caller::User, &words).assert().code(125).stderr(refused);
}

#[test]
#[file_serial(machine)]
fn a_read_only_root_does_not_affect_other_mounts() {
    for caller in Caller::BOTH {
        for driver in ["overlay", "copy"] {
            let lab = Lab::new();
            let volume = lab.dir().join("home/v");
            drop(caller.chapter(&lab, BIN));
            fs::create_dir_all(&volume).unwrap();
            std::os::unix::fs::chown(&volume, Some(blackbox::user()), None).unwrap();
            let volume = format!("{}:/v", volume.display());
            let script = "touch /file 2>&1; echo in > /v/file; echo > /dev/null; : > /dev/shm/x; \
                          rm /etc/hosts 2>&1; mkdir /x 2>&1; pwd; cat /v/file";
            let words = [
                "--read-only",
                "--driver",
                driver,
                "-v",
                &volume,
                "-w",
                "/made",
                "busybox",
                "sh",
                "-c",
                script,
            ];
            let seen = ok(&lab, BIN, caller, &words);
            assert_eq!(seen.matches("Read-only file system").count(), 3, "{seen}");
            assert!(seen.ends_with("/made\nin\n"), "{seen}");
        }
    }
}

#[test]
#[file_serial(machine)]
fn exec_uses_the_containers_user_and_variables_by_default() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let lab = lab;
    let one =
        One::new(&lab, &["-u", "ann", "-e", "A=run", "-e", "B=run", "-w", "/srv"]);
    let script = "id -u; id -g; echo $HOME $A $B $PWD";
    let seen = one.exec(&["one", "sh", "-c", script]);
    assert_eq!(seen, "1234\n2345\n/home/ann run run /srv\n");
    let file = lab.dir().join("file");
    fs::write(&file, "A=file\nB=file\n").unwrap();
    let flags = [
        "--env-file",
        file.to_str().unwrap(),
        "-e",
        "B=exec",
        "-u",
        "root",
        "-w",
        "/",
    ];
    let seen = one.exec(&[&flags[..], &["one", "sh", "-c", script]].concat());
    assert_eq!(seen, "0\n0\n/root file exec /\n");
    let mut exec = lab.chapter(BIN);
    let refused = contains("the container's /etc/passwd has no user eve");
    exec.args(["exec", "-u", "eve", "one", "true"])
        .assert()
        .code(125)
        .stderr(refused);
    let arg = OsStr::from_bytes(b"C=\xff");
    let mut exec = lab.chapter(BIN);
    exec.args(["exec", "-e"]).arg(arg).args(["one", "sh", "-c", "printf %s \"$C\""]);
    exec.assert().success().stdout(&b"\xff"[..]);
}

#[test]
#[file_serial(machine)]
fn another_user_can_use_the_terminal() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--rm", "-ti", "-u", "ann", "busybox", "sh"]);
    let mut terminal = Terminal::run(command);
    terminal.see("$ ");
    terminal.type_keys("id -u; echo again > /dev/stdout; echo key > $(tty)\n");
    let seen = terminal.see("key\r\n");
    assert!(seen.contains("1234\r\nagain\r\n"), "{seen}");
    terminal.type_keys("exit 4\n");
    assert_eq!(terminal.end(), 4);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    for (name, words) in [
        ("ch05-env-help", &["--help"][..]),
        ("ch05-env-run-help", &["run", "-h"]),
        ("ch05-env-exec-help", &["exec", "-h"]),
    ] {
        let out = lab.chapter(BIN).args(words).assert().success();
        assert_snapshot!(name, String::from_utf8_lossy(&out.get_output().stdout));
    }
}
