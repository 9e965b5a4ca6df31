//! ch02-union: trees on top of each other, by the same rules whoever merges them.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{
    FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use assert_cmd::assert::Assert;
use blackbox::{Lab, probe, user};
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use serial_test::file_serial;

/// The rules, each a test for each of the two drivers.
macro_rules! rules {
    ($($rule:ident)*) => {
        mod overlay {
            use serial_test::file_serial;
            $(
                #[test]
                #[file_serial(machine)]
                fn $rule() {
                    super::$rule("overlay");
                }
            )*
        }

        mod aufs {
            use serial_test::file_serial;
            $(
                #[test]
                #[file_serial(machine)]
                fn $rule() {
                    if !super::has_aufs() {
                        return blackbox::skip("this kernel has no aufs");
                    }
                    super::$rule("aufs");
                }
            )*
        }
    };
}

rules! {
    upper_hides_lower_and_directories_are_merged
    the_leftmost_lower_directory_lies_on_top
    the_first_write_copies_the_whole_file_up
    a_removed_file_leaves_a_whiteout_and_is_gone_in_the_next_run
    a_directory_that_is_made_again_is_opaque
    whiteouts_and_opaque_directories_count_in_a_lower_layer_too
    a_directory_of_the_lower_layer_is_not_renamed
    more_layers_than_a_page_of_options_has_room_for_are_merged
    the_merged_tree_is_seen_at_the_place_that_was_named_and_by_nobody_else
}

/// Whether the kernel knows this file system now.
fn is_known(name: &str) -> bool {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    kinds.lines().any(|line| line.trim_start_matches("nodev\t") == name)
}

pub(crate) fn has_aufs() -> bool {
    let known = || is_known("aufs");
    // Without a module of that name it fails, and nothing is known that wasn't.
    known()
        || Command::new("modprobe").args(["-q", "aufs"]).status().is_ok() && known()
}

/// Trees to play with, and who merges them.
struct Play {
    lab: Lab,
    driver: &'static str,
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
}

