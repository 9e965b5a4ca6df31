//! ch04-overlay: the image does not change; written files are removed with the container.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use blackbox::Lab;
use insta::assert_snapshot;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn writes_are_discarded_with_the_container_and_never_reach_the_image() {
    let lab = Lab::new();
    for new in [Lab::chapter, Lab::as_user] {
        let write =
            "touch /tmp/test.txt; rm /etc/hosts; echo x >> /etc/passwd; ls /tmp";
        let mut run = new(&lab, "ch04-overlay");
        run.args(["run", "sh", "-c", write]).assert().success().stdout("test.txt\n");
        let look = "ls /tmp; ls /etc; wc -l < /etc/passwd";
        let mut run = new(&lab, "ch04-overlay");
        run.args(["run", "sh", "-c", look]);
        run.assert().success().stdout("group\nhosts\npasswd\n2\n");
    }
    // The lab compares the time and size of every file of the image.
}

/// A running container that has executed `script`, and its directories according to
/// `--show-layers`: image, write, merged.
fn running(lab: &Lab, script: &str) -> (std::process::Child, [String; 3]) {
    let script = format!("{script}; echo ready; read word");
    let mut command = lab.command(&[], "ch04-overlay");
    command.args(["run", "--show-layers", "sh", "-c", &script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let mut said = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let places = ["image", "write", "merged"].map(|kind| {
        let line = said.next().unwrap().unwrap();
        line.strip_prefix(kind).expect(kind).trim().to_owned()
    });
    (child, places)
}

#[test]
#[file_serial(machine)]
fn show_layers_prints_directories_that_the_host_can_read() {
    let lab = Lab::new();
    let script = "echo new > /tmp/new; echo more >> /etc/passwd; rm /etc/group; \
                  rm -r /var/log; mkdir /var/log";
    let (mut child, [image, write, merged]) = running(&lab, script);
    assert_eq!(Path::new(&image), lab.image());
    let (write, merged) = (Path::new(&write), Path::new(&merged));
    assert_eq!(fs::read_to_string(write.join("tmp/new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(merged.join("tmp/new")).unwrap(), "new\n");
    // The first write copies the whole file up.
    let copied = fs::read_to_string(write.join("etc/passwd")).unwrap();
    assert!(copied.starts_with("root:x:0:0") && copied.ends_with("more\n"));
    // A removed file leaves a whiteout: a character device with the numbers 0, 0.
    let whiteout = fs::symlink_metadata(write.join("etc/group")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(std::os::unix::fs::MetadataExt::rdev(&whiteout), 0);
    assert!(!merged.join("etc/group").exists());
    // The upper directory hides the lower one, and the image has not changed.
    let names = |dir: &Path| -> BTreeSet<_> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(&write.join("etc")).len(), 2);
    assert_eq!(names(&Path::new(&image).join("etc")).len(), 3);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(!write.exists());
}

#[test]
#[file_serial(machine)]
fn each_container_has_its_own_write_layer() {
    let lab = Lab::new();
    let (mut one, [_, write_one, _]) = running(&lab, "touch /tmp/one");
    let (mut two, [_, write_two, merged_two]) = running(&lab, "touch /tmp/two");
    assert_ne!(write_one, write_two);
    assert!(!Path::new(&merged_two).join("tmp/one").exists());
    for child in [&mut one, &mut two] {
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
}

#[test]
#[file_serial(machine)]
fn a_temporary_write_layer_is_mounted_volatile() {
    let lab = Lab::new();
    let look = ["run", "grep", " / overlay ", "/proc/mounts"];
    let mounted = lab.chapter("ch04-overlay").args(look).assert().success();
    mounted.stdout(contains("volatile"));
}

#[test]
#[file_serial(machine)]
fn a_name_is_in_use_only_while_its_container_runs() {
    let lab = Lab::new();
    let mut command = lab.command(&[], "ch04-overlay");
    command.args(["run", "--name", "web", "sh", "-c", "echo ready; read word"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut first = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(first.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let mut second = lab.chapter("ch04-overlay");
    second.args(["run", "-name", "web", "true"]).assert().code(125);
    let mut second = lab.chapter("ch04-overlay");
    let taken = contains("the name web is already in use by container");
    second.args(["run", "-name=web", "true"]).assert().code(125).stderr(taken);
    // A killed supervisor cannot give its name back. A run that wants the name sweeps
    // it.
    first.kill().unwrap();
    first.wait().unwrap();
    let mut third = lab.chapter("ch04-overlay");
    third.args(["run", "--name=web", "true"]).assert().success();
}

/// Load the module of overlayfs, which the kernel does on the first mount. If several
/// processes mount it at once, the modprobe of busybox takes a module that is still being
/// loaded for a loaded one, and the kernel then has no overlayfs.
fn load_overlay(lab: &Lab) {
    lab.chapter("ch04-overlay").args(["run", "true"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn only_one_of_many_concurrent_runs_gets_the_name() {
    let lab = Lab::new();
    load_overlay(&lab);
    let start = |_| {
        let mut command = lab.command(&[], "ch04-overlay");
        command.args(["run", "--name", "web", "sleep", "2"]).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut runs: Vec<_> = (0..10).map(start).collect();
    let codes = runs.iter_mut().map(|run| run.wait().unwrap().code().unwrap());
    let codes: Vec<i32> = codes.collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 125).count(), 9, "{codes:?}");
}

#[test]
#[file_serial(machine)]
fn invalid_names_are_refused() {
    let lab = Lab::new();
    let long = "a".repeat(65);
    for name in ["", "a/b", "..", "/etc", "-x", "a b", "ä", &long] {
        let mut run = lab.chapter("ch04-overlay");
        run.arg("run").arg(format!("--name={name}")).arg("true");
        run.assert().code(2).stderr(contains("name"));
    }
}

#[test]
#[file_serial(machine)]
fn fifty_concurrent_runs_have_distinct_ids_and_leave_nothing() {
    let lab = Lab::new();
    load_overlay(&lab);
    let start = |_| {
        let mut command = lab.command(&[], "ch04-overlay");
        command.args(["run", "hostname"]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<_> = (0..50).map(start).collect();
    let mut ids = BTreeSet::new();
    for run in runs {
        let out = run.wait_with_output().unwrap();
        assert!(out.status.success());
        assert!(ids.insert(out.stdout));
    }
}

/// A start examines at most two lock files, so this is certain only beside at most two
/// containers.
#[test]
#[file_serial(machine)]
fn the_next_run_sweeps_what_a_killed_supervisor_left() {
    let lab = Lab::new();
    let (mut child, [_, write, _]) = running(&lab, "touch /tmp/x");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert!(Path::new(&write).exists());
    lab.chapter("ch04-overlay").args(["run", "true"]).assert().success();
    assert!(!Path::new(&write).exists());
}

#[test]
#[file_serial(machine)]
fn a_sweep_tolerates_writes_of_a_dying_container() {
    let lab = Lab::new();
    let script = "mkdir /d; cd /d; seq 1 3000 | xargs touch";
    let (mut child, [_, write, _]) = running(&lab, script);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    // The kernel frees the lock of a killed supervisor before it ends the container.
    // This thread writes for as long as a slow container would.
    let into = Path::new(&write).join("d");
    let writer = std::thread::spawn(move || {
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < Duration::from_millis(300) {
            let _ = fs::write(into.join(format!("late{number}")), "");
            number += 1;
        }
    });
    lab.chapter("ch04-overlay").args(["run", "true"]).assert().success();
    writer.join().unwrap();
    assert!(!Path::new(&write).exists());
}

#[test]
#[file_serial(machine)]
fn a_sweep_does_not_remove_running_containers() {
    let lab = Lab::new();
    let (mut child, [_, write, merged]) = running(&lab, "touch /tmp/x");
    lab.chapter("ch04-overlay").args(["run", "true"]).assert().success();
    assert!(Path::new(&write).join("tmp/x").exists());
    assert!(Path::new(&merged).join("tmp/x").exists());
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// A filesystem mounted for one test.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(lab: &Lab, kind: &str, options: &str) -> Mounted {
        let at = lab.dir().join(kind);
        fs::create_dir(&at).unwrap();
        mount(Some(kind), &at, Some(kind), MsFlags::empty(), Some(options)).unwrap();
        Mounted(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount(&self.0).unwrap();
    }
}

#[test]
#[file_serial(machine)]
fn a_state_directory_on_overlayfs_is_refused_with_the_remedy() {
    let lab = Lab::new();
    let own = |name: &str| {
        let path = lab.dir().join(name);
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    };
    let [lower, upper, work] = ["l", "u", "w"].map(own);
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let on = Mounted::new(&lab, "overlay", &options);
    let marker = lab.dir().join("ran");
    let mut run = lab.chapter("ch04-overlay");
    run.env("MYDOCKER_ROOT", on.0.join("state"));
    run.env("MYDOCKER_BUSYBOX", lab.image().join("bin/busybox"));
    run.args(["run", "touch"]).arg(&marker);
    let said = run.assert().code(125).stdout("").get_output().stderr.clone();
    let said = String::from_utf8(said).unwrap();
    let dir = lab.dir().to_str().unwrap().to_owned();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{64}|[0-9a-f]{12}", "ID");
    settings.add_filter("(?m)^busybox: .*\n", "");
    settings.bind(|| assert_snapshot!(said.replace(&dir, "DIR"), @"
    error: enter overlay: mount(2) overlay on DIR/overlay/state/containers/ID lowerdir=DIR/overlay/state/layers/ID,upperdir=DIR/overlay/state/containers/ID/upper,workdir=DIR/overlay/state/containers/ID/work,index=off,volatile,redirect_dir=off,metacopy=off: EINVAL: Invalid argument
    hint: the write layer DIR/overlay/state/containers/ID/upper is on overlayfs, which overlayfs does not support; use ext4, xfs, btrfs or tmpfs: MYDOCKER_ROOT=/dev/shm/mydocker
    "));
    assert_eq!(fs::read_dir(on.0.join("state/containers")).unwrap().count(), 0);
    drop(on);
}

#[test]
#[file_serial(machine)]
fn a_full_disk_is_reported_and_leaves_no_container() {
    let lab = Lab::new();
    let on = Mounted::new(&lab, "tmpfs", "size=8m,nr_inodes=1k");
    let state = on.0.join("state");
    let mut run = lab.chapter("ch04-overlay");
    run.env("MYDOCKER_ROOT", &state);
    run.env("MYDOCKER_BUSYBOX", lab.image().join("bin/busybox"));
    run.args(["run", "true"]).assert().success();
    // First no bytes are free, then no inodes.
    fs::write(on.0.join("filler"), vec![0; 8 << 20]).unwrap_err();
    for step in 0..2 {
        let mut run = lab.chapter("ch04-overlay");
        run.env("MYDOCKER_ROOT", &state);
        let full = contains("ENOSPC").and(contains("hint: the disk of the state"));
        run.args(["run", "true"]).assert().code(125).stderr(full);
        assert_eq!(fs::read_dir(state.join("containers")).unwrap().count(), 0);
        if step == 0 {
            fs::remove_file(on.0.join("filler")).unwrap();
            let mut made = 0;
            while fs::write(on.0.join(format!("i{made}")), "").is_ok() {
                made += 1;
            }
        }
    }
    drop(on);
}

#[test]
#[file_serial(machine)]
fn the_path_of_the_state_directory_may_contain_separators() {
    let lab = Lab::new();
    let odd = lab.dir().join(r"a:b,c\d e");
    fs::create_dir(&odd).unwrap();
    let mut run = lab.chapter("ch04-overlay");
    run.env("MYDOCKER_ROOT", &odd);
    run.env("MYDOCKER_BUSYBOX", lab.image().join("bin/busybox"));
    run.args(["run", "sh", "-c", "touch /x; ls /x"]);
    run.assert().success().stdout("/x\n");
}

#[test]
#[file_serial(machine)]
fn a_relative_state_directory_is_refused() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch04-overlay");
    run.env("MYDOCKER_ROOT", "here").args(["run", "true"]);
    run.assert()
        .code(125)
        .stderr(contains("MYDOCKER_ROOT").and(contains("absolute")));
}

#[test]
#[file_serial(machine)]
fn a_state_directory_of_another_user_is_reported() {
    let lab = Lab::new();
    let mut run = lab.as_user("ch04-overlay");
    run.env("MYDOCKER_ROOT", lab.state()).args(["run", "true"]);
    run.assert().code(125).stderr(contains("belongs to another user"));
}

#[test]
#[file_serial(machine)]
fn an_ordinary_users_write_layer_with_closed_directories_is_removed() {
    let lab = Lab::new();
    let script = "mkdir -p /a/b/c; touch /a/b/c/d; chmod 0 /a/b/c /a/b /a";
    let mut run = lab.as_user("ch04-overlay");
    run.args(["run", "sh", "-c", script]).assert().success();
    let containers = lab.dir().join("home/.local/share/mydocker/containers");
    assert_eq!(fs::read_dir(containers).unwrap().count(), 0);
}

#[test]
#[file_serial(machine)]
fn the_callers_umask_does_not_affect_the_container() {
    let lab = Lab::new();
    let shell = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let mut run = lab.wrapped(&shell.map(std::ffi::OsStr::new), "ch04-overlay");
    run.args(["run", "sh", "-c", "stat -c %a / /tmp; umask"]);
    run.assert().success().stdout("755\n1777\n0022\n");
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    let mut help = lab.chapter("ch04-overlay");
    let out =
        help.args(["run", "--help"]).assert().success().get_output().stdout.clone();
    assert_snapshot!("ch04-overlay-help", String::from_utf8(out).unwrap());
}
