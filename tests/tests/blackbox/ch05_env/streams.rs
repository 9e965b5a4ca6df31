//! `-u` and the standard streams: another user can open /dev/stdin, /dev/stdout and
//! /dev/stderr, although the owners and modes of the caller's files and pipes do not
//! change.

use std::fs::File;
use std::io::{Read, Seek, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::{Command, Stdio};

use blackbox::{Caller, Lab};
use predicates::str::contains;
use serial_test::file_serial;

use super::{BIN, One};
use crate::containers::{Detached, accounts};

const OPEN_ALL: &str =
    "echo x >/dev/stdout; echo y >/dev/stderr; cat /dev/stdin; exit 3";

/// The kind of the caller's three streams.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Pipe,
    /// Files of this mode.
    File(u32),
    Null,
}

const KINDS: [Kind; 4] =
    [Kind::Pipe, Kind::File(0o600), Kind::File(0o644), Kind::Null];

/// Three streams, and the other ends of the pipes.
struct Streams {
    ours: [File; 3],
    readers: Option<[File; 2]>,
}

impl Streams {
    fn new(lab: &Lab, kind: Kind) -> Streams {
        let file = |end: OwnedFd| File::from(end);
        match kind {
            Kind::Pipe => {
                let [(input, mut typed), (out, prints), (err, complains)] =
                    [pipe().unwrap(), pipe().unwrap(), pipe().unwrap()];
                typed.write_all(b"in\n").unwrap();
                let ours = [input.into(), prints.into(), complains.into()];
                let readers = [out.into(), err.into()];
                Streams { ours: ours.map(file), readers: Some(readers.map(file)) }
            }
            Kind::File(mode) => {
                let ours = ["in", "out", "err"].map(|name| {
                    let path = lab.dir().join(name);
                    let _ = std::fs::remove_file(&path);
                    let mut options = File::options();
                    options.read(true).write(true).create(true).mode(mode);
                    options.open(path).unwrap()
                });
                let mut input = &ours[0];
                input.write_all(b"in\n").unwrap();
                input.rewind().unwrap();
                Streams { ours, readers: None }
            }
            Kind::Null => {
                let null = File::options().read(true).write(true).open("/dev/null");
                let null = null.unwrap();
                let more = || null.try_clone().unwrap();
                Streams { ours: [more(), more(), more()], readers: None }
            }
        }
    }

    /// Owner, group and mode of each stream.
    fn owners(&self) -> [(u32, u32, u32); 3] {
        self.ours.each_ref().map(|file| {
            let about = file.metadata().unwrap();
            (about.uid(), about.gid(), about.mode())
        })
    }

    /// Run a command with these streams. Returns the exit status and the output.
    fn run(self, mut command: Command) -> (Option<i32>, [String; 2]) {
        let [input, out, err] =
            self.ours.each_ref().map(|file| Stdio::from(file.try_clone().unwrap()));
        let before = self.owners();
        let status = command.stdin(input).stdout(out).stderr(err).status().unwrap();
        assert_eq!(self.owners(), before);
        drop(command);
        let [_, mut out, mut err] = self.ours;
        let printed = if let Some(readers) = self.readers {
            drop((out, err));
            readers.map(text)
        } else {
            // /dev/null has no position.
            let _ = (out.rewind(), err.rewind());
            [text(out), text(err)]
        };
        (status.code(), printed)
    }
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn expected(kind: Kind) -> (Option<i32>, [String; 2]) {
    let printed = match kind {
        Kind::Null => ["", ""],
        _ => ["x\nin\n", "y\n"],
    };
    (Some(3), printed.map(str::to_owned))
}

#[test]
#[file_serial(machine)]
fn another_user_can_open_the_streams_of_run_without_a_chown() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    for kind in KINDS {
        for (bin, init) in [(BIN, &[][..]), ("ch05-init", &["--init"])] {
            let mut command = lab.command(&[], bin);
            command.args(["run", "--rm", "-u", "ann"]).args(init);
            command.args(["busybox", "sh", "-c", OPEN_ALL]);
            let got = Streams::new(&lab, kind).run(command);
            assert_eq!(got, expected(kind), "{kind:?} {init:?}");
        }
    }
}

#[test]
#[file_serial(machine)]
fn another_user_can_open_the_streams_of_exec_without_a_chown() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let one = One::new(&lab, &[]);
    for kind in KINDS {
        let mut command = lab.command(&[], BIN);
        command.args(["exec", "-u", "ann", "one", "sh", "-c", OPEN_ALL]);
        let got = Streams::new(&lab, kind).run(command);
        assert_eq!(got, expected(kind), "{kind:?}");
    }
    // One pipe for both streams keeps the order.
    let (mut out, both) = pipe().unwrap();
    let mut command = lab.command(&[], BIN);
    command.args(["exec", "-u", "ann", "one", "sh", "-c"]);
    command.arg("for i in 1 2 3 4; do echo o$i; echo e$i >&2; done");
    command.stdout(both.try_clone().unwrap()).stderr(both);
    assert!(command.status().unwrap().success());
    drop(command);
    let mut got = String::new();
    out.read_to_string(&mut got).unwrap();
    assert_eq!(got, "o1\ne1\no2\ne2\no3\ne3\no4\ne4\n");
    drop(one);
}

