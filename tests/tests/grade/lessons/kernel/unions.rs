//! The checks of ch02-union: an overlay, and the copy of all layers.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::Entry;
use crate::ended::Ended;
use crate::lessons::whiteout::is_whiteout;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("union", "a_write_copies_the_file_to_the_upper_directory", copy_up, ""),
    ("union", "a_removed_file_becomes_a_whiteout", whiteout, ""),
    ("union", "the_first_lower_directory_lies_on_top", order, ""),
    ("union", "a_mount_is_not_visible_outside", private, ""),
    ("union", "options_longer_than_a_page_are_mounted", many, ""),
    ("copy", "a_whiteout_and_an_opaque_directory_hide_lower_files", hides, ""),
    ("copy", "a_file_replaces_a_symlink_and_a_directory", replaces, ""),
    ("copy", "the_upper_directory_receives_the_merged_tree", upper, ""),
    ("copy", "an_incomplete_copy_is_removed", incomplete, ""),
    ("copy", "owners_modes_and_times_are_copied", attributes, ""),
    ("copy", "setuid_bits_and_capabilities_are_copied", rights, ""),
    ("copy", "a_symlink_is_copied_without_its_target", links, ""),
];

/// The directories of a union.
struct Trees {
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
}

impl Trees {
    /// Two lower directories, the topmost first.
    fn new(room: &Room) -> Trees {
        let [top, bottom, upper, work] =
            ["top", "bottom", "upper", "work"].map(|name| room.directory(name));
        Trees { lower: vec![top, bottom], upper, work }
    }

    fn top(&self) -> &Path {
        &self.lower[0]
    }

    fn bottom(&self) -> &Path {
        self.lower.last().expect("a lower directory")
    }

    /// The options for these directories.
    fn flags(&self, driver: &str) -> Vec<String> {
        let mut flags = vec!["--driver".to_owned(), driver.to_owned()];
        let lower = self.lower.iter().map(|lower| ("--lower", lower));
        for (flag, path) in
            lower.chain([("--upper", &self.upper), ("--work", &self.work)])
        {
            flags.extend([flag.to_owned(), path.display().to_string()]);
        }
        flags
    }

