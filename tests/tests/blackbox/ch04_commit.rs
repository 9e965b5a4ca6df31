//! ch04-commit: images created from containers.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use blackbox::{Caller, Lab, cgroup_roots, until};
use insta::assert_snapshot;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use serial_test::file_serial;

const BIN: &str = "ch04-commit";

fn ok(lab: &Lab, words: &[&str]) -> String {
    by(lab, Caller::Root, words)
}

/// The standard output of a command that succeeds.
fn by(lab: &Lab, caller: Caller, words: &[&str]) -> String {
    let out = caller.chapter(lab, BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

pub(crate) fn layers(state: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(state.join("layers")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The directory of the only container.
pub(crate) fn container(state: &Path) -> PathBuf {
    let mut entries = fs::read_dir(state.join("containers")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// A script that creates one file of each kind, removes a file, and replaces a directory.
pub(crate) const KINDS: &str = "
    echo text > /file; chmod 4751 /file; ln /file /linked; ln -s /none /symlink
    mkdir -p /d/e; chmod 1777 /d; touch -d '2001-02-03 04:05:06' /d/e
    mkfifo /d/fifo; rm /etc/hosts; rm -r /home; mkdir /home; echo in > /home/new
    dd if=/dev/zero of=/sparse bs=1 count=1 seek=4000000 2> /dev/null
    echo closed > /closed; chmod 000 /closed";

/// CAP_DAC_OVERRIDE and CAP_FOWNER. Their bits are the byte of a line feed.
///
/// # Source
/// include/uapi/linux/capability.h, "struct vfs_cap_data"
pub(crate) const RIGHTS: &[u8; 20] = b"\x01\0\0\x02\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
#[file_serial(machine)]
fn commit_preserves_each_kind_of_file() {
    let lab = Lab::new();
    let script = format!("{KINDS}; mknod /d/node c 1 3; chown 7:8 /d/fifo");
    let volume = format!("{}:/v", lab.dir().join("v").display());
    let run = ["run", "--name", "one", "-v", &volume, "busybox", "sh", "-c"];
    ok(&lab, &[&run[..], &[&format!("{script}; echo out > /v/volume")]].concat());
    let upper = container(&lab.state()).join("upper");
    let file = upper.join("file");
    setxattr(&file, "security.capability", RIGHTS, XattrFlags::empty()).unwrap();
    let image = lab.image();
    fs::create_dir(image.join("home/hidden")).unwrap();
    ok(&lab, &["commit", "one", "kinds"]);

    let layers = lab.layers("kinds");
    let top = lab.state().join("layers").join(&layers[0]);
    assert_eq!(layers.len(), 2);
    for name in
        ["file", "symlink", "d", "d/e", "d/fifo", "d/node", "sparse", "closed"]
    {
        let [was, is] =
            [&upper, &top].map(|at| at.join(name).symlink_metadata().unwrap());
        let facts = |m: &fs::Metadata| {
            (
                m.mode(),
                m.uid(),
                m.gid(),
                m.len(),
                m.mtime(),
                m.mtime_nsec(),
                m.rdev(),
            )
        };
        assert_eq!(facts(&was), facts(&is), "{name}");
    }
    let about = |name: &str| top.join(name).symlink_metadata().unwrap();
    assert_eq!(about("file").ino(), about("linked").ino());
    assert_eq!(about("file").mode() & 0o7777, 0o4751);
    assert!(about("sparse").blocks() < 100, "{}", about("sparse").blocks());
    assert!(about("d/fifo").file_type().is_fifo());
    assert_eq!((about("d/fifo").uid(), about("d/fifo").gid()), (7, 8));
    assert!(about("etc/hosts").file_type().is_char_device());
    let mut value = [0; 64];
    let file = top.join("file");
    assert_eq!(getxattr(&file, "security.capability", &mut value[..]), Ok(20));
    assert_eq!(&value[..20], RIGHTS);
    // The attributes of the driver itself are not copied.
    assert!(
        getxattr(top.join("etc"), "trusted.overlay.origin", &mut value[..]).is_err()
    );
    // The mount point of the volume is in the image, and it is empty.
    assert_eq!(fs::read_dir(top.join("v")).unwrap().count(), 0);

    let script = "cat /file; ls /home /etc; cat /d/node; cat /closed";
    let seen = ok(&lab, &["run", "--rm", "kinds", "sh", "-c", script]);
    assert_eq!(seen, "text\n/etc:\ngroup\npasswd\n\n/home:\nnew\nclosed\n");
    // Users of the host must not execute setuid programs of a layer.
    let mode = lab.state().join("layers").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "kinds"]);
    fs::remove_dir(image.join("home/hidden")).unwrap();
    let mut lab = lab;
    lab.update_snapshot();
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_commit_files_of_any_mode() {
    let lab = Lab::new();
    by(&lab, Caller::User, &["run", "--name", "one", "busybox", "sh", "-c", KINDS]);
    by(&lab, Caller::User, &["commit", "one", "kinds"]);
    let script = "cat /file /closed; ls /etc; stat -c %h%a /file";
    let seen = by(&lab, Caller::User, &["run", "--rm", "kinds", "sh", "-c", script]);
    assert_eq!(seen, "text\nclosed\ngroup\npasswd\n24751\n");
    by(&lab, Caller::User, &["rm", "one"]);
    by(&lab, Caller::User, &["rmi", "kinds"]);
}

#[test]
#[file_serial(machine)]
fn a_shared_layer_is_removed_with_its_last_image_or_container() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        by(&lab, caller, &["images"]);
        let state = caller.state(&lab);
        let before = layers(&state);
        by(&lab, caller, &["run", "--name", "one", "busybox", "touch", "/one"]);
        by(&lab, caller, &["commit", "one", "first"]);
        by(&lab, caller, &["run", "--name", "two", "first", "touch", "/two"]);
        by(&lab, caller, &["commit", "two", "second"]);
        assert_eq!(layers(&state).len(), before.len() + 2);

        let mut rmi = caller.chapter(&lab, BIN);
        let refused = contains(
            "image first is used by container two: remove the container first",
        );
        rmi.args(["rmi", "first"]).assert().code(125).stderr(refused);
        by(&lab, caller, &["rm", "two"]);
        by(&lab, caller, &["rmi", "first"]);
        assert_eq!(layers(&state).len(), before.len() + 2, "second uses both");
        let seen =
            by(&lab, caller, &["run", "--rm", "second", "ls", "/one", "/two"]);
        assert_eq!(seen, "/one\n/two\n");
        by(&lab, caller, &["rmi", "second"]);
        assert_eq!(layers(&state), before);
        by(&lab, caller, &["rm", "one"]);
        let gone = contains("there is no image second");
        caller
            .chapter(&lab, BIN)
            .args(["rmi", "second"])
            .assert()
            .code(125)
            .stderr(gone);
    }
}

#[test]
#[file_serial(machine)]
fn a_container_keeps_its_layers_if_its_image_is_replaced() {
    let lab = Lab::new();
    let before = layers(&lab.state());
    for number in ["1", "2"] {
        let words = ["run", "--name", "maker", "busybox", "sh", "-c"];
        let script = format!("echo {number} > /number");
        ok(&lab, &[&words[..], &[script.as_str()]].concat());
        ok(&lab, &["commit", "maker", "image"]);
        ok(&lab, &["rm", "maker"]);
        if number == "1" {
            ok(&lab, &["run", "--name", "old", "image", "true"]);
        }
    }
    // The layer of the old container no longer belongs to the image, but still exists.
    assert_eq!(layers(&lab.state()).len(), before.len() + 2);
    ok(&lab, &["commit", "old", "of-old"]);
    assert_eq!(ok(&lab, &["run", "--rm", "of-old", "cat", "/number"]), "1\n");
    assert_eq!(ok(&lab, &["run", "--rm", "image", "cat", "/number"]), "2\n");
    ok(&lab, &["rm", "old"]);
    ok(&lab, &["rmi", "image", "of-old"]);
    assert_eq!(layers(&lab.state()), before);
}

#[test]
#[file_serial(machine)]
fn an_image_of_thirty_commits_works() {
    let lab = Lab::new();
    let before = layers(&lab.state());
    let mut image = "busybox".to_owned();
    for number in 0..30 {
        let script = format!("touch /n{number}; rm -f /n{}", number - 1);
        ok(&lab, &["run", "--name", "c", &image, "sh", "-c", &script]);
        ok(&lab, &["commit", "c", "stack"]);
        ok(&lab, &["rm", "c"]);
        image = "stack".to_owned();
    }
    let seen = ok(&lab, &["run", "--rm", "stack", "sh", "-c", "ls -d /n*"]);
    assert_eq!(seen, "/n29\n");
    assert_eq!(layers(&lab.state()).len(), before.len() + 30);
    ok(&lab, &["rmi", "stack"]);
    assert_eq!(layers(&lab.state()), before);
}

#[test]
#[file_serial(machine)]
fn a_commit_on_a_full_disk_reports_it_and_creates_no_image() {
    let lab = Lab::new();
    let small = lab.dir().join("small");
    fs::create_dir(&small).unwrap();
    mount(None::<&str>, &small, Some("tmpfs"), MsFlags::empty(), Some("size=12m"))
        .unwrap();
    let state = small.join("state");
    let chapter = |words: &[&str]| {
        let mut command = lab.chapter(BIN);
        command.env("MYDOCKER_ROOT", &state).args(words);
        command.assert()
    };
    let fill = "dd if=/dev/zero of=/fill bs=1M count=6 2> /dev/null";
    chapter(&["run", "--name", "one", "busybox", "sh", "-c", fill]).success();
    let before = layers(&state);
    let full = contains("ENOSPC").and(contains("hint: the disk of the state"));
    chapter(&["commit", "one", "big"]).code(125).stderr(full);
    assert_eq!(layers(&state), before);
    chapter(&["images", "-q"]).success().stdout("busybox\n");
    umount(&small).unwrap();
}

#[test]
#[file_serial(machine)]
fn concurrent_commits_to_one_name_leave_one_complete_image() {
    let lab = Lab::new();
    let before = layers(&lab.state());
    let makers = ["a", "b", "c", "d"];
    for name in makers {
        let script = format!("echo {name} > /maker; echo {name} > /also");
        ok(&lab, &["run", "--name", name, "busybox", "sh", "-c", &script]);
    }
    let commits = makers.map(|name| {
        lab.command(&[], BIN).args(["commit", name, "image"]).spawn().unwrap()
    });
    for mut commit in commits {
        assert!(commit.wait().unwrap().success());
    }
    assert_eq!(layers(&lab.state()).len(), before.len() + 1);
    let seen = ok(&lab, &["run", "--rm", "image", "cat", "/maker", "/also"]);
    let (one, two) = seen.split_at(2);
    assert!(one == two && makers.contains(&one.trim()), "{seen}");
    ok(&lab, &[&["rm"], &makers[..]].concat());
    ok(&lab, &["rmi", "image"]);
    assert_eq!(layers(&lab.state()), before);
}

#[test]
#[file_serial(machine)]
fn commit_replaces_a_name_in_use_with_a_message_or_refuses_it() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "touch", "/one"]);
    ok(&lab, &["run", "--name", "two", "busybox", "touch", "/two"]);
    ok(&lab, &["commit", "--no-replace", "one", "image:v1"]);
    let refused = contains("the name image:v1 is already in use by image");
    let words = ["commit", "--no-replace", "two", "image:v1"];
    lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
    let replaces = contains("image:v1: image ").and(contains(" replaces image "));
    let words = ["commit", "two", "image:v1"];
    lab.chapter(BIN).args(words).assert().success().stderr(replaces);
    assert_eq!(ok(&lab, &["run", "--rm", "image:v1", "ls", "/two"]), "/two\n");
    let none = contains("there is no image image:");
    lab.chapter(BIN).args(["run", "image"]).assert().code(125).stderr(none);
    ok(&lab, &["rm", "one", "two"]);
    ok(&lab, &["rmi", "image:v1"]);
}