impl Play {
    fn new(driver: &'static str) -> Play {
        let lab = Lab::new();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| {
            let path = lab.dir().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        Play { lab, driver, lower: vec![lower], upper, work }
    }

    /// The last of the lower directories.
    fn lower(&self) -> &Path {
        self.lower.last().unwrap()
    }

    fn write(&self, at: &Path, text: &str) {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    }

    fn complete(&self, mut run: assert_cmd::Command) -> assert_cmd::Command {
        run.args(["run", "--driver", self.driver]);
        for lower in &self.lower {
            run.arg("--lower").arg(lower);
        }
        run.arg("--upper").arg(&self.upper).arg("--work").arg(&self.work);
        run
    }

    /// Run a program in the merged tree.
    fn run(&self, words: &[&str]) -> Assert {
        self.complete(self.lab.chapter("ch02-union")).args(words).assert()
    }

    /// What a script prints in it.
    fn shell(&self, script: &str) -> String {
        let run = self.run(&["sh", "-c", script]).success().stderr("");
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    }

    /// The refusal, before which nothing has run.
    fn refused(&self) -> String {
        let run = self.run(&["echo", "it ran"]).code(125).stdout("");
        String::from_utf8(run.get_output().stderr.clone()).unwrap()
    }

    /// Assert that the write layer says this file to be removed.
    fn assert_whiteout(&self, path: &str) {
        let path = self.upper.join(path);
        if self.driver == "aufs" {
            let name = path.file_name().unwrap().to_str().unwrap();
            let mark = path.with_file_name(format!(".wh.{name}"));
            assert_eq!(fs::metadata(mark).unwrap().len(), 0);
        } else {
            let mark = fs::symlink_metadata(path).unwrap();
            assert!(mark.file_type().is_char_device());
            assert_eq!(mark.rdev(), 0);
        }
    }

    /// Assert that this directory of the write layer hides what lies below.
    fn assert_opaque(&self, path: &str) {
        let path = self.upper.join(path);
        if self.driver == "aufs" {
            assert!(path.join(".wh..wh..opq").exists());
        } else {
            assert_eq!(attribute(&path, "trusted.overlay.opaque"), b"y");
        }
    }
}

fn attribute(path: &Path, name: &str) -> Vec<u8> {
    let mut value = [0; 64];
    let length = lgetxattr(path, name, &mut value[..]).unwrap();
    value[..length].to_vec()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn upper_hides_lower_and_directories_are_merged(driver: &'static str) {
    let play = Play::new(driver);
    play.write(&play.lower().join("both"), "lower\n");
    play.write(&play.upper.join("both"), "upper\n");
    play.write(&play.lower().join("dir/below"), "");
    play.write(&play.upper.join("dir/above"), "");
    assert_eq!(play.shell("cat both; ls dir"), "upper\nabove\nbelow\n");
}

fn the_leftmost_lower_directory_lies_on_top(driver: &'static str) {
    let mut play = Play::new(driver);
    play.lower = ["l1", "l2", "l3"].map(|name| play.lab.dir().join(name)).to_vec();
    for lower in &play.lower {
        let name = lower.file_name().unwrap().to_str().unwrap();
        play.write(&lower.join("all"), name);
        play.write(&lower.join(name), name);
    }
    play.write(&play.lower[1].join("two"), "l2");
    play.write(&play.lower[2].join("two"), "l3");
    assert_eq!(play.shell("cat all two; echo; echo *"), "l1l2\nall l1 l2 l3 two\n");
}

fn the_first_write_copies_the_whole_file_up(driver: &'static str) {
    let play = Play::new(driver);
    let text = "x".repeat(1 << 20);
    let (below, above) = (play.lower().join("big"), play.upper.join("big"));
    play.write(&below, &text);
    fs::set_permissions(&below, fs::Permissions::from_mode(0o4751)).unwrap();
    chown(&below, Some(7), Some(8)).unwrap();
    fs::set_permissions(&below, fs::Permissions::from_mode(0o4751)).unwrap();
    // To look is no write.
    assert_eq!(play.shell("wc -c < big"), "1048576\n");
    assert!(!above.exists());
    play.shell("chmod 4750 big");
    let (old, new) = (fs::metadata(&below).unwrap(), fs::metadata(&above).unwrap());
    assert_eq!(
        (new.len(), new.mode(), new.uid(), new.gid()),
        (1 << 20, 0o104750, 7, 8)
    );
    assert_eq!((old.len(), old.mode()), (1 << 20, 0o104751));
    play.shell("printf y >> big");
    assert_eq!(fs::read_to_string(above).unwrap(), text.clone() + "y");
    assert_eq!(fs::read_to_string(below).unwrap(), text);
}

fn a_removed_file_leaves_a_whiteout_and_is_gone_in_the_next_run(
    driver: &'static str,
) {
    let play = Play::new(driver);
    play.write(&play.lower().join("d/gone"), "text");
    play.write(&play.lower().join("d/kept"), "");
    assert_eq!(play.shell("rm d/gone; ls d; touch d/new"), "kept\n");
    play.assert_whiteout("d/gone");
    assert_eq!(
        names(&play.lower().join("d")),
        ["gone", "kept"].map(Into::into).into()
    );
    assert_eq!(play.shell("ls d"), "kept\nnew\n");
    // A file may come back, and is another.
    assert_eq!(play.shell("touch d/gone; cat d/gone; ls d"), "gone\nkept\nnew\n");
}

fn a_directory_that_is_made_again_is_opaque(driver: &'static str) {
    let play = Play::new(driver);
    play.write(&play.lower().join("d/e/old"), "");
    assert_eq!(play.shell("rm -r d; mkdir d; touch d/new; ls d"), "new\n");
    play.assert_opaque("d");
    assert_eq!(play.shell("ls d"), "new\n");
    assert!(play.lower().join("d/e/old").exists());
}

fn whiteouts_and_opaque_directories_count_in_a_lower_layer_too(
    driver: &'static str,
) {
    let mut play = Play::new(driver);
    play.write(&play.lower().join("gone"), "");
    play.write(&play.lower().join("kept"), "");
    play.write(&play.lower().join("d/old"), "");
    play.shell("rm gone; rm -r d; mkdir d; touch d/new");
    // What was written is the upper one of two lower layers now.
    play.lower.insert(0, play.upper.clone());
    for (name, place) in [("upper2", 0), ("work2", 1)] {
        let path = play.lab.dir().join(name);
        fs::create_dir(&path).unwrap();
        *[&mut play.upper, &mut play.work][place] = path;
    }
    assert_eq!(play.shell("ls; ls d"), "d\nkept\nnew\n");
}

fn a_directory_of_the_lower_layer_is_not_renamed(driver: &'static str) {
    let play = Play::new(driver);
    play.write(&play.lower().join("old/file"), "text\n");
    let probe = probe();
    let rename = |from, to| {
        let run = play.run(&[probe.to_str().unwrap(), "rename", from, to]).success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    };
    // EXDEV, which mv(1) answers with a copy: a redirect would be a mark that only
    // this kernel understands.
    assert_eq!(rename("old", "new"), "CrossesDevices\n");
    assert_eq!(
        play.shell("mkdir own; mv old new; cat new/file; ls"),
        "text\nnew\nown\n"
    );
    assert_eq!(rename("own", "other"), "renamed\n");
    assert_eq!(play.shell("ls"), "new\nother\n");
}

fn more_layers_than_a_page_of_options_has_room_for_are_merged(driver: &'static str) {
    let mut play = Play::new(driver);
    // aufs is built for 127 branches, usually.
    let count = if driver == "aufs" { 120 } else { 500 };
    let long = play.lab.dir().join("a directory with a name that is rather long");
    play.lower = (0..count).map(|n| long.join(n.to_string())).collect();
    for (n, lower) in play.lower.iter().enumerate() {
        play.write(&lower.join("top"), &n.to_string());
        play.write(&lower.join(format!("of{n}")), "");
    }
    let script = "cat top; echo; ls | wc -l; touch new; mount | tail -1; pwd";
    let said = play.shell(script);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("0"));
    assert_eq!(lines.next(), Some(&*(count + 1).to_string()));
    // On top is the union, where the tmpfs with the short names was.
    assert!(lines.next().unwrap().contains(&format!("type {driver} (")), "{said}");
    assert!(lines.next().unwrap().ends_with("/merged"), "{said}");
    assert!(play.upper.join("new").exists());
    // None of it was left below the union.
    assert_eq!(play.shell("mount | grep -c /merged"), "1\n");
}

fn the_merged_tree_is_seen_at_the_place_that_was_named_and_by_nobody_else(
    driver: &'static str,
) {
    let play = Play::new(driver);
    play.write(&play.lower().join("file"), "");
    let place = play.lab.dir().join("place");
    fs::create_dir(&place).unwrap();
    let probe = probe();
    // Relative paths start at the caller's working directory, and the host's `/` may
    // be shared.
    for kind in ["shared", "private"] {
        let wrapper = [probe.as_os_str(), kind.as_ref()];
        let mut run = play.lab.wrapped(&wrapper, "ch02-union");
        run.args(["run", "--driver", driver, "--lower", "lower", "--upper=upper"]);
        run.args(["-work", "work", "-merged", "place", "sh", "-c", "pwd; ls"]);
        run.assert().success().stdout(format!("{}\nfile\n", place.display()));
        assert_eq!(names(&place).len(), 0);
    }
    assert!(!play.lab.state().join("containers").exists());
}

/// A file system mounted for one test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, kind: &str, options: &str) -> Mounted {
        fs::create_dir_all(at).unwrap();
        mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options)).unwrap();
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount(&self.0).unwrap();
    }
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_has_the_same_rules_from_overlay() {
    let play = Play::new("overlay");
    play.write(&play.lower().join("both"), "lower\n");
    play.write(&play.lower().join("gone"), "");
    play.write(&play.lower().join("d/old"), "");
    for path in [play.lower(), &play.upper, &play.work] {
        chown(path, Some(user()), Some(user())).unwrap();
    }
    for name in ["both", "gone", "d", "d/old"] {
        chown(play.lower().join(name), Some(user()), Some(user())).unwrap();
    }
    let run = |words: &[&str]| {
        let mut run = play.complete(play.lab.as_user("ch02-union"));
        run.args(words).assert().success()
    };
    let script = "cat both; echo upper >> both; rm gone; ls";
    run(&["sh", "-c", script]).stdout("lower\nboth\nd\n");
    run(&["cat", "both"]).stdout("lower\nupper\n");
    play.assert_whiteout("gone");
    let probe = play.lab.dir().join("probe");
    let rename = run(&[probe.to_str().unwrap(), "rename", "d", "e"]);
    rename.stdout("CrossesDevices\n");
    // The mark of an opaque directory is an attribute in "user.", since only real
    // root writes the others. A tmpfs takes such since Linux 6.6.
    if lsetxattr(&play.upper, "user.known", b"", XattrFlags::empty()).is_ok() {
        run(&["sh", "-c", "rm -r d; mkdir d; ls d"]).stdout("");
        assert_eq!(attribute(&play.upper.join("d"), "user.overlay.opaque"), b"y");
    }
}

