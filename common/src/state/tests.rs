//! Tests of locks, notes, names and sweeps together. Each test has its own state
//! directory.

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::fs::{IFlags, ioctl_getflags};
use tempfile::TempDir;

use super::names::release_name;
use super::spread::spread;
use super::sweep::{remove_files, sweep_quietly};
use super::*;
use crate::Exit;

const NONE: Table = &[];
/// Undoes notes of the kind "link" by creating the file `undone`.
const LINK: Table = &[&[Undo {
    kind: "link",
    undo: |home| Ok(fs::write(home.state.root().join("undone"), "")?),
}]];

fn state() -> (TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let state = State::at(dir.path());
    (dir, state)
}

fn home(state: &State, name: Option<&str>) -> Home {
    let name = name.map(|name| name.parse().unwrap());
    Home { id: Id::new().unwrap(), name, state: state.clone() }
}

/// A container whose supervisor was killed, with this note.
fn dead(state: &State, name: Option<&str>, kind: &str) -> Home {
    let home = home(state, name);
    drop(home.claim(NONE).unwrap());
    home.note(kind, b"veth0").unwrap();
    home
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn only_dead_containers_are_swept() {
    let (_dir, state) = state();
    assert!(state.dead().unwrap().is_empty());
    let home = home(&state, Some("web"));
    let lock = home.claim(NONE).unwrap();
    home.note("volume", b"a b").unwrap();
    home.note("volumes", b"of another part").unwrap();
    home.note("volume", b"\xff").unwrap();
    assert!(state.dead().unwrap().is_empty());
    drop(lock);
    let dead = state.dead().unwrap();
    assert_eq!(dead.len(), 1);
    let found = &dead[0].home;
    assert_eq!((&found.id, &found.name), (&home.id, &home.name));
    let notes = found.notes().unwrap();
    assert_eq!(notes.of("volume").collect::<Vec<_>>(), [&b"a b"[..], b"\xff"]);
    assert_eq!(notes.of("overlay").count(), 0);
    let kinds: Vec<String> = notes.kinds().into_iter().collect();
    assert_eq!(kinds, ["volume", "volumes"]);
    remove_files(found).unwrap();
    remove_files(found).unwrap();
    assert!(state.dead().unwrap().is_empty());
    assert_eq!(count(&state.names()), 0);
}

#[test]
fn an_unknown_note_keeps_the_whole_container_from_every_sweep() {
    let (dir, state) = state();
    let home = dead(&state, Some("web"), "link");
    let left = |why: &str| {
        assert_eq!(home.notes().unwrap().of("link").count(), 1, "{why}");
        assert!(home.dir().exists(), "{why}");
        assert!(state.names().join("web").is_symlink(), "{why}");
        assert!(!dir.path().join("undone").exists(), "{why}");
    };
    let found = state.dead().unwrap();
    assert!(!found[0].is_known(NONE));
    sweep_quietly(&found[0], NONE);
    left("the sweep of a start");
    let error = found[0].sweep(NONE).unwrap_err();
    assert!(format!("{error:#}").contains("unknown kind \"link\""), "{error:#}");
    left("a sweep by command");
    drop(found);
    let error = home.remove("web", NONE).unwrap_err().to_string();
    assert!(error.contains("unknown kind \"link\""), "{error}");
    left("a removal");
    let second =
        self::home(&state, Some("web")).claim(NONE).unwrap_err().to_string();
    assert!(second.contains("already in use"), "{second}");
    left("a container that wants the name");
    // The binary that knows the kind undoes it, and removes the rest.
    home.remove("web", LINK).unwrap();
    assert!(dir.path().join("undone").exists());
    assert!(!home.dir().exists() && !state.names().join("web").is_symlink());
}

#[test]
fn a_removal_sweeps_all_dead_containers_that_its_table_knows() {
    let (dir, state) = state();
    for _ in 0..5 {
        dead(&state, None, "link");
    }
    let unknown = dead(&state, None, "veth");
    state.sweep_dead(LINK).unwrap();
    assert!(dir.path().join("undone").exists());
    assert_eq!(state.dead().unwrap().len(), 1);
    assert_eq!(unknown.notes().unwrap().of("veth").count(), 1);
    assert_eq!(count(&state.containers()), 1);
}

#[test]
fn a_start_examines_only_two_lock_files() {
    let (_dir, state) = state();
    for _ in 0..2 {
        dead(&state, None, "name");
    }
    assert_eq!(state.sample_dead().unwrap().len(), 2);
    for _ in 0..20 {
        dead(&state, None, "name");
    }
    assert_eq!(state.sample_dead().unwrap().len(), 2);
    assert_eq!(state.dead().unwrap().len(), 22);
}

#[test]
fn a_container_that_needs_a_name_sweeps_its_dead_owner() {
    let (_dir, state) = state();
    for _ in 0..50 {
        dead(&state, None, "name");
    }
    let owner = dead(&state, Some("web"), "link");
    let second = home(&state, Some("web"));
    let _lock = second.claim(LINK).unwrap();
    assert!(!owner.dir().exists());
    let link = fs::read_link(state.names().join("web")).unwrap();
    assert_eq!(link.as_os_str(), second.id.as_str());
    assert_eq!(state.dead().unwrap().len(), 50);
}

#[test]
fn a_lock_file_of_another_format_is_left_alone_with_a_message() {
    let (_dir, state) = state();
    for (header, message) in [
        ("format 2 later", "a newer version"),
        ("overlay volume", "an older version"),
    ] {
        let home = home(&state, None);
        drop(home.claim(NONE).unwrap());
        fs::write(home.lock_path(), format!("{header}\n")).unwrap();
        let found = state.dead().unwrap();
        assert!(!found[0].is_known(LINK));
        let error = format!("{:#}", found[0].sweep(LINK).unwrap_err());
        assert!(error.contains(message), "{error}");
        assert!(home.dir().exists());
        drop(found);
        remove_files(&home).unwrap();
    }
}

#[test]
fn a_kept_container_survives_the_sweep_with_an_unknown_exit_status() {
    let (_dir, state) = state();
    let home = home(&state, Some("web"));
    let lock = home.claim(NONE).unwrap();
    fs::write(home.dir().join("record"), "").unwrap();
    home.note_process(Pid::this(), true).unwrap();
    drop(lock);
    state.dead().unwrap()[0].sweep(NONE).unwrap();
    let end = End::read(&home.state, &home.id).unwrap().unwrap();
    assert_eq!(end.how, Exit::Unseen);
    assert_eq!(Status::of(&home).unwrap(), Some(Status::Dead));
    assert!(!home.lock_path().exists() && home.dir().exists());
    assert!(state.names().join("web").is_symlink());
}

#[test]
fn containers_are_spread_if_the_filesystem_supports_it() {
    // Beside the build, which is on a disk more often than /tmp.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    spread(&other);
    let state = State::at(dir.path().join("state"));
    drop(home(&state, None).claim(NONE).unwrap());
    let flags = |path: &Path| ioctl_getflags(File::open(path).unwrap());
    let can = flags(&other).is_ok_and(|flags| flags.contains(IFlags::TOPDIR));
    let does = flags(&state.containers());
    assert_eq!(can, does.is_ok_and(|flags| flags.contains(IFlags::TOPDIR)));
    let does = flags(&state.make_layers().unwrap());
    assert_eq!(can, does.is_ok_and(|flags| flags.contains(IFlags::TOPDIR)));
    assert_eq!(count(&state.containers()), 1);
    drop(home(&state, None).claim(NONE).unwrap());
    assert_eq!(count(&state.containers()), 2);
}

#[test]
fn a_supervisor_is_found_by_its_pid_and_its_start_time() {
    let (_dir, state) = state();
    let home = home(&state, None);
    assert!(home.supervisor().unwrap().is_none());
    let lock = home.claim(NONE).unwrap();
    assert!(home.supervisor().unwrap().is_none());
    home.note("host", format!("{} 1", Pid::this()).as_bytes()).unwrap();
    assert!(home.supervisor().unwrap().is_none(), "another process has that PID");
    remove_files(&home).unwrap();
    drop(lock);
    let _lock = home.claim(NONE).unwrap();
    home.note_supervisor().unwrap();
    assert_eq!(home.supervisor().unwrap().unwrap().pid, Pid::this());
}

#[test]
fn the_status_is_determined_by_the_lock_and_the_process() {
    let (_dir, state) = state();
    let home = home(&state, None);
    assert_eq!(Status::by_lock(&home).unwrap(), Status::Dead);
    let lock = home.claim(NONE).unwrap();
    assert_eq!(Status::by_lock(&home).unwrap(), Status::Starting);
    let note = format!("until-removed {} 1", Pid::this());
    home.note("process", note.as_bytes()).unwrap();
    // The PID belongs to another process now.
    assert_eq!(Status::by_lock(&home).unwrap(), Status::Ending);
    drop(lock);
    assert_eq!(Status::by_lock(&home).unwrap(), Status::Dead);
    remove_files(&home).unwrap();
    let lock = home.claim(NONE).unwrap();
    home.note_process(Pid::this(), false).unwrap();
    let status = Status::by_lock(&home).unwrap();
    assert!(matches!(status, Status::Running(it) if it.pid == Pid::this()));
    assert_eq!(Status::of(&home).unwrap(), Some(status), "without a record");
    drop(lock);
    // A container that is removed at its end is swept with all its files.
    state.dead().unwrap()[0].sweep(NONE).unwrap();
    assert_eq!(count(&state.containers()), 0);
}

#[test]
fn a_waiting_process_reads_the_last_note_of_a_removed_file() {
    let (_dir, state) = state();
    let home = home(&state, None);
    assert!(home.watch().unwrap().is_none());
    let lock = home.claim(NONE).unwrap();
    let watched = home.watch().unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| watched.wait_until_released().unwrap());
        home.note("ended", b"3 100").unwrap();
        remove_files(&home).unwrap();
        drop(lock);
        let end = End::noted(&waiter.join().unwrap()).unwrap().unwrap();
        assert_eq!((end.how, end.at), (Exit::Code(3), 100));
    });
}