    /// Run a script in the merged tree of this driver.
    fn sh(&self, room: &Room, driver: &str, script: &str) -> Result<Ended, Trouble> {
        let flags = self.flags(driver);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        room.sh(script).flags(&flags).end()
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir(2)");
    fs::write(path, text).expect("write(2)");
}

/// The file contains this text.
fn contains(path: &Path, text: &str) -> Outcome {
    let found = fs::read_to_string(path);
    let found = found.map_or_else(|e| e.to_string(), |text| format!("{text:?}"));
    let expected = format!("{text:?}");
    let place = path.display();
    so(found == expected, &format!("{expected} in {place}"), found)
}

fn copy_up(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    write(&trees.bottom().join("a"), "one\n");
    let ended = trees.sh(room, "overlay", "echo more >> a; cat a")?;
    ended.prints("one\nmore\n")?;
    contains(&trees.bottom().join("a"), "one\n")?;
    contains(&trees.upper.join("a"), "one\nmore\n")
}

fn whiteout(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    write(&trees.bottom().join("a"), "one\n");
    trees.sh(room, "overlay", "rm a; ls")?.prints("")?;
    contains(&trees.bottom().join("a"), "one\n")?;
    is_whiteout(&trees.upper.join("a"))
}

fn order(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    write(&trees.top().join("a"), "top\n");
    write(&trees.bottom().join("a"), "bottom\n");
    write(&trees.bottom().join("b"), "bottom\n");
    trees.sh(room, "overlay", "cat a b")?.prints("top\nbottom\n")
}

fn private(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    write(&trees.bottom().join("a"), "one\n");
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("read(2)");
    let before = mounts();
    let script = "grep -c ' - overlay ' /proc/self/mountinfo";
    let ended = trees.sh(room, "overlay", script)?;
    ended.succeeds()?;
    let after = mounts();
    let mut new = after.lines().filter(|line| !before.contains(line));
    so(new.next().is_none(), "the mounts outside as before", after.clone())
}

fn many(room: &mut Room) -> Outcome {
    let mut trees = Trees::new(room);
    // A working directory with a long path keeps the command line short. The absolute
    // paths of 12 layers do not fit into a page of 4096 bytes.
    let long = room.path(&"long".repeat(50)).join("long".repeat(50));
    trees.lower = (0..12).map(|n| n.to_string().into()).collect();
    for name in &trees.lower {
        let (lower, name) = (long.join(name), name.to_string_lossy());
        write(&lower.join("all"), &name);
        write(&lower.join(format!("of-{name}")), "");
    }
    let script = "cat all; echo; ls | wc -l; touch new; pwd; \
                  grep -c /merged /proc/self/mountinfo";
    let flags = trees.flags("overlay");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let run = room.sh(script).flags(&flags).at(&long.to_string_lossy());
    let ended = run.end()?;
    ended.succeeds()?;
    let lines: Vec<&str> = ended.out.lines().collect();
    let right = matches!(*lines, ["0", "13", at, "1"] if at.ends_with("/merged"));
    ended.so(
        right,
        "the file \"all\" of layer 0, 13 files, the working directory merged, and one \
         mount on it",
    )?;
    so(
        trees.upper.join("new").exists(),
        "the new file in the upper directory",
        "it is not there",
    )
}

fn hides(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    for name in ["gone", "kept", "new/old", "both/below"] {
        write(&trees.bottom().join(name), "");
    }
    write(&trees.top().join("new/young"), "");
    write(&trees.top().join("both/above"), "");
    let (kind, mode) = (SFlag::S_IFCHR, Mode::empty());
    mknod(&trees.top().join("gone"), kind, mode, 0).expect("mknod(2)");
    let opaque = "trusted.overlay.opaque";
    setxattr(trees.top().join("new"), opaque, b"y", XattrFlags::empty())
        .expect("setxattr(2)");
    let script = "find . -type f -o -type c | sort";
    let expected = "./both/above\n./both/below\n./kept\n./new/young\n";
    trees.sh(room, "copy", script)?.prints(expected)
}

fn replaces(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    let outside = room.path("outside");
    write(&outside, "as it was\n");
    symlink(&outside, trees.bottom().join("a")).expect("symlink(2)");
    write(&trees.top().join("a"), "top\n");
    write(&trees.bottom().join("b/inside"), "");
    write(&trees.top().join("b"), "top\n");
    write(&trees.bottom().join("c"), "bottom\n");
    write(&trees.top().join("c/inside"), "top\n");
    let ended = trees.sh(room, "copy", "cat a b c/inside; test -L a && echo link");
    // The error is the more useful one: a write through the symlink.
    contains(&outside, "as it was\n")?;
    let ended = ended?;
    ended.so(
        ended.out == "top\ntop\ntop\n",
        "the files a, b and c/inside of the top layer, and a is no symlink",
    )
}

fn upper(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    write(&trees.bottom().join("a"), "one\n");
    fs::set_permissions(&trees.upper, Permissions::from_mode(0o751)).unwrap();
    trees.sh(room, "copy", "echo more >> a")?.succeeds()?;
    contains(&trees.bottom().join("a"), "one\n")?;
    contains(&trees.upper.join("a"), "one\nmore\n")?;
    let mode = fs::metadata(&trees.upper).expect("stat(2)").mode() & 0o7777;
    so(mode == 0o751, "the upper directory with its mode 751", format!("{mode:o}"))?;
    // The next run keeps what the first run has written.
    trees.sh(room, "copy", "cat a")?.prints("one\nmore\n")
}

fn incomplete(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    write(&trees.bottom().join("a"), "one\n");
    // An earlier run was killed while it copied.
    write(&trees.work.join("copy/old"), "");
    trees.sh(room, "copy", "ls")?.prints("a\n")?;
    let left = fs::read_dir(&trees.work).expect("readdir(3)").count();
    so(left == 0, "an empty work directory", format!("{left} entries"))
}

/// Run with a file `a` of the lower layer, and return the paths of it and of its copy.
fn copied(
    room: &Room,
    trees: &Trees,
    prepare: impl FnOnce(&Path),
) -> Result<(PathBuf, PathBuf), Trouble> {
    let from = trees.bottom().join("a");
    write(&from, "one\n");
    prepare(&from);
    trees.sh(room, "copy", "true")?.succeeds()?;
    Ok((from, trees.upper.join("a")))
}

const MOMENT: u64 = 1_000_000_000;

fn attributes(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    let (_, to) = copied(room, &trees, |from| {
        chown(from, Some(7), Some(8)).expect("chown(2)");
        fs::set_permissions(from, Permissions::from_mode(0o640)).unwrap();
        let time = UNIX_EPOCH + Duration::new(MOMENT, 5);
        let file = fs::File::options().write(true).open(from).unwrap();
        file.set_modified(time).expect("utimensat(2)");
    })?;
    let about = fs::metadata(&to).expect("stat(2)");
    let found = format!(
        "owner {}:{}, mode {:o}, time {}.{}",
        about.uid(),
        about.gid(),
        about.mode() & 0o7777,
        about.mtime(),
        about.mtime_nsec()
    );
    let expected = format!("owner 7:8, mode 640, time {MOMENT}.5");
    so(found == expected, &expected, found)
}

/// The capability CAP_NET_RAW of a file.
///
/// # Source
/// linux/capability.h, "vfs_cap_data": version 2 and the effective bit, then the
/// permitted and inheritable sets
const CAPABILITY: [u8; 20] =
    [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn rights(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    let name = "security.capability";
    let (_, to) = copied(room, &trees, |from| {
        chown(from, Some(7), Some(8)).expect("chown(2)");
        fs::set_permissions(from, Permissions::from_mode(0o4755)).unwrap();
        setxattr(from, name, &CAPABILITY, XattrFlags::empty()).expect("setxattr(2)");
    })?;
    let mode = fs::metadata(&to).expect("stat(2)").mode() & 0o7777;
    let expected = "mode 4755: chown(2) clears the setuid bit";
    so(mode == 0o4755, expected, format!("mode {mode:o}"))?;
    let mut value = [0; 64];
    let length = getxattr(&to, name, &mut value[..]).unwrap_or(0);
    so(
        value[..length] == CAPABILITY,
        &format!("the attribute {name}: chown(2) clears it"),
        format!("{:?}", &value[..length]),
    )
}

fn links(room: &mut Room) -> Outcome {
    let trees = Trees::new(room);
    let outside = room.path("outside");
    write(&outside, "");
    fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
    let own = |path: &Path| {
        let about = fs::symlink_metadata(path).expect("lstat(2)");
        format!("owner {}, mode {:o}", about.uid(), about.mode() & 0o7777)
    };
    let before = own(&outside);
    for (name, target) in [("to-file", &*outside), ("to-none", Path::new("none"))] {
        let link = trees.bottom().join(name);
        symlink(target, &link).expect("symlink(2)");
        lchown(&link, Some(7), Some(8)).expect("lchown(2)");
    }
    let ended = trees.sh(room, "copy", "readlink to-none");
    let after = own(&outside);
    so(after == before, &format!("the link's target with {before}"), after)?;
    ended?.prints("none\n")?;
    let about = fs::symlink_metadata(trees.upper.join("to-file"));
    let owner = about.expect("lstat(2)").uid();
    so(owner == 7, "the symlink with the owner 7", format!("owner {owner}"))
}