#[test]
#[file_serial(machine)]
fn five_hundred_and_one_layers_are_refused() {
    let mut play = Play::new("overlay");
    play.lower = vec![play.lower().to_owned(); 501];
    let said = play.refused();
    let text =
        "error: prepare merged: 501 lower directories, and overlayfs takes 500";
    assert!(said.starts_with(text), "{said}");
}

#[test]
#[file_serial(machine)]
fn separators_in_paths_do_overlay_no_harm() {
    let mut play = Play::new("overlay");
    let odd = play.lab.dir().join(r"a:b,c\d e=f");
    play.lower = vec![odd.join("l:1"), odd.join(r"l\,2")];
    play.write(&play.lower[0].join("one"), "");
    play.write(&play.lower[1].join("two"), "");
    (play.upper, play.work) = (odd.join("u:p"), odd.join("w,k"));
    fs::create_dir(&play.upper).unwrap();
    fs::create_dir(&play.work).unwrap();
    assert_eq!(play.shell("touch new; ls"), "new\none\ntwo\n");
    assert!(play.upper.join("new").exists());
}

#[test]
#[file_serial(machine)]
fn separators_in_paths_are_refused_with_aufs() {
    let mut play = Play::new("aufs");
    for odd in ["a:b", "a,b", "a=b"] {
        let path = play.lab.dir().join(odd);
        fs::create_dir(&path).unwrap();
        play.lower = vec![path.clone()];
        let said = play.refused();
        let text = format!("aufs separates its branches by \"{}\"", &odd[1..2]);
        assert!(said.contains(&text) && said.contains(odd), "{said}");
        let (lower, upper) = (play.upper.clone(), path);
        play.lower = vec![lower.clone()];
        play.upper = upper;
        assert!(play.refused().contains(&text));
        play.upper = lower;
    }
}