#[test]
fn an_exit_status_is_read_back_and_an_unknown_one_does_not_replace_it() {
    let (_dir, state) = state();
    let home = home(&state, Some("web"));
    let _lock = home.claim(NONE).unwrap();
    record::write_end(&home, Exit::Code(3)).unwrap();
    let read_end = |home: &Home| End::read(&home.state, &home.id);
    assert!(read_end(&home).unwrap().is_none(), "there is no record");
    let record = home.dir().join("record");
    let text = "format 1\nimage busybox\ncommand sh\ncreated 7\nend\n";
    fs::write(&record, text).unwrap();
    let opened = Home { state: state.opened(), ..home.clone() };
    let read = || {
        let ends = [&home, &opened].map(|home| read_end(home).unwrap());
        assert_eq!(ends[0], ends[1]);
        ends[0].map(|end| end.how)
    };
    assert_eq!(read(), None);
    for (how, first) in [
        (Exit::Signal(Signal::SIGKILL), Exit::Signal(Signal::SIGKILL)),
        (Exit::Unseen, Exit::Signal(Signal::SIGKILL)),
        (Exit::Code(4), Exit::Signal(Signal::SIGKILL)),
    ] {
        record::write_end(&home, how).unwrap();
        assert_eq!(read(), Some(first));
    }
    // An earlier version wrote a record instead of a symlink.
    let end = home.dir().join("ended");
    fs::remove_file(&end).unwrap();
    fs::write(&end, "format 1\nhow 5\nat 9\nend\n").unwrap();
    assert_eq!(read(), Some(Exit::Code(5)));
    fs::remove_file(&end).unwrap();
    std::os::unix::fs::symlink("x", &end).unwrap();
    let error = format!("{:#}", read_end(&opened).unwrap_err());
    assert!(error.starts_with(&format!("{} is damaged", end.display())), "{error}");
}

