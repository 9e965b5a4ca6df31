//! Limits, and the files that a container sees.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use blackbox::has_controller;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::GUEST;
use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::process::groups;
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("limits", "the_memory_limit_is_set", memory, ""),
    ("limits", "a_process_that_exceeds_the_memory_limit_is_killed", oom, ""),
    ("limits", "the_limit_of_processes_is_enforced", processes, ""),
    ("pivot", "a_file_of_the_host_cannot_be_read", host_file, ""),
    ("pivot", "rejoining_its_mount_namespace_does_not_reach_the_host", escape, ""),
    ("pivot", "no_mount_of_the_host_is_visible", host_mounts, ""),
    ("overlay", "a_write_does_not_change_the_image", image_untouched, ""),
    ("overlay", "a_write_is_not_visible_in_the_next_run", write_gone, ""),
    ("overlay", "a_removed_file_exists_again_in_the_next_run", removed, ""),
    ("volume", "a_write_in_the_container_appears_on_the_host", guest_writes, ""),
    ("volume", "a_write_on_the_host_appears_in_the_container", host_writes, ""),
    ("volume", "a_read_only_volume_cannot_be_written", read_only, ""),
];

fn memory_controller() -> Outcome {
    match has_controller("memory") {
        true => Ok(()),
        false => Err(Trouble::skip("this kernel has no memory controller")),
    }
}

fn memory(room: &mut Room) -> Outcome {
    memory_controller()?;
    let bytes = 64 << 20;
    let mut running = room.run(&["sleep", "1000"]).memory(bytes).start()?;
    let pid = running.has("sleep")?;
    let limits: Vec<_> = groups(pid)
        .iter()
        .flat_map(|group| {
            ["memory.max", "memory.limit_in_bytes"].map(|file| group.join(file))
        })
        .filter_map(|file| fs::read_to_string(file).ok())
        .map(|text| text.trim().to_owned())
        .collect();
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill(2)");
    running.end()?;
    so(
        limits.contains(&bytes.to_string()),
        &format!("a group with a limit of {bytes} bytes"),
        format!("the limits of its groups: {limits:?}"),
    )
}

fn oom(room: &mut Room) -> Outcome {
    memory_controller()?;
    room.run(&["tail", "/dev/zero"]).memory(16 << 20).end()?.exits(137)
}

fn processes(room: &mut Room) -> Outcome {
    if !has_controller("pids") {
        return Err(Trouble::skip("this kernel has no pids controller"));
    }
    // The shell prints the number of each process that it starts, and ends if it cannot
    // start one.
    let script =
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & echo $i; done";
    let ended = room.sh(script).pids(6).end()?;
    let made = ended.out.lines().count();
    ended.so((1..=5).contains(&made), "at most five processes beside the shell")
}

const SECRET: &str = "/run/grade-secret";

fn host_file(room: &mut Room) -> Outcome {
    fs::write(SECRET, "of the host").expect("write(2)");
    let ended = room
        .sh(&format!("cat {SECRET}; cd /; cat ../../..{SECRET}; echo end"))
        .end();
    fs::remove_file(SECRET).expect("unlink(2)");
    ended?.prints("end\n")
}

/// A script that runs a command in the root of the mount namespace. If a program only
/// changed the root of the process, that root is another one, and a /proc is enough to
/// reach it.
fn in_namespaces_root(command: &str) -> String {
    format!(
        "test -e /proc/self/ns/mnt || mount -t proc proc /proc || exit 9; \
         nsenter --mount=/proc/self/ns/mnt {command}"
    )
}

fn escape(room: &mut Room) -> Outcome {
    fs::write(SECRET, "of the host").expect("write(2)");
    let script = in_namespaces_root(&format!(
        "sh -c 'test -e {SECRET} && echo reached || echo held'"
    ));
    let ended = room.sh(&script).end();
    fs::remove_file(SECRET).expect("unlink(2)");
    ended?.prints("held\n")
}

fn host_mounts(room: &mut Room) -> Outcome {
    let at = room.directory("marker");
    let (kind, none) = (Some("tmpfs"), None::<&str>);
    mount(Some("grade-marker"), &at, kind, MsFlags::empty(), none)
        .expect("mount(2)");
    let ended = room.sh(&in_namespaces_root("cat /proc/self/mountinfo")).end();
    nix::mount::umount(&at).expect("umount(2)");
    let ended = ended?;
    ended.succeeds()?;
    ended.so(ended.out.contains(" / "), "a mount table")?;
    let left = ended.out.lines().find(|line| line.contains("grade-marker"));
    so(left.is_none(), "no mount of the host", left.unwrap_or_default())
}

const MARK: &str = "/tmp/grade-was-here";

fn image_untouched(room: &mut Room) -> Outcome {
    let script = format!("mkdir -p /tmp; echo x > {MARK} && cat {MARK}");
    room.sh(&script).end()?.prints("x\n")?;
    let mark = room.lab.image().join(MARK.trim_start_matches('/'));
    so(!mark.exists(), "the image as it was", format!("it has {MARK}"))?;
    so(
        !std::path::Path::new(MARK).exists(),
        "the host as it was",
        format!("it has {MARK}"),
    )
}

fn write_gone(room: &mut Room) -> Outcome {
    room.sh(&format!("mkdir -p /tmp; echo x > {MARK}")).end()?.succeeds()?;
    room.sh(&format!("test -e {MARK} && echo there || echo gone"))
        .end()?
        .prints("gone\n")
}

fn removed(room: &mut Room) -> Outcome {
    room.sh("rm /bin/vi && ! test -e /bin/vi").end()?.succeeds()?;
    room.sh("test -e /bin/vi && echo there || echo gone").end()?.prints("there\n")
}

fn guest_writes(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    let script = format!("echo from inside > {GUEST}/file");
    room.sh(&script).volume(&host, GUEST, false).end()?.succeeds()?;
    let text = fs::read_to_string(host.join("file")).unwrap_or_default();
    so(
        text == "from inside\n",
        "\"from inside\" in the host's file",
        format!("{text:?} in it"),
    )
}

fn host_writes(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    fs::write(host.join("before"), "one\n").expect("write(2)");
    let script = format!(
        "cat {GUEST}/before; until test -s {GUEST}/later; do sleep 0.1; done; \
         cat {GUEST}/later"
    );
    let mut running = room.sh(&script).volume(&host, GUEST, false).start()?;
    running.prints("one")?;
    fs::write(host.join("later"), "two\n").expect("write(2)");
    running.end()?.prints("one\ntwo\n")
}

fn read_only(room: &mut Room) -> Outcome {
    if room.subject.adapter.volume_read_only.is_empty() {
        return Err(Trouble::skip("the adapter has no words for a volume to read"));
    }
    let host = room.directory("volume");
    fs::write(host.join("file"), "as it was\n").expect("write(2)");
    fs::set_permissions(host.join("file"), fs::Permissions::from_mode(0o666))
        .unwrap();
    let script =
        format!("cat {GUEST}/file; (echo other > {GUEST}/file) || echo refused");
    let ended = room.sh(&script).volume(&host, GUEST, true).end()?;
    ended.prints("as it was\nrefused\n")
}
