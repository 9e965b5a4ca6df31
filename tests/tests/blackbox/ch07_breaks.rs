//! ch07-pull: a full disk or Ctrl-C ends a pull, and the next pull continues it.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::server::{Asked, Server, answer, start};
use blackbox::{Lab, Terminal};
use nix::mount::{MsFlags, mount, umount};
use predicates::str::contains;
use serial_test::file_serial;

use crate::ch07_pull::{registry, run};

/// A timeout that is longer than any step of these tests.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The time during which a registry sends nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// The size of the large file in the image. The size of the layer differs a little.
const SIZE: usize = 2 << 20;

/// The number of bytes of the large layer after which a server stops.
const HALF: usize = 1 << 20;

/// A tmpfs of some MiB below the lab's directory.
struct Small(PathBuf);

impl Small {
    fn new(lab: &Lab, mebibytes: usize) -> Small {
        let at = lab.dir().join("small");
        fs::create_dir(&at).unwrap();
        let small = Small(at);
        small.mount(MsFlags::empty(), mebibytes);
        small
    }

    fn mount(&self, flags: MsFlags, mebibytes: usize) {
        let size = format!("size={mebibytes}m");
        mount(None::<&str>, &self.0, Some("tmpfs"), flags, Some(&*size)).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        umount(&self.0).unwrap();
    }
}

/// Write a file until the disk is full.
fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// A registry with an image that contains one file. During the first download of the large
/// layer, it calls `middle` after half of the layer.
fn broken(
    lab: &Lab,
    content: &[u8],
    middle: impl FnOnce(usize) + Send + 'static,
) -> Server {
    let tree = lab.dir().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("large"), content).unwrap();
    let (first, stored) = registry();
    let name = format!("{}/a:1", first.name());
    run(lab, &["import", tree.to_str().unwrap(), &name]).assert().success();
    run(lab, &["push", &name]).assert().success();
    run(lab, &["rmi", &name]).assert().success();
    let middle = Mutex::new(Some(middle));
    Server::new(move |asked, to| {
        let stored = stored.lock().unwrap();
        let Some((kind, bytes)) = stored.get(&asked.path) else {
            return answer(to, 404, &[], b"");
        };
        let (kind, bytes) = (kind.clone(), bytes.clone());
        drop(stored);
        let from = asked.range().unwrap_or(0);
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        let status = if from > 0 { 206 } else { 200 };
        let fields = [("Content-Type", &*kind), ("Content-Range", &*range)];
        start(to, status, &fields, bytes.len() - from)?;
        let taken = match bytes.len() > HALF {
            true => middle.lock().unwrap().take(),
            false => None,
        };
        let Some(middle) = taken else { return to.write_all(&bytes[from..]) };
        to.write_all(&bytes[..HALF])?;
        to.flush()?;
        middle(HALF);
        to.write_all(&bytes[HALF..])
    })
}

/// Wait until this number of bytes of a download is in the state directory.
fn arrived(state: &Path, bytes: usize) {
    let begun = Instant::now();
    let downloads = state.join("images/downloads");
    let parts = || {
        let entries = fs::read_dir(&downloads).into_iter().flatten().flatten();
        let parts = entries.filter(|it| it.path().extension().is_some());
        parts.map(|it| it.metadata().map_or(0, |about| about.len())).sum::<u64>()
    };
    while parts() < bytes as u64 {
        assert!(begun.elapsed() < TIMEOUT, "{} bytes have arrived", parts());
        sleep(Duration::from_millis(2));
    }
}

fn ranges(server: &Server) -> Vec<usize> {
    server.asked().iter().filter_map(Asked::range).collect()
}

#[test]
#[file_serial(machine)]
fn a_full_disk_during_a_download_is_reported_and_the_next_pull_continues() {
    let lab = Lab::new();
    let small = Small::new(&lab, 16);
    let state = small.0.join("state");
    let (disk, seen) = (small.0.clone(), state.clone());
    let server = broken(&lab, &noise(SIZE), move |half| {
        arrived(&seen, half);
        fill(&disk);
    });
    let name = format!("{}/a:1", server.name());
    let ours = |words: &[&str]| {
        let mut command = run(&lab, words);
        command.env("MYDOCKER_ROOT", &state).assert()
    };
    let failed = ours(&["pull", &name]).code(125);
    let error = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(error.contains("ENOSPC"), "{error}");
    assert!(error.contains("hint: the disk of the state"), "{error}");
    ours(&["images", "-q"]).success().stdout("");
    fs::remove_file(small.0.join("filler")).unwrap();
    ours(&["pull", "-q", &name]).success();
    let ranges = ranges(&server);
    assert!(ranges.len() == 1 && ranges[0] >= HALF, "{ranges:?}");
    ours(&["images", "-q"]).success().stdout(contains(&*name));
}

#[test]
#[file_serial(machine)]
fn a_full_disk_during_unpacking_is_reported_and_the_download_is_kept() {
    let lab = Lab::new();
    let small = Small::new(&lab, 3);
    let state = small.0.join("state");
    // The zeros compress well, so the download fits and the unpacked layer does not.
    let server = broken(&lab, &vec![0; 8 << 20], |_| panic!("a large layer"));
    let name = format!("{}/a:1", server.name());
    let ours = |words: &[&str]| {
        let mut command = run(&lab, words);
        command.env("MYDOCKER_ROOT", &state).assert()
    };
    let failed = ours(&["pull", &name]).code(125);
    let error = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    for part in
        ["unpack layer", "entry large", "ENOSPC", "hint: the disk of the state"]
    {
        assert!(error.contains(part), "{error}");
    }
    ours(&["images", "-q"]).success().stdout("");
    assert_eq!(fs::read_dir(state.join("layers")).unwrap().count(), 0);
    let before = server.asked().len();
    small.mount(MsFlags::MS_REMOUNT, 24);
    ours(&["pull", "-q", &name]).success();
    assert_eq!(server.asked().len(), before + 1, "only the manifest");
    ours(&["images", "-q"]).success().stdout(contains(&*name));
}

#[test]
#[file_serial(machine)]
fn ctrl_c_ends_pull_and_run_on_a_terminal_and_the_next_pull_continues() {
    for words in [&["pull"][..], &["run", "--rm"]] {
        let lab = Lab::new();
        let state = lab.state();
        let server = broken(&lab, &noise(SIZE), |_| sleep(SILENCE));
        let name = format!("{}/a:1", server.name());
        let mut command = lab.command(&[], "ch07-pull");
        command
            .args(words)
            .arg(&name)
            .env("DOCKER_CONFIG", lab.dir().join("docker"));
        command.env("TERM", "xterm");
        let mut terminal = Terminal::run(command);
        terminal.see("Downloading");
        arrived(&state, HALF);
        terminal.type_keys("\x03");
        assert_eq!(terminal.end(), 128 + 2, "{words:?}");
        run(&lab, &["images", "-q"]).assert().success().stdout("busybox\n");
        run(&lab, &["pull", "-q", &name]).assert().success();
        let ranges = ranges(&server);
        assert!(ranges.len() == 1 && ranges[0] >= HALF, "{ranges:?}");
        run(&lab, &["rmi", &name]).assert().success();
        assert_eq!(lab.close(), Vec::<String>::new());
    }
}