#[test]
fn a_summary_and_a_lock_are_also_read_from_open_directories() {
    let (_dir, state) = state();
    let home = home(&state, None);
    // There are no directories yet.
    assert!(Summary::read(&state.opened(), &home.id).unwrap().is_none());
    let lock = home.claim(NONE).unwrap();
    let opened = state.opened();
    assert!(Summary::read(&opened, &home.id).unwrap().is_none());
    let text = "format 1\nimage busybox\ncommand a\ncommand b\ncreated 7\nend\n";
    fs::write(home.dir().join("record"), text).unwrap();
    let found = Summary::read(&opened, &home.id).unwrap().unwrap();
    assert_eq!(Some(&found), Summary::read(&state, &home.id).unwrap().as_ref());
    assert_eq!((found.image.as_str(), found.created), ("busybox", 7));
    assert_eq!(found.command, ["a", "b"]);
    let home = found.home(&opened);
    home.note("x", b"y").unwrap();
    let (status, notes) = Status::and_notes(&home).unwrap().unwrap();
    assert_eq!((status, notes.of("x").count()), (Status::Starting, 1));
    drop(lock);
    let (status, notes) = Status::and_notes(&home).unwrap().unwrap();
    assert_eq!((status, notes.of("x").count()), (Status::Dead, 0));
}