#[test]
#[file_serial(machine)]
fn what_is_missing_or_no_directory_is_named_before_anything_is_mounted() {
    for driver in ["overlay", "aufs", "copy"] {
        let mut play = Play::new(driver);
        let nowhere = play.lab.dir().join("nowhere");
        let lower = std::mem::replace(&mut play.lower, vec![nowhere.clone()]);
        let text = format!(
            "error: prepare merged: stat(2) {} as the lower directory: ENOENT",
            nowhere.display()
        );
        let said = play.refused();
        assert!(said.starts_with(&text), "{said}");
        fs::write(&nowhere, "").unwrap();
        assert!(play.refused().contains("nowhere is no directory"));
        play.lower = lower;
        let upper = std::mem::replace(&mut play.upper, nowhere.clone());
        assert!(play.refused().contains("the upper directory"));
        play.upper = upper;
        // aufs needs none.
        if driver != "aufs" {
            play.work = nowhere;
            assert!(play.refused().contains("the work directory"));
        }
        let mut run = play.complete(play.lab.chapter("ch02-union"));
        run.args(["--merged", "/none", "echo"]).assert().code(125).stdout("");
    }
}

#[test]
#[file_serial(machine)]
fn an_upper_directory_that_overlay_refuses_is_named_with_the_way_out() {
    let mut play = Play::new("overlay");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        play.lower().display(),
        play.upper.display(),
        play.work.display()
    );
    let on = Mounted::new(&play.lab.dir().join("on"), "overlay", &options);
    (play.upper, play.work) = (on.0.join("u"), on.0.join("w"));
    fs::create_dir(&play.upper).unwrap();
    fs::create_dir(&play.work).unwrap();
    let said = play.refused();
    assert!(said.contains("error: enter merged: mount(2) overlay on /"), "{said}");
    let reason = format!(
        ": EINVAL: Invalid argument\nhint: the write layer {} lies on overlayfs, \
         where overlayfs takes none; it does on ext4, xfs, btrfs and tmpfs: choose \
         --upper and --work there\n",
        play.upper.display()
    );
    assert!(said.ends_with(&reason), "{said}");
}

