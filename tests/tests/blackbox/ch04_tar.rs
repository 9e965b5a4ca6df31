//! ch04-tar: images from tar archives, and tar archives of containers.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use blackbox::{Caller, Lab, Terminal, record, user, values};
use insta::assert_snapshot;
use nix::mount::{MsFlags, mount, umount};
use predicates::prelude::*;
use predicates::str::contains;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use serial_test::file_serial;
use tar::{Builder, EntryType, Header};

use crate::ch04_commit::{KINDS, RIGHTS, container, layers};

const BIN: &str = "ch04-tar";

fn ok(lab: &Lab, words: &[&str]) -> String {
    by(lab, Caller::Root, words)
}

/// The standard output of a command that succeeds.
fn by(lab: &Lab, caller: Caller, words: &[&str]) -> String {
    let out = caller.chapter(lab, BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn top_layer(lab: &Lab, image: &str) -> String {
    lab.layers(image).swap_remove(0)
}

#[test]
#[file_serial(machine)]
fn commit_and_import_preserve_a_tree_in_every_compression() {
    for caller in Caller::BOTH {
        let root = caller == Caller::Root;
        let lab = Lab::new();
        let dir = lab.dir().join("tars");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(user()), Some(user())).unwrap();
        // For an ordinary user, all files belong to the user.
        let owner = if root { "%u %g" } else { "" };
        let tree = format!(
            "cd /; find . -xdev -print0 | sort -z | \
             xargs -0 stat -c '%n %f %h %s %y {owner} %t %T'"
        );
        // /etc differs because of the hostname, and the mount points because of the
        // kernel's filesystems.
        let seen = |image: &str| {
            let script =
                format!(r"{tree} | grep -v '^\. \|^./\(dev\|proc\|sys\|etc\)'");
            by(&lab, caller, &["run", "--rm", image, "sh", "-c", &script])
        };
        by(&lab, caller, &["run", "--name", "one", "busybox", "sh", "-c", KINDS]);
        by(&lab, caller, &["commit", "one", "layered"]);
        let whole = seen("layered");
        assert!(whole.contains("./d/fifo"), "{whole}");
        // Before Linux 6.6, tmpfs does not let users set an attribute, and an overlay
        // needs one to replace a directory.
        assert!(!root || whole.contains("./home/new"), "{whole}");
        for name in ["t.tar", "t.tar.gz", "t.tar.zst"] {
            let file = dir.join(name);
            let file = file.to_str().unwrap();
            by(&lab, caller, &["commit", "-o", file, "one"]);
            by(&lab, caller, &["import", file, "flat"]);
            assert_eq!(seen("flat"), whole, "{name}");
            by(&lab, caller, &["rmi", "flat"]);
        }
        let sizes = ["t.tar", "t.tar.gz", "t.tar.zst"]
            .map(|name| dir.join(name).metadata().unwrap().len());
        assert!(sizes[1] * 4 < sizes[0] && sizes[2] * 4 < sizes[0], "{sizes:?}");
        // The extension of a compression that the program does not write.
        let file = dir.join("t.tar.xz");
        for words in [["export", "-o"], ["commit", "-o"]] {
            let refused =
                caller.chapter(&lab, BIN).args(words).arg(&file).arg("one").assert();
            refused.failure().stderr(contains("only .gz, .tgz, .zst and .tzst"));
        }
        // Through pipes. No other files than the requested ones are left.
        let out =
            caller.chapter(&lab, BIN).args(["export", "one"]).assert().success();
        let tar = out.get_output().stdout.clone();
        caller
            .chapter(&lab, BIN)
            .args(["import", "-", "flat"])
            .write_stdin(tar)
            .assert()
            .success();
        assert_eq!(seen("flat"), whole);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        by(&lab, caller, &["rmi", "flat", "layered"]);
        by(&lab, caller, &["rm", "one"]);
    }
}

#[test]
#[file_serial(machine)]
fn import_creates_an_image_from_a_directory() {
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
    // The same applies if the import would create the state directory.
    let inside = tree.join("state");
    let mut import = lab.chapter(BIN);
    import.args(["import", tree.to_str().unwrap(), "own"]);
    import
        .env("MYDOCKER_ROOT", &inside)
        .assert()
        .code(125)
        .stderr(contains("would be copied into itself"));
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
fn hostile_tars_create_no_image_and_change_nothing_outside() {
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
        for caller in Caller::BOTH {
            by(&lab, caller, &["images"]);
            let state = caller.state(&lab);
            let before = layers(&state);
            let mut import = caller.chapter(&lab, BIN);
            import.args(["import", "-", "evil"]).write_stdin(bytes.clone());
            let out = import.assert().code(125).stdout("");
            let said = String::from_utf8(out.get_output().stderr.clone()).unwrap();
            assert!(said.starts_with("error: import -:"), "{what}: {said}");
            assert_eq!(layers(&state), before, "{what}");
            assert_eq!(by(&lab, caller, &["images", "-q"]), "busybox\n", "{what}");
        }
    }
    // All these names stay inside the image.
    let harmless = tar(&[
        ("/absolute", Regular, "in"),
        ("out", Symlink, &up),
        ("out", Regular, "replaced"),
        ("up", Symlink, "../../../../../.."),
        ("up/written", Regular, "in"),
        ("d/", Directory, ""),
        ("d/node", Char, ""),
    ]);
    for caller in Caller::BOTH {
        let root = caller == Caller::Root;
        let mut import = caller.chapter(&lab, BIN);
        import.args(["import", "-", "tame"]).write_stdin(harmless.clone());
        import.assert().success();
        let state = caller.state(&lab);
        let layers = values(record(&state, "tame"), "layer");
        let top = state.join("layers").join(&layers[0]);
        for (name, text) in
            [("absolute", "in"), ("out", "replaced"), ("written", "in")]
        {
            assert_eq!(fs::read_to_string(top.join(name)).unwrap(), text, "{name}");
        }
        // A device stays a device if the user may create devices.
        let node = top.join("d/node").symlink_metadata();
        assert_eq!(node.is_ok_and(|m| m.rdev() == 0x103), root);
        by(&lab, caller, &["rmi", "tame"]);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(!lab.dir().join("written").exists() && !Path::new("/written").exists());
}

#[test]
#[file_serial(machine)]
fn a_tar_is_not_written_to_a_terminal() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    for words in [&["export", "one"][..], &["commit", "-o", "-", "one"]] {
        let mut command = lab.command(&[], BIN);
        command.args(words);
        let mut terminal = Terminal::run(command);
        terminal.see("error: a tar archive must not be written to a terminal");
        assert_eq!(terminal.end(), 125);
    }
    // An existing device is not replaced: the archive is written to it.
    ok(&lab, &["export", "-o", "/dev/null", "one"]);
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn an_import_at_a_terminal_shows_after_two_seconds_how_far_it_is() {
    let lab = Lab::new();
    let text = "x".repeat(2_000_000);
    let archive = tar(&[("data", EntryType::Regular, &text)]);
    fs::write(lab.dir().join("data.tar"), archive).unwrap();
    let script = "{ head -c 1000000 data.tar; sleep 2.5; tail -c +1000001 data.tar; } \
                  | \"$0\" import - data && echo complete";
    let mut command = lab.command(&["sh", "-c", script].map(OsStr::new), BIN);
    command.current_dir(lab.dir());
    let mut terminal = Terminal::run(command);
    terminal.see("\rimport -: 1.");
    terminal.see(" MB processed\x1b[K");
    // The line is removed, so that the output of a command begins at the margin.
    terminal.see("\r\x1b[Kcomplete");
    assert_eq!(terminal.end(), 0);
    ok(&lab, &["rmi", "data"]);
}

#[test]
#[file_serial(machine)]
fn busybox_tar_reads_an_exported_tar() {
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
fn a_tar_preserves_an_extended_attribute_with_a_line_feed() {
    let lab = Lab::new();
    let words = ["run", "--name", "one", "busybox", "sh", "-c"];
    ok(&lab, &[&words[..], &["echo text > /file"]].concat());
    let file = container(&lab.state()).join("upper/file");
    setxattr(&file, "security.capability", RIGHTS, XattrFlags::empty()).unwrap();
    let tar = lab.dir().join("x.tar");
    let tar = tar.to_str().unwrap();
    ok(&lab, &["export", "-o", tar, "one"]);
    ok(&lab, &["import", tar, "flat"]);
    let flat = lab.state().join("layers").join(top_layer(&lab, "flat")).join("file");
    let mut value = [0; 64];
    assert_eq!(getxattr(&flat, "security.capability", &mut value[..]), Ok(20));
    assert_eq!(&value[..20], RIGHTS);
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "flat"]);
}

#[test]
#[file_serial(machine)]
fn a_full_disk_is_reported_and_leaves_no_tar_and_no_image() {
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
    let file = small.join("x.tar");
    chapter(&["export", "-o", file.to_str().unwrap(), "one"])
        .code(125)
        .stderr(contains("ENOSPC"));
    assert_eq!(fs::read_dir(&small).unwrap().count(), 1);
    // The file is all zeros: the disk has space for the compressed tar only.
    let file = small.join("x.tar.gz");
    chapter(&["export", "-o", file.to_str().unwrap(), "one"]).success();
    let full = contains("ENOSPC").and(contains("hint: the disk of the state"));
    chapter(&["import", file.to_str().unwrap(), "big"]).code(125).stderr(full);
    assert_eq!(layers(&state), before);
    chapter(&["images", "-q"]).success().stdout("busybox\n");
    umount(&small).unwrap();
}

#[test]
#[file_serial(machine)]
fn image_names_that_are_paths_are_refused_and_busybox_is_not_replaced() {
    let lab = Lab::new();
    for name in ["../x", "A", "", ".hidden", "-x"] {
        let mut import = lab.chapter(BIN);
        import.args(["import", ".", name]).assert().code(2).stdout("");
    }
    let refused = contains("the name busybox is reserved");
    let words = ["import", ".", "busybox"];
    lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch04-tar-help", ok(&lab, &["--help"]));
    for action in ["commit", "export", "import"] {
        let help = ok(&lab, &[action, "-h"]);
        assert_snapshot!(format!("ch04-tar-{action}-help"), help);
    }
}