/// Whether the group of the container is frozen.
fn frozen(id: &str) -> bool {
    let at = |root: &Path, file: &str| {
        fs::read_to_string(root.join(format!("mydocker-{id}")).join(file))
    };
    cgroup_roots().iter().any(|root| {
        at(root, "freezer.state").is_ok_and(|text| text == "FROZEN\n")
            || at(root, "cgroup.events").is_ok_and(|text| text.contains("frozen 1"))
    })
}

/// Whether the program of the only container has created the file `ready`.
fn ready(state: &Path) -> bool {
    let entries = fs::read_dir(state.join("containers"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().join("upper/ready").exists())
}

fn id(state: &Path) -> String {
    container(state).file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
#[file_serial(machine)]
fn a_container_frozen_by_the_user_stays_frozen_after_commit() {
    let lab = Lab::new();
    let mut command = lab.command(&[], BIN);
    let script = ": > /ready; exec sleep 1000";
    command
        .args(["run", "-m", "100m", "--name", "one", "busybox", "sh", "-c", script]);
    let mut run = command.spawn().unwrap();
    until(|| ready(&lab.state()));
    let id = id(&lab.state());
    let freeze = |words: [&str; 2]| {
        for root in cgroup_roots() {
            let group = root.join(format!("mydocker-{id}"));
            for (file, word) in ["freezer.state", "cgroup.freeze"].iter().zip(words)
            {
                if group.join(file).exists() {
                    fs::write(group.join(file), word).unwrap();
                }
            }
        }
    };
    freeze(["FROZEN", "1"]);
    until(|| frozen(&id));
    ok(&lab, &["commit", "one", "image"]);
    assert!(frozen(&id));
    freeze(["THAWED", "0"]);
    kill(Pid::from_raw(run.id() as i32), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    until(|| {
        lab.chapter(BIN).args(["rm", "one"]).output().unwrap().status.success()
    });
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn commit_freezes_a_running_container_only_during_the_copy() {
    let lab = Lab::new();
    // Two files with numbers that differ by at most one at any moment.
    let script = "dd if=/dev/zero of=/big bs=1M count=48 2> /dev/null; n=0; while :; do n=$((n+1)); echo $n > /a.new; mv /a.new /a; \
                  echo $n > /b.new; mv /b.new /b; echo > /ready; done";
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--name", "one", "busybox", "sh", "-c", script]);
    let mut run = command.spawn().unwrap();
    until(|| ready(&lab.state()));
    let id = id(&lab.state());
    // A commit that is killed while the container is frozen does not leave it frozen.
    // Repeat this until the signal arrives in time.
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        loop {
            let mut command = lab.command(&[], BIN);
            let mut commit =
                command.args(["commit", "one", "image"]).spawn().unwrap();
            until(|| frozen(&id) || commit.try_wait().unwrap().is_some());
            let caught = frozen(&id);
            kill(Pid::from_raw(commit.id() as i32), signal).unwrap();
            let how = commit.wait().unwrap();
            until(|| !frozen(&id));
            if caught && how.signal() == Some(signal as i32) {
                break;
            }
        }
    }
    ok(&lab, &["commit", "one", "image"]);
    assert!(!frozen(&id));
    let seen = ok(&lab, &["run", "--rm", "image", "cat", "/a", "/b"]);
    let numbers: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] - numbers[1] <= 1, "{numbers:?}");
    // The program continues.
    let upper = container(&lab.state()).join("upper/a");
    let was = fs::read_to_string(&upper).unwrap();
    until(|| fs::read_to_string(&upper).is_ok_and(|is| is != was));
    let refused = contains("container one is running: end its program first");
    lab.chapter(BIN).args(["rm", "one"]).assert().code(125).stderr(refused);
    run.kill().unwrap();
    run.wait().unwrap();
    // `rm` removes everything that the killed supervisor has left, including the group.
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn commit_by_an_ordinary_user_says_that_the_container_was_not_frozen() {
    let lab = Lab::new();
    by(&lab, Caller::User, &["images"]);
    let mut command = lab.user_command(BIN);
    let script = "echo text > /file; echo > /ready; sleep 1000";
    command.args(["run", "--name", "one", "busybox", "sh", "-c", script]);
    let mut run = command.spawn().unwrap();
    until(|| ready(&lab.user_state()));
    let said = contains("container one is running and was not frozen");
    lab.as_user(BIN)
        .args(["commit", "one", "image"])
        .assert()
        .success()
        .stderr(said);
    kill(Pid::from_raw(run.id() as i32), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    let seen = by(&lab, Caller::User, &["run", "--rm", "image", "cat", "/file"]);
    assert_eq!(seen, "text\n");
    by(&lab, Caller::User, &["rm", "one"]);
    by(&lab, Caller::User, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn the_copy_driver_commits_its_whole_tree_as_one_layer() {
    let lab = Lab::new();
    let words = ["run", "--driver", "copy", "--name", "one", "busybox", "sh", "-c"];
    ok(&lab, &[&words[..], &["rm /etc/hosts; echo text > /file"]].concat());
    ok(&lab, &["commit", "one", "image"]);
    assert_eq!(lab.layers("image").len(), 1);
    let script = "ls /etc; cat /file";
    let seen = ok(&lab, &["run", "--rm", "image", "sh", "-c", script]);
    assert_eq!(seen, "group\npasswd\ntext\n");
    // The driver copies several layers as one merged tree.
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["run", "--name", "two", "image", "rm", "/etc/group"]);
    ok(&lab, &["commit", "two", "image"]);
    let words = ["run", "--rm", "--driver", "copy", "image", "ls", "/etc"];
    assert_eq!(ok(&lab, &words), "passwd\n");
    ok(&lab, &["rm", "two"]);
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn aufs_accepts_only_layers_without_whiteouts_of_overlayfs() {
    let lab = Lab::new();
    let aufs = ["run", "--rm", "--driver", "aufs", "image", "cat", "/file"];
    ok(&lab, &["run", "--name", "one", "busybox", "sh", "-c", "echo text > /file"]);
    ok(&lab, &["commit", "one", "image"]);
    if crate::ch02_union::has_aufs() {
        assert_eq!(ok(&lab, &aufs), "text\n");
    } else {
        let none = contains("this kernel has no aufs");
        lab.chapter(BIN).args(aufs).assert().code(125).stderr(none);
    }
    ok(&lab, &["run", "--name", "two", "image", "rm", "/etc/group"]);
    ok(&lab, &["commit", "two", "image"]);
    let whiteout = contains("/etc/group is a whiteout or an opaque directory")
        .and(contains("--driver overlay or --driver copy"));
    lab.chapter(BIN).args(aufs).assert().code(125).stderr(whiteout);
    let opaque = "rm -r /etc; mkdir /etc";
    ok(&lab, &["run", "--name", "three", "busybox", "sh", "-c", opaque]);
    ok(&lab, &["commit", "three", "image"]);
    let opaque = contains("/etc is a whiteout or an opaque directory");
    lab.chapter(BIN).args(aufs).assert().code(125).stderr(opaque);
    ok(&lab, &["rm", "one", "two", "three"]);
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn image_names_that_are_paths_are_refused_and_busybox_is_not_replaced() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    for name in ["../x", "A", "", ".hidden", "-x"] {
        let mut commit = lab.chapter(BIN);
        commit.args(["commit", "one", name]).assert().code(2).stdout("");
    }
    let refused = contains("the name busybox is reserved");
    let words = ["commit", "one", "busybox"];
    lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch04-commit-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch04-commit-commit-help", ok(&lab, &["commit", "-h"]));
}
