//! ch04-image: the volumes that an image declares.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use blackbox::{Caller, Lab, record};
use predicates::str::contains;
use serial_test::file_serial;

use crate::ch04_commit::container;

const BIN: &str = "ch04-commit";

/// The standard output of a command that succeeds.
fn by(lab: &Lab, caller: Caller, words: &[&str]) -> String {
    let out = caller.chapter(lab, BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// Create an image `made` with files below /srv that declares these volumes.
fn make(lab: &Lab, caller: Caller, state: &Path, volumes: &[&str]) {
    let tree = "mkdir -p /srv/data/in; echo text > /srv/data/in/file; \
                ln -s in/file /srv/data/link; ln /srv/data/in/file /srv/data/hard; \
                touch -d '2001-02-03 04:05:06' /srv/data/in/file; chmod 1750 /srv/data; \
                ln -s ../../../../../../../../../../tmp /out";
    by(lab, caller, &["run", "--name", "maker", "busybox", "sh", "-c", tree]);
    by(lab, caller, &["commit", "maker", "made"]);
    by(lab, caller, &["rm", "maker"]);
    let path = record(state, "made");
    let text = fs::read_to_string(&path).unwrap();
    let lines: String =
        volumes.iter().map(|volume| format!("volume {volume}\n")).collect();
    let text = text.replace("\ncreated ", &format!("\n{lines}created "));
    fs::write(path, text).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_declared_volume_has_the_images_files_and_ends_with_the_container() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let state = caller.state(&lab);
        make(&lab, caller, &state, &["/srv/data", "/srv/data/in/deep", "new"]);
        let look = "cd /srv/data; stat -c %a .; cat link; stat -c %h hard; \
                    stat -c %Y in/file; cut -d ' ' -f 2 /proc/mounts | grep -e srv -e new; \
                    echo more > /srv/data/more; echo x > /new/x; rm link";
        let seen =
            by(&lab, caller, &["run", "--name", "one", "made", "sh", "-c", look]);
        let mounts = "/new\n/srv/data\n/srv/data/in/deep\n";
        assert_eq!(seen, format!("1750\ntext\n2\n981173106\n{mounts}"));
        let home = container(&state);
        assert_eq!(fs::read_to_string(home.join("volumes/0/x")).unwrap(), "x\n");
        let data = home.join("volumes/1");
        assert_eq!(fs::read_to_string(data.join("more")).unwrap(), "more\n");
        let write_layer = home.join("upper/srv/data");
        assert!(!write_layer.join("more").exists());
        // The files of the image have not changed, and the new image has no others.
        by(&lab, caller, &["commit", "one", "again"]);
        let list = ["ls", "/srv/data", "/new"];
        let words = [&["run", "--rm", "again"], &list[..]].concat();
        assert_eq!(
            by(&lab, caller, &words),
            "/new:\n\n/srv/data:\nhard\nin\nlink\n"
        );
        by(&lab, caller, &["rm", "one"]);
        assert_eq!(fs::read_dir(state.join("containers")).unwrap().count(), 0);
        by(&lab, caller, &["rmi", "made", "again"]);
    }
}

#[test]
#[file_serial(machine)]
fn a_volume_of_the_caller_replaces_a_declared_one() {
    let lab = Lab::new();
    make(&lab, Caller::Root, &lab.state(), &["/srv/data", "/srv/data/in"]);
    let host = lab.dir().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("mine"), "").unwrap();
    let list = |guest: &str| {
        let volume = format!("{}:{guest}", host.display());
        let words = [
            "run",
            "--rm",
            "-v",
            &volume,
            "made",
            "ls",
            "/srv/data",
            "/srv/data/in",
        ];
        by(&lab, Caller::Root, &words)
    };
    assert_eq!(
        list("/srv/data/in"),
        "/srv/data:\nhard\nin\nlink\n\n/srv/data/in:\nmine\n"
    );
    let lab_host = host.join("in");
    fs::create_dir(&lab_host).unwrap();
    assert_eq!(list("/srv/data"), "/srv/data:\nin\nmine\n\n/srv/data/in:\n");
    let about = fs::metadata(&host).unwrap();
    assert_eq!(about.mode() & 0o7777, 0o755, "the caller's directory is unchanged");
    by(&lab, Caller::Root, &["rmi", "made"]);
}

#[test]
#[file_serial(machine)]
fn a_declared_volume_is_writable_below_a_read_only_root() {
    let lab = Lab::new();
    make(&lab, Caller::Root, &lab.state(), &["/srv/data"]);
    let mut run = lab.chapter("ch05-env");
    run.args(["run", "--rm", "--read-only", "made", "touch", "/srv/data/x", "/y"]);
    run.assert().code(1).stderr(contains("/y: Read-only file system"));
    by(&lab, Caller::Root, &["rmi", "made"]);
}

#[test]
#[file_serial(machine)]
fn a_declared_volume_never_leads_out_of_the_container() {
    let lab = Lab::new();
    for path in ["/", "/srv/../..", ".."] {
        make(&lab, Caller::Root, &lab.state(), &[path]);
        let refused = contains(format!("the image declares the volume {path:?}"));
        let mut run = lab.chapter(BIN);
        run.args(["run", "--rm", "made", "true"]).assert().code(125).stderr(refused);
        by(&lab, Caller::Root, &["rmi", "made"]);
    }
    let name = format!("declared-{}", std::process::id());
    make(&lab, Caller::Root, &lab.state(), &[&format!("/out/{name}")]);
    let words = ["run", "--rm", "made", "ls", "/tmp"];
    assert_eq!(by(&lab, Caller::Root, &words), format!("{name}\n"));
    assert!(!Path::new("/tmp").join(name).exists());
    by(&lab, Caller::Root, &["rmi", "made"]);
}
