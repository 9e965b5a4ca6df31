//! ch02-union: merged directory trees. The rules are the same with every driver.
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

/// The rules. Each rule is one test for each of the two drivers.
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
    a_recreated_directory_is_opaque
    whiteouts_and_opaque_directories_work_in_lower_layers_too
    a_directory_of_the_lower_layer_is_not_renamed
    layers_whose_paths_exceed_one_page_of_options_are_merged
    only_the_container_sees_the_merged_tree_at_the_given_path
}

/// Whether the kernel knows this filesystem now.
fn is_known(name: &str) -> bool {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    kinds.lines().any(|line| line.trim_start_matches("nodev\t") == name)
}

pub(crate) fn has_aufs() -> bool {
    let known = || is_known("aufs");
    // If there is no module of this name, modprobe(8) fails, and aufs stays unknown.
    known()
        || Command::new("modprobe").args(["-q", "aufs"]).status().is_ok() && known()
}

/// The trees of a test, and the driver that merges them.
struct Trees {
    lab: Lab,
    driver: &'static str,
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
}

impl Trees {
    fn new(driver: &'static str) -> Trees {
        let lab = Lab::new();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| {
            let path = lab.dir().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        Trees { lab, driver, lower: vec![lower], upper, work }
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

    /// The standard output of a script in the merged tree.
    fn shell(&self, script: &str) -> String {
        let run = self.run(&["sh", "-c", script]).success().stderr("");
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    }

    /// The error of a run that is refused before the program starts.
    fn refused(&self) -> String {
        let run = self.run(&["echo", "it ran"]).code(125).stdout("");
        String::from_utf8(run.get_output().stderr.clone()).unwrap()
    }

    /// Assert that the write layer marks this file as removed.
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
    let trees = Trees::new(driver);
    trees.write(&trees.lower().join("both"), "lower\n");
    trees.write(&trees.upper.join("both"), "upper\n");
    trees.write(&trees.lower().join("dir/below"), "");
    trees.write(&trees.upper.join("dir/above"), "");
    assert_eq!(trees.shell("cat both; ls dir"), "upper\nabove\nbelow\n");
}

fn the_leftmost_lower_directory_lies_on_top(driver: &'static str) {
    let mut trees = Trees::new(driver);
    trees.lower = ["l1", "l2", "l3"].map(|name| trees.lab.dir().join(name)).to_vec();
    for lower in &trees.lower {
        let name = lower.file_name().unwrap().to_str().unwrap();
        trees.write(&lower.join("all"), name);
        trees.write(&lower.join(name), name);
    }
    trees.write(&trees.lower[1].join("two"), "l2");
    trees.write(&trees.lower[2].join("two"), "l3");
    assert_eq!(trees.shell("cat all two; echo; echo *"), "l1l2\nall l1 l2 l3 two\n");
}

fn the_first_write_copies_the_whole_file_up(driver: &'static str) {
    let trees = Trees::new(driver);
    let text = "x".repeat(1 << 20);
    let (below, above) = (trees.lower().join("big"), trees.upper.join("big"));
    trees.write(&below, &text);
    fs::set_permissions(&below, fs::Permissions::from_mode(0o4751)).unwrap();
    chown(&below, Some(7), Some(8)).unwrap();
    fs::set_permissions(&below, fs::Permissions::from_mode(0o4751)).unwrap();
    // Reading does not copy the file.
    assert_eq!(trees.shell("wc -c < big"), "1048576\n");
    assert!(!above.exists());
    trees.shell("chmod 4750 big");
    let (old, new) = (fs::metadata(&below).unwrap(), fs::metadata(&above).unwrap());
    assert_eq!(
        (new.len(), new.mode(), new.uid(), new.gid()),
        (1 << 20, 0o104750, 7, 8)
    );
    assert_eq!((old.len(), old.mode()), (1 << 20, 0o104751));
    trees.shell("printf y >> big");
    assert_eq!(fs::read_to_string(above).unwrap(), text.clone() + "y");
    assert_eq!(fs::read_to_string(below).unwrap(), text);
}

fn a_removed_file_leaves_a_whiteout_and_is_gone_in_the_next_run(
    driver: &'static str,
) {
    let trees = Trees::new(driver);
    trees.write(&trees.lower().join("d/gone"), "text");
    trees.write(&trees.lower().join("d/kept"), "");
    assert_eq!(trees.shell("rm d/gone; ls d; touch d/new"), "kept\n");
    trees.assert_whiteout("d/gone");
    assert_eq!(
        names(&trees.lower().join("d")),
        ["gone", "kept"].map(Into::into).into()
    );
    assert_eq!(trees.shell("ls d"), "kept\nnew\n");
    // A file of the same name can be created again. It is a new file.
    assert_eq!(trees.shell("touch d/gone; cat d/gone; ls d"), "gone\nkept\nnew\n");
}

fn a_recreated_directory_is_opaque(driver: &'static str) {
    let trees = Trees::new(driver);
    trees.write(&trees.lower().join("d/e/old"), "");
    assert_eq!(trees.shell("rm -r d; mkdir d; touch d/new; ls d"), "new\n");
    trees.assert_opaque("d");
    assert_eq!(trees.shell("ls d"), "new\n");
    assert!(trees.lower().join("d/e/old").exists());
}

fn whiteouts_and_opaque_directories_work_in_lower_layers_too(driver: &'static str) {
    let mut trees = Trees::new(driver);
    trees.write(&trees.lower().join("gone"), "");
    trees.write(&trees.lower().join("kept"), "");
    trees.write(&trees.lower().join("d/old"), "");
    trees.shell("rm gone; rm -r d; mkdir d; touch d/new");
    // The old write layer becomes the upper one of two lower layers.
    trees.lower.insert(0, trees.upper.clone());
    for (name, place) in [("upper2", 0), ("work2", 1)] {
        let path = trees.lab.dir().join(name);
        fs::create_dir(&path).unwrap();
        *[&mut trees.upper, &mut trees.work][place] = path;
    }
    assert_eq!(trees.shell("ls; ls d"), "d\nkept\nnew\n");
}

fn a_directory_of_the_lower_layer_is_not_renamed(driver: &'static str) {
    let trees = Trees::new(driver);
    trees.write(&trees.lower().join("old/file"), "text\n");
    let probe = probe();
    let rename = |from, to| {
        let run =
            trees.run(&[probe.to_str().unwrap(), "rename", from, to]).success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    };
    // EXDEV, on which mv(1) makes a copy. A redirect would be an attribute that only
    // overlayfs of this kernel understands.
    assert_eq!(rename("old", "new"), "CrossesDevices\n");
    assert_eq!(
        trees.shell("mkdir own; mv old new; cat new/file; ls"),
        "text\nnew\nown\n"
    );
    assert_eq!(rename("own", "other"), "renamed\n");
    assert_eq!(trees.shell("ls"), "new\nother\n");
}

fn layers_whose_paths_exceed_one_page_of_options_are_merged(driver: &'static str) {
    let mut trees = Trees::new(driver);
    // aufs is usually built with a limit of 127 branches.
    let count = if driver == "aufs" { 120 } else { 500 };
    let long = trees.lab.dir().join("a directory with a name that is rather long");
    trees.lower = (0..count).map(|n| long.join(n.to_string())).collect();
    for (n, lower) in trees.lower.iter().enumerate() {
        trees.write(&lower.join("top"), &n.to_string());
        trees.write(&lower.join(format!("of{n}")), "");
    }
    let script = "cat top; echo; ls | wc -l; touch new; mount | tail -1; pwd";
    let said = trees.shell(script);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("0"));
    assert_eq!(lines.next(), Some(&*(count + 1).to_string()));
    // The topmost mount is the union, which replaces the tmpfs with the short names.
    assert!(lines.next().unwrap().contains(&format!("type {driver} (")), "{said}");
    assert!(lines.next().unwrap().ends_with("/merged"), "{said}");
    assert!(trees.upper.join("new").exists());
    // The tmpfs is not left below the union.
    assert_eq!(trees.shell("mount | grep -c /merged"), "1\n");
}

fn only_the_container_sees_the_merged_tree_at_the_given_path(driver: &'static str) {
    let trees = Trees::new(driver);
    trees.write(&trees.lower().join("file"), "");
    let place = trees.lab.dir().join("place");
    fs::create_dir(&place).unwrap();
    let probe = probe();
    // Relative paths start at the caller's working directory, and the host's `/` may
    // be shared.
    for kind in ["shared", "private"] {
        let wrapper = [probe.as_os_str(), kind.as_ref()];
        let mut run = trees.lab.wrapped(&wrapper, "ch02-union");
        run.args(["run", "--driver", driver, "--lower", "lower", "--upper=upper"]);
        run.args(["-work", "work", "-merged", "place", "sh", "-c", "pwd; ls"]);
        run.assert().success().stdout(format!("{}\nfile\n", place.display()));
        assert_eq!(names(&place).len(), 0);
    }
    assert!(!trees.lab.state().join("containers").exists());
}

/// A filesystem mounted for one test.
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
fn overlay_follows_the_same_rules_for_an_ordinary_user() {
    let trees = Trees::new("overlay");
    trees.write(&trees.lower().join("both"), "lower\n");
    trees.write(&trees.lower().join("gone"), "");
    trees.write(&trees.lower().join("d/old"), "");
    for path in [trees.lower(), &trees.upper, &trees.work] {
        chown(path, Some(user()), Some(user())).unwrap();
    }
    for name in ["both", "gone", "d", "d/old"] {
        chown(trees.lower().join(name), Some(user()), Some(user())).unwrap();
    }
    let run = |words: &[&str]| {
        let mut run = trees.complete(trees.lab.as_user("ch02-union"));
        run.args(words).assert().success()
    };
    let script = "cat both; echo upper >> both; rm gone; ls";
    run(&["sh", "-c", script]).stdout("lower\nboth\nd\n");
    run(&["cat", "both"]).stdout("lower\nupper\n");
    trees.assert_whiteout("gone");
    let probe = trees.lab.dir().join("probe");
    let rename = run(&[probe.to_str().unwrap(), "rename", "d", "e"]);
    rename.stdout("CrossesDevices\n");
    // The mark of an opaque directory is an attribute in "user.", since only real
    // root writes the others. A tmpfs takes such since Linux 6.6.
    if lsetxattr(&trees.upper, "user.known", b"", XattrFlags::empty()).is_ok() {
        run(&["sh", "-c", "rm -r d; mkdir d; ls d"]).stdout("");
        assert_eq!(attribute(&trees.upper.join("d"), "user.overlay.opaque"), b"y");
    }
}

#[test]
#[file_serial(machine)]
fn five_hundred_and_one_layers_are_refused() {
    let mut trees = Trees::new("overlay");
    trees.lower = vec![trees.lower().to_owned(); 501];
    let said = trees.refused();
    let text = "error: prepare merged: 501 lower directories, but overlayfs accepts at most 500";
    assert!(said.starts_with(text), "{said}");
}

#[test]
#[file_serial(machine)]
fn overlay_accepts_separators_in_paths() {
    let mut trees = Trees::new("overlay");
    let odd = trees.lab.dir().join(r"a:b,c\d e=f");
    trees.lower = vec![odd.join("l:1"), odd.join(r"l\,2")];
    trees.write(&trees.lower[0].join("one"), "");
    trees.write(&trees.lower[1].join("two"), "");
    (trees.upper, trees.work) = (odd.join("u:p"), odd.join("w,k"));
    fs::create_dir(&trees.upper).unwrap();
    fs::create_dir(&trees.work).unwrap();
    assert_eq!(trees.shell("touch new; ls"), "new\none\ntwo\n");
    assert!(trees.upper.join("new").exists());
}

#[test]
#[file_serial(machine)]
fn aufs_refuses_separators_in_paths() {
    let mut trees = Trees::new("aufs");
    for odd in ["a:b", "a,b", "a=b"] {
        let path = trees.lab.dir().join(odd);
        fs::create_dir(&path).unwrap();
        trees.lower = vec![path.clone()];
        let said = trees.refused();
        let text = format!("aufs separates its branches by \"{}\"", &odd[1..2]);
        assert!(said.contains(&text) && said.contains(odd), "{said}");
        let (lower, upper) = (trees.upper.clone(), path);
        trees.lower = vec![lower.clone()];
        trees.upper = upper;
        assert!(trees.refused().contains(&text));
        trees.upper = lower;
    }
}

#[test]
#[file_serial(machine)]
fn a_missing_or_invalid_directory_is_reported_before_any_mount() {
    for driver in ["overlay", "aufs", "copy"] {
        let mut trees = Trees::new(driver);
        let nowhere = trees.lab.dir().join("nowhere");
        let lower = std::mem::replace(&mut trees.lower, vec![nowhere.clone()]);
        let text = format!(
            "error: prepare merged: stat(2) {} as the lower directory: ENOENT",
            nowhere.display()
        );
        let said = trees.refused();
        assert!(said.starts_with(&text), "{said}");
        fs::write(&nowhere, "").unwrap();
        assert!(trees.refused().contains("nowhere is not a directory"));
        trees.lower = lower;
        let upper = std::mem::replace(&mut trees.upper, nowhere.clone());
        assert!(trees.refused().contains("the upper directory"));
        trees.upper = upper;
        // aufs needs no work directory.
        if driver != "aufs" {
            trees.work = nowhere;
            assert!(trees.refused().contains("the work directory"));
        }
        let mut run = trees.complete(trees.lab.chapter("ch02-union"));
        run.args(["--merged", "/none", "echo"]).assert().code(125).stdout("");
    }
}

#[test]
#[file_serial(machine)]
fn an_upper_directory_on_overlayfs_is_refused_with_the_remedy() {
    let mut trees = Trees::new("overlay");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        trees.lower().display(),
        trees.upper.display(),
        trees.work.display()
    );
    let on = Mounted::new(&trees.lab.dir().join("on"), "overlay", &options);
    (trees.upper, trees.work) = (on.0.join("u"), on.0.join("w"));
    fs::create_dir(&trees.upper).unwrap();
    fs::create_dir(&trees.work).unwrap();
    let said = trees.refused();
    assert!(said.contains("error: enter merged: mount(2) overlay on /"), "{said}");
    let reason = format!(
        ": EINVAL: Invalid argument\nhint: the write layer {} is on overlayfs, \
         which overlayfs does not support; use ext4, xfs, btrfs or tmpfs: choose \
         --upper and --work there\n",
        trees.upper.display()
    );
    assert!(said.ends_with(&reason), "{said}");
}