#[test]
#[file_serial(machine)]
fn directories_that_can_not_go_together_are_named() {
    let mut play = Play::new("overlay");
    let on = Mounted::new(&play.lab.dir().join("on"), "tmpfs", "size=1m");
    let work = std::mem::replace(&mut play.work, on.0.clone());
    for driver in ["overlay", "copy"] {
        play.driver = driver;
        assert!(play.refused().contains("lie on different file systems"));
    }
    play.driver = "overlay";
    play.work = play.upper.join("work");
    fs::create_dir(&play.work).unwrap();
    let said = play.refused();
    assert!(said.contains("EINVAL") && said.contains("apart"), "{said}");
    fs::remove_dir(&play.work).unwrap();
    play.work = work;
    play.lower = vec![play.upper.clone()];
    let said = play.refused();
    assert!(said.contains("lies inside another"), "{said}");
}

#[test]
#[file_serial(machine)]
fn aufs_works_or_the_error_says_that_there_is_none_and_names_overlay() {
    let mut play = Play::new("aufs");
    let in_chapter = |lab: &Lab, chapter| {
        let mut run = lab.chapter(chapter);
        run.args(["run", "--driver", "aufs", "sh", "-c", "touch /x; ls /x"]);
        run.assert()
    };
    if has_aufs() {
        assert_eq!(play.shell("touch x; ls"), "x\n");
        for chapter in ["ch04-overlay", "ch04-volume"] {
            in_chapter(&play.lab, chapter).success().stdout("/x\n");
        }
        let mut run = play.complete(play.lab.as_user("ch02-union"));
        let root_only =
            contains("EPERM").and(contains("only real root mounts aufs"));
        run.arg("true").assert().code(125).stderr(root_only);
        // One inside another.
        let (outer, inner) = (play.lower().to_owned(), play.lower().join("in"));
        play.write(&inner.join("file"), "");
        play.lower = vec![outer, inner];
        let said = play.refused();
        assert!(said.contains("no branch lies inside another"), "{said}");
        // With the write layer one more than most are built for.
        play.lower = (0..127).map(|n| play.lab.dir().join(n.to_string())).collect();
        play.lower.iter().for_each(|lower| fs::create_dir(lower).unwrap());
        let many = play.run(&["true"]);
        let output = many.get_output();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("127 branches"), "{said}");
        return;
    }
    let none = || {
        contains("ENODEV: No such device")
            .and(contains("hint: this kernel has no aufs"))
            .and(contains("--driver overlay"))
    };
    let said = play.refused();
    assert!(none().eval(&said), "{said}");
    let options = format!(
        "mount(2) aufs on {}",
        play.lab.state().join("containers").display()
    );
    assert!(said.contains(&options), "{said}");
    let branches = format!(
        "dirs={}=rw:{}=ro+wh:",
        play.upper.display(),
        play.lower().display()
    );
    assert!(said.contains(&branches), "{said}");
    for chapter in ["ch04-overlay", "ch04-volume"] {
        in_chapter(&play.lab, chapter).code(125).stdout("").stderr(none());
    }
    let mut run = play.complete(play.lab.as_user("ch02-union"));
    run.arg("true").assert().code(125).stderr(none());
    // It was asked before the names were shortened, too.
    play.lower = vec![play.lower().to_owned(); 300];
    assert!(play.refused().contains("hint: this kernel has no aufs"));
}

/// Everything about a tree's files but their times.
fn tree(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let what = if about.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if about.is_file() {
            format!("{} {:?}", about.nlink(), fs::read(&path).unwrap())
        } else {
            about.rdev().to_string()
        };
        if about.is_dir() {
            todo.extend(names(&path).into_iter().map(|name| path.join(name)));
        }
        let (mode, uid, gid) = (about.mode(), about.uid(), about.gid());
        let time = about.mtime();
        found.insert(format!("{name} {mode:o} {uid}:{gid} {time} {what}"));
    }
    found
}