#[test]
#[file_serial(machine)]
fn another_user_can_open_the_streams_of_a_detached_container() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let script = format!("({OPEN_ALL}); echo $?");
    let words = ["-u", "ann", "busybox", "sh", "-c", &script];
    let one = Detached::new(&lab, BIN, Caller::Root, &words);
    one.ok(&["wait", "one"]);
    let logs = lab.chapter(BIN).args(["logs", "one"]).assert().success();
    logs.stdout("x\n3\n").stderr("y\n");
    drop(one);
    // With -i, standard input is a pipe that mydocker created.
    let script = "read word </dev/stdin; echo got $word >/dev/stdout";
    let words = ["-i", "-u", "ann", "busybox", "sh", "-c", script];
    let one = Detached::new(&lab, "ch05-attach", Caller::Root, &words);
    let mut attach = lab.chapter("ch05-attach");
    attach.args(["attach", "one"]).write_stdin("hello\n");
    attach.assert().success().stdout("got hello\n");
    drop(one);
}

#[test]
#[file_serial(machine)]
fn unread_input_of_a_file_is_left_to_the_caller() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let path = lab.dir().join("lines");
    let lines = "first\nsecond\nthird\n";
    std::fs::write(&path, lines).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    for (script, read) in [("sleep 0.2", 0), ("read line", 6), ("cat", lines.len())]
    {
        let mut file = File::open(&path).unwrap();
        let mut command = lab.command(&[], BIN);
        command.args(["run", "--rm", "-u", "ann", "busybox", "sh", "-c", script]);
        let status = command.stdin(file.try_clone().unwrap()).status().unwrap();
        assert!(status.success(), "{script}");
        assert_eq!(file.stream_position().unwrap(), read as u64, "{script}");
    }
}

#[test]
#[file_serial(machine)]
fn copied_streams_carry_large_data_and_end_like_plain_streams() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let one = One::new(&lab, &[]);
    let exec = ["exec", "-u", "ann", "one"];
    let large = vec![b'a'; 3 << 20];
    let mut cat = lab.chapter(BIN);
    cat.args(exec).args(["cat", "/dev/stdin"]).write_stdin(large.clone());
    let got = cat.assert().success().get_output().stdout.clone();
    assert!(got == large, "{} bytes", got.len());
    // A program that does not read, and one that closes its input.
    for script in ["sleep 0.3; exit 4", "exec <&-; sleep 0.3; exit 4"] {
        let mut quiet = lab.command(&[], BIN);
        quiet.args(exec).args(["sh", "-c", script]);
        let mut quiet = quiet.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = quiet.stdin.take().unwrap();
        let writes = std::thread::spawn({
            let large = large.clone();
            move || input.write_all(&large).is_err()
        });
        assert_eq!(quiet.wait().unwrap().code(), Some(4), "{script}");
        assert!(writes.join().unwrap(), "{script}");
    }
    // If the reader closes the pipe, SIGPIPE ends the program.
    let mut yes = lab.command(&[], BIN);
    yes.args(exec).arg("yes").stdout(Stdio::piped());
    let mut yes = yes.spawn().unwrap();
    let mut out = yes.stdout.take().unwrap();
    out.read_exact(&mut [0; 2]).unwrap();
    drop(out);
    assert_eq!(yes.wait().unwrap().code(), Some(128 + 13));
    drop(one);
}

#[test]
#[file_serial(machine)]
fn streams_are_copied_only_for_another_user_than_the_callers() {
    let mut lab = Lab::new();
    accounts(&mut lab);
    let one = One::new(&lab, &[]);
    for (user, copies) in
        [(&[][..], false), (&["-u", "root"], false), (&["-u", "ann"], true)]
    {
        let mut exec = lab.chapter(BIN);
        exec.args(["exec", "--trace"]).args(user).args(["one", "true"]);
        let out = exec.write_stdin("").assert().success();
        let trace = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert_eq!(trace.contains("the pipe of stdin"), copies, "{trace}");
    }
    drop(one);
    // Root of the container is not the host's root, which opened the streams.
    let two = Detached::new(&lab, BIN, Caller::User, &["busybox", "sleep", "1000"]);
    let mut exec = lab.command(&[], BIN);
    exec.env("MYDOCKER_ROOT", two.state());
    exec.args(["exec", "one", "sh", "-c", OPEN_ALL]);
    let kind = Kind::File(0o600);
    assert_eq!(Streams::new(&lab, kind).run(exec), expected(kind));
    drop(two);
    let mut refused = lab.as_user(BIN);
    refused.args(["run", "--rm", "-u", "7", "busybox", "true"]);
    refused.assert().code(125).stderr(contains("setuid(2) 7: EINVAL"));
}