#[test]
fn a_name_has_one_owner() {
    let (_dir, state) = state();
    let first = home(&state, Some("web"));
    let _lock = first.claim(NONE).unwrap();
    let second = home(&state, Some("web"));
    let error = second.claim(NONE).unwrap_err().to_string();
    let expected =
        format!("the name web is already in use by container {}", first.id);
    assert!(error.starts_with(&expected), "{error}");
    remove_files(&second).unwrap();
    assert!(state.names().join("web").is_symlink());
}

#[test]
fn an_error_about_a_used_name_always_has_the_owners_id() {
    let (_dir, state) = state();
    // Each thread takes the name and releases it. A name that was found in use is
    // therefore often free again when its owner is read.
    let contend = || {
        let one = home(&state, Some("web"));
        for _ in 0..2_000 {
            match one.claim(NONE) {
                Ok(_lock) => release_name(&one).unwrap(),
                Err(e) => assert!(!e.to_string().contains("container :"), "{e}"),
            }
            remove_files(&one).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(contend);
        scope.spawn(contend);
    });
}

#[test]
fn a_container_that_died_before_its_directory_is_swept() {
    let (_dir, state) = state();
    drop(home(&state, None).lock().unwrap());
    let dead = state.dead().unwrap();
    assert_eq!(dead.len(), 1);
    dead[0].sweep(NONE).unwrap();
    assert_eq!(count(&state.running()), 0);
}

#[test]
fn a_lock_file_removed_by_a_sweep_is_created_again() {
    let (_dir, state) = state();
    let home = home(&state, None);
    state.make(state.running()).unwrap();
    File::create(home.lock_path()).unwrap();
    // A sweep holds the lock between the owner's open(2) and flock(2).
    let swept = state.dead().unwrap();
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| home.lock().unwrap());
        sleep(Duration::from_millis(50));
        swept[0].sweep(NONE).unwrap();
        drop(swept);
        let _lock = owner.join().unwrap();
        let text = fs::read_to_string(home.lock_path()).unwrap();
        assert!(text.starts_with("format 1 "), "{text}");
        assert!(state.dead().unwrap().is_empty());
    });
}

#[test]
fn a_record_that_cannot_be_read_does_not_count_as_damaged() {
    use nix::errno::Errno;

    use super::fields::may_be_whole;

    let read = |errno: Errno| anyhow::Error::from(errno).context("read(2) record");
    assert!(may_be_whole(&read(Errno::EIO)));
    assert!(!may_be_whole(&read(Errno::EISDIR)));
    assert!(!may_be_whole(&anyhow::anyhow!("a line without a field")));
}