#[test]
#[file_serial(machine)]
fn copy_keeps_everything_about_a_file_and_leaves_the_image_untouched() {
    let play = Play::new("copy");
    let lower = play.lower();
    play.write(&lower.join("d/file"), "text\n");
    fs::hard_link(lower.join("d/file"), lower.join("again")).unwrap();
    play.write(&lower.join("setuid"), "");
    chown(lower.join("setuid"), Some(7), Some(8)).unwrap();
    let mode = fs::Permissions::from_mode(0o6755);
    fs::set_permissions(lower.join("setuid"), mode).unwrap();
    let note = XattrFlags::empty();
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    lsetxattr(lower.join("setuid"), "security.capability", capability, note)
        .unwrap();
    lsetxattr(lower.join("d"), "trusted.note", b"n", note).unwrap();
    symlink("nowhere/at/all", lower.join("link")).unwrap();
    lchown(lower.join("link"), Some(7), Some(8)).unwrap();
    for (name, kind) in [("device", SFlag::S_IFCHR), ("pipe", SFlag::S_IFIFO)] {
        let numbers = if kind == SFlag::S_IFCHR { 0x0103 } else { 0 };
        mknod(&lower.join(name), kind, Mode::S_IRUSR, numbers).unwrap();
    }
    let closed = fs::Permissions::from_mode(0o1700);
    fs::set_permissions(lower.join("d"), closed).unwrap();
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(9));
    for name in ["d", "d/file"] {
        fs::File::open(lower.join(name)).unwrap().set_times(old).unwrap();
    }
    let before = tree(lower);
    // The root of the merged tree is the write layer's.
    let root = |line: &String| !line.starts_with(' ');
    assert_eq!(play.shell("cat again"), "text\n");
    let copied: BTreeSet<_> = tree(&play.upper).into_iter().filter(root).collect();
    assert_eq!(copied, before.iter().filter(|line| root(line)).cloned().collect());
    let file = play.upper.join("setuid");
    assert_eq!(attribute(&file, "security.capability"), capability);
    assert_eq!(attribute(&play.upper.join("d"), "trusted.note"), b"n");
    play.shell("echo more >> d/file; rm setuid; chmod 777 d; mv link other");
    assert_eq!(tree(play.lower()), before);
    assert_eq!(names(&play.work).len(), 0);
    // Filled once: what was changed stays.
    assert_eq!(
        play.shell("cat again; ls"),
        "text\nmore\nagain\nd\ndevice\nother\npipe\n"
    );
}

#[test]
#[file_serial(machine)]
fn copy_has_the_rules_of_the_layers_that_it_merges() {
    let mut play = Play::new("copy");
    let top = play.lab.dir().join("top");
    play.write(&play.lower().join("gone"), "");
    play.write(&play.lower().join("kept"), "");
    play.write(&play.lower().join("hidden/old"), "");
    play.write(&play.lower().join("both/below"), "");
    // A symlink below a directory of the same name: nothing goes where it leads.
    let outside = play.lab.dir().join("outside");
    play.write(&outside.join("untouched"), "");
    symlink(&outside, play.lower().join("link")).unwrap();
    play.write(&top.join("link/x"), "");
    play.write(&top.join("both/above"), "");
    play.write(&top.join("hidden/new"), "");
    let opaque = "trusted.overlay.opaque";
    lsetxattr(top.join("hidden"), opaque, b"y", XattrFlags::empty()).unwrap();
    mknod(&top.join("gone"), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    play.lower.insert(0, top);
    // What a copy left that was killed counts for nothing.
    play.write(&play.work.join("copy/half/done"), "");
    let said = play.shell("ls; ls both hidden link");
    let all = "both\nhidden\nkept\nlink\nboth:\nabove\nbelow\n\nhidden:\nnew\n\nlink:\nx\n";
    assert_eq!(said, all);
    assert_eq!(names(&outside).len(), 1);
    let kept = lgetxattr(play.upper.join("hidden"), opaque, &mut [0; 8][..]);
    assert_eq!(kept, Err(rustix::io::Errno::NODATA));
}

#[test]
#[file_serial(machine)]
fn copy_by_an_ordinary_user_takes_no_rights_of_others_along() {
    let play = Play::new("copy");
    let give = |path: &Path| chown(path, Some(user()), Some(user())).unwrap();
    for path in [play.lower(), &play.upper, &play.work] {
        give(path);
    }
    let setuid = fs::Permissions::from_mode(0o6755);
    for (name, own) in [("theirs", false), ("mine", true)] {
        let path = play.lower().join(name);
        play.write(&path, "");
        if own {
            give(&path);
        }
        fs::set_permissions(path, setuid.clone()).unwrap();
    }
    let mut run = play.complete(play.lab.as_user("ch02-union"));
    let around = contains("EACCES").and(contains("hint: the copy takes the place"));
    run.arg("true").assert().code(125).stderr(around);
    give(play.lab.dir());
    let mut run = play.complete(play.lab.as_user("ch02-union"));
    run.args(["stat", "-c", "%a %u %n", "mine", "theirs"]);
    run.assert().success().stdout("6755 0 mine\n755 0 theirs\n");
    fs::remove_dir_all(&play.upper).unwrap();
    fs::create_dir(&play.upper).unwrap();
    give(&play.upper);
    let device = play.lower().join("device");
    mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR, 0x0103).unwrap();
    let mut run = play.complete(play.lab.as_user("ch02-union"));
    let denied = contains("mknod(2)").and(contains("EPERM"));
    let denied = denied.and(contains("hint: only the host's root makes devices"));
    run.arg("true").assert().code(125).stderr(denied);
    // Half a copy is not left behind.
    assert_eq!(names(&play.work).len(), 0);
}

