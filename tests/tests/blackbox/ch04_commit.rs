//! ch04-commit: images made of containers and of tars, and what goes when.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use blackbox::{Lab, Terminal, cgroup_roots, until, user, values};
use insta::assert_snapshot;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use serial_test::file_serial;
use tar::{Builder, EntryType, Header};

const BIN: &str = "ch04-commit";

/// How a lab makes a command: as root or as an ordinary user.
type By = fn(&Lab, &str) -> assert_cmd::Command;

/// Each, with its state directory, and whether it is root.
type Who = (By, fn(&Lab) -> PathBuf, bool);
const BOTH: [Who; 2] =
    [(Lab::chapter, Lab::state, true), (Lab::as_user, Lab::user_state, false)];

fn ok(lab: &Lab, words: &[&str]) -> String {
    by(lab, Lab::chapter, words)
}

/// What it printed.
fn by(lab: &Lab, new: By, words: &[&str]) -> String {
    let out = new(lab, BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn layers(state: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(state.join("layers")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The one container's directory.
fn container(state: &Path) -> PathBuf {
    let mut entries = fs::read_dir(state.join("containers")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// What makes one file of each kind, removes one, and replaces a directory.
const KINDS: &str = "
    echo text > /file; chmod 4751 /file; ln /file /linked; ln -s /none /symlink
    mkdir -p /d/e; chmod 1777 /d; touch -d '2001-02-03 04:05:06' /d/e
    mkfifo /d/fifo; rm /etc/hosts; rm -r /home; mkdir /home; echo in > /home/new
    dd if=/dev/zero of=/sparse bs=1 count=1 seek=4000000 2> /dev/null
    echo closed > /closed; chmod 000 /closed";

/// CAP_DAC_OVERRIDE and CAP_FOWNER, whose bits are a line break.
///
/// # Source
/// include/uapi/linux/capability.h, "struct vfs_cap_data"
const RIGHTS: &[u8; 20] = b"\x01\0\0\x02\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn top_layer(lab: &Lab, image: &str) -> String {
    lab.layers(image).swap_remove(0)
}

#[test]
#[file_serial(machine)]
fn each_kind_of_file_is_in_the_image_as_it_was_in_the_container() {
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
    // What the driver noted for itself stays behind.
    assert!(
        getxattr(top.join("etc"), "trusted.overlay.origin", &mut value[..]).is_err()
    );
    // The volume's place is there, and nothing in it.
    assert_eq!(fs::read_dir(top.join("v")).unwrap().count(), 0);

    let script = "cat /file; ls /home /etc; cat /d/node; cat /closed";
    let seen = ok(&lab, &["run", "--rm", "kinds", "sh", "-c", script]);
    assert_eq!(seen, "text\n/etc:\ngroup\npasswd\n\n/home:\nnew\nclosed\n");
    // Setuid programs of a layer are nothing for the host's users.
    let mode = lab.state().join("layers").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);

    // A tar keeps that too, though a line of its headers can't hold every byte.
    let tar = lab.dir().join("x.tar");
    let tar = tar.to_str().unwrap();
    ok(&lab, &["export", "-o", tar, "one"]);
    ok(&lab, &["import", tar, "flat"]);
    let flat = lab.state().join("layers").join(top_layer(&lab, "flat")).join("file");
    assert_eq!(getxattr(&flat, "security.capability", &mut value[..]), Ok(20));
    assert_eq!(&value[..20], RIGHTS);
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "kinds", "flat"]);
    fs::remove_dir(image.join("home/hidden")).unwrap();
    let mut lab = lab;
    lab.look_again();
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_commits_too_whatever_the_modes() {
    let lab = Lab::new();
    by(&lab, Lab::as_user, &["run", "--name", "one", "busybox", "sh", "-c", KINDS]);
    by(&lab, Lab::as_user, &["commit", "one", "kinds"]);
    let script = "cat /file /closed; ls /etc; stat -c %h%a /file";
    let seen = by(&lab, Lab::as_user, &["run", "--rm", "kinds", "sh", "-c", script]);
    assert_eq!(seen, "text\nclosed\ngroup\npasswd\n24751\n");
    by(&lab, Lab::as_user, &["rm", "one"]);
    by(&lab, Lab::as_user, &["rmi", "kinds"]);
}

#[test]
#[file_serial(machine)]
fn layers_are_shared_and_go_with_the_last_who_uses_them() {
    for (new, state, _) in BOTH {
        let lab = Lab::new();
        by(&lab, new, &["images"]);
        let state = state(&lab);
        let before = layers(&state);
        by(&lab, new, &["run", "--name", "one", "busybox", "touch", "/one"]);
        by(&lab, new, &["commit", "one", "first"]);
        by(&lab, new, &["run", "--name", "two", "first", "touch", "/two"]);
        by(&lab, new, &["commit", "two", "second"]);
        assert_eq!(layers(&state).len(), before.len() + 2);

        let mut rmi = new(&lab, BIN);
        let refused = contains("image first is used by container two: remove that");
        rmi.args(["rmi", "first"]).assert().code(125).stderr(refused);
        by(&lab, new, &["rm", "two"]);
        by(&lab, new, &["rmi", "first"]);
        assert_eq!(layers(&state).len(), before.len() + 2, "second has both");
        let seen = by(&lab, new, &["run", "--rm", "second", "ls", "/one", "/two"]);
        assert_eq!(seen, "/one\n/two\n");
        by(&lab, new, &["rmi", "second"]);
        assert_eq!(layers(&state), before);
        by(&lab, new, &["rm", "one"]);
        let gone = contains("there is no image second");
        new(&lab, BIN).args(["rmi", "second"]).assert().code(125).stderr(gone);
    }
}

#[test]
#[file_serial(machine)]
fn a_container_keeps_its_layers_when_its_image_is_made_anew() {
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
    // The old container's layer is not the image's any more, and still there.
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
fn thirty_commits_on_top_of_each_other() {
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
fn a_tree_goes_round_by_every_way_a_tar_can_be_packed() {
    for (new, _, root) in BOTH {
        let lab = Lab::new();
        let dir = lab.dir().join("tars");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(user()), Some(user())).unwrap();
        // An ordinary user's files are all the user's own.
        let owner = if root { "%u %g" } else { "" };
        let tree = format!(
            "cd /; find . -xdev -print0 | sort -z | \
             xargs -0 stat -c '%n %f %h %s %y {owner} %t %T'"
        );
        // What differs is the host name's own, and what the kernel mounts.
        let seen = |image: &str| {
            let script =
                format!(r"{tree} | grep -v '^\. \|^./\(dev\|proc\|sys\|etc\)'");
            by(&lab, new, &["run", "--rm", image, "sh", "-c", &script])
        };
        by(&lab, new, &["run", "--name", "one", "busybox", "sh", "-c", KINDS]);
        by(&lab, new, &["commit", "one", "layered"]);
        let whole = seen("layered");
        assert!(whole.contains("./d/fifo"), "{whole}");
        // tmpfs before Linux 6.6 lets no user set an attribute, and without one an
        // overlay can't replace a directory.
        assert!(!root || whole.contains("./home/new"), "{whole}");
        for name in ["t.tar", "t.tar.gz", "t.tar.zst"] {
            let file = dir.join(name);
            let file = file.to_str().unwrap();
            by(&lab, new, &["commit", "-o", file, "one"]);
            by(&lab, new, &["import", file, "flat"]);
            assert_eq!(seen("flat"), whole, "{name}");
            by(&lab, new, &["rmi", "flat"]);
        }
        let sizes = ["t.tar", "t.tar.gz", "t.tar.zst"]
            .map(|name| dir.join(name).metadata().unwrap().len());
        assert!(sizes[1] * 10 < sizes[0] && sizes[2] * 10 < sizes[0], "{sizes:?}");
        // By pipes, and beside the name that was asked for nothing is left.
        let out = new(&lab, BIN).args(["export", "one"]).assert().success();
        let tar = out.get_output().stdout.clone();
        new(&lab, BIN)
            .args(["import", "-", "flat"])
            .write_stdin(tar)
            .assert()
            .success();
        assert_eq!(seen("flat"), whole);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        by(&lab, new, &["rmi", "flat", "layered"]);
        by(&lab, new, &["rm", "one"]);
    }
}

#[test]
#[file_serial(machine)]
fn a_directory_becomes_an_image() {
    let lab = Lab::new();
    let tree = lab.dir().join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy(lab.image().join("bin/busybox"), tree.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", tree.join("bin/sh")).unwrap();
    let before = layers(&lab.state());
    ok(&lab, &["import", tree.to_str().unwrap(), "own"]);
    let seen = ok(&lab, &["run", "--rm", "own", "sh", "-c", "echo /bin/*"]);
    assert_eq!(seen, "/bin/busybox /bin/sh\n");
    ok(&lab, &["rmi", "own"]);
    // The state directory would be copied into itself.
    let mut import = lab.chapter(BIN);
    let refused = contains("would be copied into itself");
    import.args(["import", lab.dir().to_str().unwrap(), "own"]);
    import.assert().code(125).stderr(refused);
    assert_eq!(layers(&lab.state()), before);
}

/// A tar of (name, kind, content or link).
fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for &(name, kind, text) in entries {
        let mut header = Header::new_gnu();
        // The bytes as they are: the library's own setter refuses "..".
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        let is_file = kind == EntryType::Regular;
        if !is_file {
            let raw = header.as_gnu_mut().unwrap();
            raw.linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        let data = if is_file { text } else { "" };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
#[file_serial(machine)]
fn hostile_tars_make_no_image_and_touch_nothing_outside() {
    use EntryType::{Char, Directory, Link, Regular, Symlink};
    let lab = Lab::new();
    let victim = lab.dir().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let victim_name = victim.to_str().unwrap();
    let up = format!("../../../../../../..{victim_name}");
    let whole = tar(&[("a", Regular, &"text".repeat(1000)), ("b", Regular, "x")]);
    let refused: [(&str, Vec<u8>); 9] = [
        ("dots", tar(&[(&up, Regular, "evil")])),
        ("inner dots", tar(&[("a/../../b", Regular, "evil")])),
        ("a link to outside", tar(&[("l", Link, &up)])),
        ("a link to nothing", tar(&[("l", Link, "none")])),
        ("a file below a file", tar(&[("a", Regular, ""), ("a/b", Regular, "")])),
        ("no tar", b"hello".repeat(400)),
        ("nothing", Vec::new()),
        ("cut off in a file", whole[..2000].to_vec()),
        ("cut off behind a file", whole[..512 + 4096].to_vec()),
    ];
    for (what, bytes) in refused {
        for (new, state, _) in BOTH {
            by(&lab, new, &["images"]);
            let state = state(&lab);
            let before = layers(&state);
            let mut import = new(&lab, BIN);
            import.args(["import", "-", "evil"]).write_stdin(bytes.clone());
            let out = import.assert().code(125).stdout("");
            let said = String::from_utf8(out.get_output().stderr.clone()).unwrap();
            assert!(said.starts_with("error: import -:"), "{what}: {said}");
            assert_eq!(layers(&state), before, "{what}");
            assert_eq!(by(&lab, new, &["images", "-q"]), "busybox\n", "{what}");
        }
    }
    // These lead nowhere but into the image.
    let tamed = tar(&[
        ("/absolute", Regular, "in"),
        ("out", Symlink, &up),
        ("out", Regular, "replaced"),
        ("up", Symlink, "../../../../../.."),
        ("up/written", Regular, "in"),
        ("d/", Directory, ""),
        ("d/node", Char, ""),
    ]);
    for (new, state, root) in BOTH {
        let mut import = new(&lab, BIN);
        import.args(["import", "-", "tame"]).write_stdin(tamed.clone());
        import.assert().success();
        let state = state(&lab);
        let layers = values(state.join("images/tame"), "layer");
        let top = state.join("layers").join(&layers[0]);
        for (name, text) in
            [("absolute", "in"), ("out", "replaced"), ("written", "in")]
        {
            assert_eq!(fs::read_to_string(top.join(name)).unwrap(), text, "{name}");
        }
        // Nodes stay nodes, for whom may make them.
        let node = top.join("d/node").symlink_metadata();
        assert_eq!(node.is_ok_and(|m| m.rdev() == 0x103), root);
        by(&lab, new, &["rmi", "tame"]);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(!lab.dir().join("written").exists() && !Path::new("/written").exists());
}

#[test]
#[file_serial(machine)]
fn a_full_disk_is_named_and_no_image_is_made() {
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
    let full = || contains("ENOSPC").and(contains("hint: the disk of the state"));
    chapter(&["commit", "one", "big"]).code(125).stderr(full());
    assert_eq!(layers(&state), before);
    let file = small.join("x.tar");
    chapter(&["export", "-o", file.to_str().unwrap(), "one"])
        .code(125)
        .stderr(contains("ENOSPC"));
    assert_eq!(fs::read_dir(&small).unwrap().count(), 1);
    // Zeros: they fit on the disk as a packed tar only.
    let file = small.join("x.tar.gz");
    chapter(&["export", "-o", file.to_str().unwrap(), "one"]).success();
    chapter(&["import", file.to_str().unwrap(), "big"]).code(125).stderr(full());
    assert_eq!(layers(&state), before);
    chapter(&["images", "-q"]).success().stdout("busybox\n");
    umount(&small).unwrap();
}

#[test]
#[file_serial(machine)]
fn of_two_commits_to_one_name_one_is_whole_and_the_other_gone() {
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

/// The files that say whether the one container's group is frozen.
fn frozen(id: &str) -> bool {
    let at = |root: &Path, file: &str| {
        fs::read_to_string(root.join(format!("mydocker-{id}")).join(file))
    };
    cgroup_roots().iter().any(|root| {
        at(root, "freezer.state").is_ok_and(|text| text == "FROZEN\n")
            || at(root, "cgroup.events").is_ok_and(|text| text.contains("frozen 1"))
    })
}

/// Whether the one container has come so far.
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
fn a_running_container_is_frozen_while_it_is_copied_and_not_longer() {
    let lab = Lab::new();
    // Two files that differ by one at most at any moment.
    let script = "dd if=/dev/zero of=/big bs=1M count=48 2> /dev/null; n=0; while :; do n=$((n+1)); echo $n > /a.new; mv /a.new /a; \
                  echo $n > /b.new; mv /b.new /b; echo > /ready; done";
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--name", "one", "busybox", "sh", "-c", script]);
    let mut run = command.spawn().unwrap();
    until(|| ready(&lab.state()));
    let id = id(&lab.state());
    // Killed while the container is frozen, it leaves nobody frozen. As often as it
    // takes to be in time.
    loop {
        let mut command = lab.command(&[], BIN);
        let mut commit = command.args(["commit", "one", "image"]).spawn().unwrap();
        until(|| frozen(&id) || commit.try_wait().unwrap().is_some());
        let caught = frozen(&id);
        commit.kill().unwrap();
        let how = commit.wait().unwrap();
        until(|| !frozen(&id));
        if caught && how.signal() == Some(9) {
            break;
        }
    }
    ok(&lab, &["commit", "one", "image"]);
    assert!(!frozen(&id));
    let seen = ok(&lab, &["run", "--rm", "image", "cat", "/a", "/b"]);
    let numbers: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] - numbers[1] <= 1, "{numbers:?}");
    // It goes on.
    let upper = container(&lab.state()).join("upper/a");
    let was = fs::read_to_string(&upper).unwrap();
    until(|| fs::read_to_string(&upper).is_ok_and(|is| is != was));
    let refused = contains("container one is running: end its program first");
    lab.chapter(BIN).args(["rm", "one"]).assert().code(125).stderr(refused);
    run.kill().unwrap();
    run.wait().unwrap();
    // What the killed host side left goes with the container, its group included.
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_users_running_container_is_copied_as_it_runs_and_that_is_said() {
    let lab = Lab::new();
    by(&lab, Lab::as_user, &["images"]);
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
    let seen = by(&lab, Lab::as_user, &["run", "--rm", "image", "cat", "/file"]);
    assert_eq!(seen, "text\n");
    by(&lab, Lab::as_user, &["rm", "one"]);
    by(&lab, Lab::as_user, &["rmi", "image"]);
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
    // And a stack of layers is copied as it is seen.
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
fn aufs_takes_a_stack_of_layers_unless_one_hides_something_in_overlayfss_words() {
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
    let whiteout = contains("/etc/group hides what lies below it")
        .and(contains("--driver overlay or copy"));
    lab.chapter(BIN).args(aufs).assert().code(125).stderr(whiteout);
    let opaque = "rm -r /etc; mkdir /etc";
    ok(&lab, &["run", "--name", "three", "busybox", "sh", "-c", opaque]);
    ok(&lab, &["commit", "three", "image"]);
    let opaque = contains("/etc hides what lies below it");
    lab.chapter(BIN).args(aufs).assert().code(125).stderr(opaque);
    ok(&lab, &["rm", "one", "two", "three"]);
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn the_image_says_what_runs_and_in_which_environment() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    ok(&lab, &["commit", "one", "image"]);
    ok(&lab, &["rm", "one"]);
    let path = lab.state().join("images/image");
    let record = fs::read_to_string(&path).unwrap();
    let says =
        "command sh\ncommand -c\ncommand echo default $WORD\nenvironment WORD=a b\n";
    fs::write(&path, record.replace("command sh\n", says)).unwrap();
    assert_eq!(ok(&lab, &["run", "--rm", "image"]), "default a b\n");
    let words = ["run", "--rm", "image", "sh", "-c", "echo $WORD"];
    assert_eq!(ok(&lab, &words), "a b\n");
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn only_a_container_that_stays_has_its_layer_synced() {
    let lab = Lab::new();
    let look = ["busybox", "grep", " / overlay ", "/proc/mounts"];
    let goes = ok(&lab, &[&["run", "--rm"], &look[..]].concat());
    assert!(goes.contains("volatile"), "{goes}");
    let stays = ok(&lab, &[&["run", "--name", "one"], &look[..]].concat());
    assert!(stays.contains("upperdir") && !stays.contains("volatile"), "{stays}");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_container_stays_unless_it_never_ran_or_was_not_to_stay() {
    let lab = Lab::new();
    let count = || fs::read_dir(lab.state().join("containers")).unwrap().count();
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    lab.chapter(BIN).args(["run", "busybox", "no-such"]).assert().code(127);
    lab.chapter(BIN).args(["run", "no-image", "true"]).assert().code(125);
    assert_eq!(count(), 0);
    lab.chapter(BIN).args(["run", "busybox", "sh", "-c", "exit 3"]).assert().code(3);
    assert_eq!(count(), 1);
    let id = id(&lab.state());
    assert_eq!(values(container(&lab.state()).join("ended"), "how"), ["3"]);
    // Another's run sweeps, and leaves it alone.
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    let refused = contains("image busybox is used by container");
    lab.chapter(BIN).args(["rmi", "busybox"]).assert().code(125).stderr(refused);
    ok(&lab, &["rm", &id[..4]]);
    assert_eq!(count(), 0);
    let none = contains("there is no container");
    lab.chapter(BIN).args(["rm", &id]).assert().code(125).stderr(none);
}

#[test]
#[file_serial(machine)]
fn names_that_are_paths_are_refused_and_busybox_is_not_replaced() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    for name in ["../x", "a/b", "", ".hidden", "-x"] {
        let mut commit = lab.chapter(BIN);
        commit.args(["commit", "one", name]).assert().code(2).stdout("");
    }
    for words in [["commit", "one", "busybox"], ["import", ".", "busybox"]] {
        let refused = contains("busybox is the image that fetches itself");
        lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
    }
    for words in [["run", "../images/busybox"], ["rmi", "../images/busybox"]] {
        let refused = contains("the image's name");
        lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
    }
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_terminal_gets_no_tar() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    for words in [&["export", "one"][..], &["commit", "-o", "-", "one"]] {
        let mut command = lab.command(&[], BIN);
        command.args(words);
        let mut terminal = Terminal::run(command);
        terminal.see("error: a tar is nothing for a terminal");
        assert_eq!(terminal.end(), 125);
    }
    // What can be written to and is no file is written to.
    ok(&lab, &["export", "-o", "/dev/null", "one"]);
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn an_exported_tar_is_read_by_busybox_as_well() {
    let lab = Lab::new();
    let file = lab.dir().join("x.tar");
    let words = ["run", "--name", "one", "busybox", "sh", "-c"];
    ok(&lab, &[&words[..], &["echo text > /file; rm /etc/hosts"]].concat());
    ok(&lab, &["export", "-o", file.to_str().unwrap(), "one"]);
    let volume = format!("{}:/v", lab.dir().display());
    let words = ["run", "--rm", "-v", &volume, "busybox", "sh", "-c"];
    let script = "mkdir /t; tar -xf /v/x.tar -C /t; cat /t/file; ls /t/etc";
    let seen = ok(&lab, &[&words[..], &[script]].concat());
    assert_eq!(seen, "text\ngroup\npasswd\n");
    let mut head = [0; 512];
    File::open(&file).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head[257..262], b"ustar");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn help_is_a_page() {
    let lab = Lab::new();
    let page = |words: &[&str]| ok(&lab, words);
    assert_snapshot!("ch04-commit-help", page(&["--help"]));
    assert_snapshot!("ch04-commit-run-help", page(&["run", "--help"]));
    for action in ["commit", "export", "import", "images", "rmi", "rm"] {
        let help = page(&[action, "-h"]);
        assert_snapshot!(format!("ch04-commit-{action}-help"), help);
    }
}
