//! Root of a user namespace: it runs containers as an ordinary user does, or gets a
//! correct hint.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use blackbox::{Caller, Lab, bin_dir};
use predicates::str::contains;
use serial_test::file_serial;

use super::BIN;

/// This command, as root of a new user namespace.
fn nested(lab: &Lab, caller: Caller, words: &[&str]) -> Command {
    wrapped(lab, caller, &["--user"], words)
}

/// The same, with these flags of `ch02-setns unshare`.
fn wrapped(lab: &Lab, caller: Caller, flags: &[&str], words: &[&str]) -> Command {
    let mut command = caller.chapter(lab, "ch02-setns");
    command.arg("unshare").args(flags).arg(binary(lab)).args(words);
    command
}

/// A copy of the binary that every user can reach.
fn binary(lab: &Lab) -> PathBuf {
    let copy = lab.dir().join(BIN);
    if !copy.exists() {
        fs::copy(bin_dir().join(BIN), &copy).unwrap();
    }
    copy
}

#[test]
#[file_serial(machine)]
fn root_of_a_user_namespace_runs_a_container() {
    let lab = Lab::new();
    let id = ["run", "--rm", "busybox", "sh", "-c", "id -u; echo x > /dev/null"];
    for caller in Caller::BOTH {
        nested(&lab, caller, &id).assert().success().stdout("0\n");
        let flags = ["--user", "--mount", "--pid"];
        wrapped(&lab, caller, &flags, &id).assert().success().stdout("0\n");
        // In a user namespace inside another one.
        let mut twice = caller.chapter(&lab, "ch02-setns");
        let setns = lab.dir().join("ch02-setns");
        if !setns.exists() {
            fs::copy(bin_dir().join("ch02-setns"), &setns).unwrap();
        }
        twice.args(["unshare", "--user"]).arg(setns).args(["unshare", "--user"]);
        twice.arg(binary(&lab)).args(id);
        twice.assert().success().stdout("0\n");
    }
}

#[test]
#[file_serial(machine)]
fn root_of_a_user_namespace_creates_images_and_runs_them() {
    let lab = Lab::new();
    for caller in Caller::BOTH {
        let ok = |words: &[&str]| {
            let out = nested(&lab, caller, words).assert().success();
            String::from_utf8_lossy(&out.get_output().stdout).into_owned()
        };
        // A directory that hides the one below it.
        let script = "rm -r /etc; mkdir /etc; echo new > /etc/x; rm /bin/ls";
        ok(&["run", "--name", "one", "busybox", "sh", "-c", script]);
        ok(&["commit", "one", "changed"]);
        let script = "echo /etc/* /bin/ls*";
        let words = ["run", "--rm", "changed", "sh", "-c", script];
        assert!(ok(&words).starts_with("/etc/x "), "{}", ok(&words));
        let tar = nested(&lab, caller, &["export", "one"]).assert().success();
        let mut import = nested(&lab, caller, &["import", "-", "again"]);
        let tar = tar.get_output().stdout.clone();
        import.write_stdin(tar).assert().success();
        let words = ["run", "--rm", "again", "sh", "-c", "echo /etc/*"];
        assert_eq!(ok(&words), "/etc/x\n");
        ok(&["rm", "one"]);
        ok(&["rmi", "changed", "again"]);
    }
}

#[test]
#[file_serial(machine)]
fn root_of_a_user_namespace_uses_the_state_directory_of_its_user() {
    let lab = Lab::new();
    // The state directory of root contains attributes of overlayfs that only the host's
    // root can read and write.
    let mut images = nested(&lab, Caller::Root, &["images"]);
    images.env_remove("MYDOCKER_ROOT").assert().success();
    let mut run =
        nested(&lab, Caller::Root, &["run", "--rm", "no-such-image", "true"]);
    run.env_remove("MYDOCKER_ROOT").env("HOME", "/dev/null/none");
    run.assert().code(125).stderr(contains("/dev/null/none/.local/share/mydocker"));
}

#[test]
#[file_serial(machine)]
fn a_container_runs_in_a_container_of_an_ordinary_user() {
    let lab = Lab::new();
    let volume = format!("{}:/b", lab.dir().display());
    binary(&lab);
    let run = |script: &str| {
        let mut run = lab.as_user(BIN);
        run.args(["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script]);
        run.assert()
    };
    let root = "export MYDOCKER_ROOT=/dev/shm/m MYDOCKER_BUSYBOX=/bin/busybox";
    let inner = "/b/ch05-env run --rm busybox sh -c 'id -u; echo $$'";
    run(&format!("{root}; {inner}")).success().stdout("0\n1\n");
    // Here, the write layer would be on an overlay.
    let elsewhere = "export MYDOCKER_ROOT=/m MYDOCKER_BUSYBOX=/bin/busybox";
    let refused = run(&format!("{elsewhere}; {inner}")).code(125);
    refused.stderr(contains("MYDOCKER_ROOT=/dev/shm/mydocker"));
}

#[test]
#[file_serial(machine)]
fn an_unmapped_user_is_refused_with_a_correct_hint() {
    let lab = Lab::new();
    for caller in Caller::BOTH {
        let words = ["run", "--rm", "-u", "7:8", "busybox", "true"];
        let refused = nested(&lab, caller, &words).assert().code(125);
        refused.stderr(contains("setgid(2) 8: EINVAL")).stderr(contains(
            "the container's user namespace maps only these groups: 0; a container \
             that the host's root starts maps all",
        ));
    }
    let mut none = lab.chapter(BIN);
    none.args(["run", "--rm", "-u", "4294967295", "busybox", "true"]);
    none.assert()
        .code(125)
        .stderr(contains("invalid ID 4294967295: the largest ID is 4294967294"));
}

#[test]
#[file_serial(machine)]
fn exec_joins_only_from_the_same_or_a_parent_user_namespace() {
    let lab = Lab::new();
    let words = ["run", "-d", "--name", "one", "busybox", "sleep", "1000"];
    nested(&lab, Caller::User, &words).assert().success();
    // The owner of a namespace has all rights in it.
    let mut outside = lab.as_user(BIN);
    let outside = outside.args(["exec", "one", "id", "-u"]).assert();
    outside.success().stdout("0\n");
    // Each `unshare` creates a new namespace.
    let beside = nested(&lab, Caller::User, &["exec", "one", "id", "-u"]).assert();
    let hint = "use exec where the container was started";
    beside.code(125).stderr(contains(hint));
    nested(&lab, Caller::User, &["rm", "-f", "one"]).assert().success();
}