#[test]
#[file_serial(machine)]
fn a_signal_ends_a_copy_and_the_next_run_begins_anew() {
    let play = Play::new("copy");
    for n in 0..3000 {
        play.write(&play.lower().join(n.to_string()), "");
    }
    let mut command = play.lab.command(&[], "ch02-union");
    command
        .args(["run", "--driver", "copy", "--lower", "lower", "--upper", "upper"]);
    command.args(["--work", "work", "echo", "it ran"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    while !play.work.join("copy").exists() {
        std::thread::yield_now();
    }
    kill(Pid::from_raw(run.id() as i32), Signal::SIGTERM).unwrap();
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("SIGTERM arrived before the program started"), "{said}");
    assert_eq!((ended.status.code(), ended.stdout), (Some(143), vec![]));
    assert_eq!(names(&play.upper).len(), 0);
    let half = names(&play.work.join("copy")).len();
    assert!(half < 3000, "{half}");
    assert_eq!(play.shell("ls | wc -l"), "3000\n");
    assert_eq!(names(&play.work).len(), 0);
}

/// Let the kernel forget overlayfs, so that the next mount loads it again; whether
/// it has.
fn unload() -> bool {
    // A mount that another test made goes a moment after its last process.
    let busy = || {
        delete_module(c"overlay", DeleteModuleFlags::O_NONBLOCK)
            == Err(Errno::EWOULDBLOCK)
    };
    for _ in 0..50 {
        if !busy() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    !is_known("overlay")
}

#[test]
#[file_serial(machine)]
fn of_many_whose_mounts_come_first_all_wait_until_the_module_is_loaded() {
    let play = Play::new("overlay");
    for _ in 0..3 {
        if !unload() {
            return blackbox::skip("overlay is no module here, or in use");
        }
        let start = |number: usize| {
            let mut command = play.lab.command(&[], "ch02-union");
            command.args(["run", "--lower", "lower"]);
            for name in ["upper", "work"] {
                let path = play.lab.dir().join(format!("{name}-{number}"));
                fs::create_dir_all(&path).unwrap();
                command.arg(format!("--{name}")).arg(path);
            }
            command.arg("true").stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..12).map(start).collect();
        let said = all.into_iter().map(|run| run.wait_with_output().unwrap().stderr);
        let said: Vec<_> = said.map(|err| String::from_utf8(err).unwrap()).collect();
        assert_eq!(said.concat(), "");
    }
}

#[test]
#[file_serial(machine)]
fn the_later_chapters_take_a_driver_too() {
    let lab = Lab::new();
    for new in [Lab::chapter, Lab::as_user] {
        for chapter in ["ch04-overlay", "ch04-volume"] {
            let driven = |script: &str| {
                let mut run = new(&lab, chapter);
                run.args(["run", "--driver", "copy", "sh", "-c", script]).assert()
            };
            let write = "touch /tmp/x; rm /etc/hosts; ls /tmp; stat -c %a /; \
                         grep -c ^overlay /proc/mounts";
            driven(write).code(1).stdout("x\n755\n0\n");
            driven("ls /tmp; ls /etc/hosts").success().stdout("/etc/hosts\n");
        }
    }
    let mut run = lab.chapter("ch04-overlay");
    let known = contains("possible values: overlay, aufs, copy");
    run.args(["run", "-driver", "zfs", "true"]).assert().code(2).stderr(known);
    // The lab compares every file of the image, and finds no container left.
}