#[test]
#[file_serial(machine)]
fn incompatible_upper_work_and_lower_directories_are_reported() {
    let mut trees = Trees::new("overlay");
    let on = Mounted::new(&trees.lab.dir().join("on"), "tmpfs", "size=1m");
    let work = std::mem::replace(&mut trees.work, on.0.clone());
    for driver in ["overlay", "copy"] {
        trees.driver = driver;
        assert!(trees.refused().contains("are on different filesystems"));
    }
    trees.driver = "overlay";
    trees.work = trees.upper.join("work");
    fs::create_dir(&trees.work).unwrap();
    let said = trees.refused();
    assert!(
        said.contains("EINVAL") && said.contains("separate directories"),
        "{said}"
    );
    fs::remove_dir(&trees.work).unwrap();
    trees.work = work;
    trees.lower = vec![trees.upper.clone()];
    let said = trees.refused();
    assert!(said.contains("is inside another"), "{said}");
}

#[test]
#[file_serial(machine)]
fn aufs_works_or_the_error_says_to_use_overlay() {
    let mut trees = Trees::new("aufs");
    let in_chapter = |lab: &Lab, chapter| {
        let mut run = lab.chapter(chapter);
        run.args(["run", "--driver", "aufs", "sh", "-c", "touch /x; ls /x"]);
        run.assert()
    };
    if has_aufs() {
        assert_eq!(trees.shell("touch x; ls"), "x\n");
        for chapter in ["ch04-overlay", "ch04-volume"] {
            in_chapter(&trees.lab, chapter).success().stdout("/x\n");
        }
        let mut run = trees.complete(trees.lab.as_user("ch02-union"));
        let root_only =
            contains("EPERM").and(contains("only the host's root may mount aufs"));
        run.arg("true").assert().code(125).stderr(root_only);
        // One branch inside another.
        let (outer, inner) = (trees.lower().to_owned(), trees.lower().join("in"));
        trees.write(&inner.join("file"), "");
        trees.lower = vec![outer, inner];
        let said = trees.refused();
        assert!(said.contains("a branch inside another branch"), "{said}");
        // With the write layer, these are 128 branches: one more than the usual limit.
        trees.lower =
            (0..127).map(|n| trees.lab.dir().join(n.to_string())).collect();
        trees.lower.iter().for_each(|lower| fs::create_dir(lower).unwrap());
        let many = trees.run(&["true"]);
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
    let said = trees.refused();
    assert!(none().eval(&said), "{said}");
    let options = format!(
        "mount(2) aufs on {}",
        trees.lab.state().join("containers").display()
    );
    assert!(said.contains(&options), "{said}");
    let branches = format!(
        "dirs={}=rw:{}=ro+wh:",
        trees.upper.display(),
        trees.lower().display()
    );
    assert!(said.contains(&branches), "{said}");
    for chapter in ["ch04-overlay", "ch04-volume"] {
        in_chapter(&trees.lab, chapter).code(125).stdout("").stderr(none());
    }
    let mut run = trees.complete(trees.lab.as_user("ch02-union"));
    run.arg("true").assert().code(125).stderr(none());
    // The program also looks for aufs before it shortens many names.
    trees.lower = vec![trees.lower().to_owned(); 300];
    assert!(trees.refused().contains("hint: this kernel has no aufs"));
}

/// All properties of a tree's files.
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
fn copy_preserves_all_metadata_and_does_not_change_the_image() {
    let trees = Trees::new("copy");
    let lower = trees.lower();
    trees.write(&lower.join("d/file"), "text\n");
    fs::hard_link(lower.join("d/file"), lower.join("again")).unwrap();
    trees.write(&lower.join("setuid"), "");
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
    // The root of the merged tree belongs to the write layer.
    let root = |line: &String| !line.starts_with(' ');
    assert_eq!(trees.shell("cat again"), "text\n");
    let copied: BTreeSet<_> = tree(&trees.upper).into_iter().filter(root).collect();
    assert_eq!(copied, before.iter().filter(|line| root(line)).cloned().collect());
    let file = trees.upper.join("setuid");
    assert_eq!(attribute(&file, "security.capability"), capability);
    assert_eq!(attribute(&trees.upper.join("d"), "trusted.note"), b"n");
    trees.shell("echo more >> d/file; rm setuid; chmod 777 d; mv link other");
    assert_eq!(tree(trees.lower()), before);
    assert_eq!(names(&trees.work).len(), 0);
    // The tree is copied only once: the changes remain.
    assert_eq!(
        trees.shell("cat again; ls"),
        "text\nmore\nagain\nd\ndevice\nother\npipe\n"
    );
}

#[test]
#[file_serial(machine)]
fn copy_obeys_whiteouts_and_opaque_directories_of_the_layers() {
    let mut trees = Trees::new("copy");
    let top = trees.lab.dir().join("top");
    trees.write(&trees.lower().join("gone"), "");
    trees.write(&trees.lower().join("kept"), "");
    trees.write(&trees.lower().join("hidden/old"), "");
    trees.write(&trees.lower().join("both/below"), "");
    // A symlink below a directory of the same name: nothing is written to its target.
    let outside = trees.lab.dir().join("outside");
    trees.write(&outside.join("untouched"), "");
    symlink(&outside, trees.lower().join("link")).unwrap();
    trees.write(&top.join("link/x"), "");
    trees.write(&top.join("both/above"), "");
    trees.write(&top.join("hidden/new"), "");
    let opaque = "trusted.overlay.opaque";
    lsetxattr(top.join("hidden"), opaque, b"y", XattrFlags::empty()).unwrap();
    mknod(&top.join("gone"), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    trees.lower.insert(0, top);
    // The remains of a killed copy are ignored.
    trees.write(&trees.work.join("copy/half/done"), "");
    let said = trees.shell("ls; ls both hidden link");
    let all = "both\nhidden\nkept\nlink\nboth:\nabove\nbelow\n\nhidden:\nnew\n\nlink:\nx\n";
    assert_eq!(said, all);
    assert_eq!(names(&outside).len(), 1);
    let kept = lgetxattr(trees.upper.join("hidden"), opaque, &mut [0; 8][..]);
    assert_eq!(kept, Err(rustix::io::Errno::NODATA));
}

#[test]
#[file_serial(machine)]
fn copy_by_an_ordinary_user_drops_setuid_bits_of_other_owners() {
    let trees = Trees::new("copy");
    let give = |path: &Path| chown(path, Some(user()), Some(user())).unwrap();
    for path in [trees.lower(), &trees.upper, &trees.work] {
        give(path);
    }
    let setuid = fs::Permissions::from_mode(0o6755);
    for (name, own) in [("theirs", false), ("mine", true)] {
        let path = trees.lower().join(name);
        trees.write(&path, "");
        if own {
            give(&path);
        }
        fs::set_permissions(path, setuid.clone()).unwrap();
    }
    let mut run = trees.complete(trees.lab.as_user("ch02-union"));
    let around =
        contains("EACCES").and(contains("hint: the copy replaces the upper"));
    run.arg("true").assert().code(125).stderr(around);
    give(trees.lab.dir());
    let mut run = trees.complete(trees.lab.as_user("ch02-union"));
    run.args(["stat", "-c", "%a %u %n", "mine", "theirs"]);
    run.assert().success().stdout("6755 0 mine\n755 0 theirs\n");
    fs::remove_dir_all(&trees.upper).unwrap();
    fs::create_dir(&trees.upper).unwrap();
    give(&trees.upper);
    let device = trees.lower().join("device");
    mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR, 0x0103).unwrap();
    let mut run = trees.complete(trees.lab.as_user("ch02-union"));
    let denied = contains("mknod(2)").and(contains("EPERM"));
    let denied =
        denied.and(contains("hint: only the host's root may create devices"));
    run.arg("true").assert().code(125).stderr(denied);
    // No partial copy remains.
    assert_eq!(names(&trees.work).len(), 0);
}

#[test]
#[file_serial(machine)]
fn a_signal_ends_a_copy_and_the_next_run_starts_it_again() {
    let trees = Trees::new("copy");
    for n in 0..3000 {
        trees.write(&trees.lower().join(n.to_string()), "");
    }
    let mut command = trees.lab.command(&[], "ch02-union");
    command
        .args(["run", "--driver", "copy", "--lower", "lower", "--upper", "upper"]);
    command.args(["--work", "work", "echo", "it ran"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    while !trees.work.join("copy").exists() {
        std::thread::yield_now();
    }
    kill(Pid::from_raw(run.id() as i32), Signal::SIGTERM).unwrap();
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("SIGTERM arrived before the program started"), "{said}");
    assert_eq!((ended.status.code(), ended.stdout), (Some(143), vec![]));
    assert_eq!(names(&trees.upper).len(), 0);
    let half = names(&trees.work.join("copy")).len();
    assert!(half < 3000, "{half}");
    assert_eq!(trees.shell("ls | wc -l"), "3000\n");
    assert_eq!(names(&trees.work).len(), 0);
}

/// Unload overlayfs, so that the next mount loads it again. Returns whether it is
/// unloaded.
fn unload() -> bool {
    // The kernel removes the mount of another test shortly after its last process.
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
fn concurrent_first_mounts_all_wait_until_the_module_is_loaded() {
    let trees = Trees::new("overlay");
    for _ in 0..3 {
        if !unload() {
            return blackbox::skip("overlay is no module here, or in use");
        }
        let start = |number: usize| {
            let mut command = trees.lab.command(&[], "ch02-union");
            command.args(["run", "--lower", "lower"]);
            for name in ["upper", "work"] {
                let path = trees.lab.dir().join(format!("{name}-{number}"));
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
fn later_chapters_accept_the_driver_option() {
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
    // The lab compares every file of the image, and looks for remaining containers.
}
