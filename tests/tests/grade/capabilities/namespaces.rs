//! The namespaces, and /proc inside them.

use std::fs;
use std::net::TcpListener;

use blackbox::{bridge_link, living, user};
use common::SystemV;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gethostname};

use super::{GUEST, WAITS};
use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::{Room, wait_for};

pub(super) const ALL: &[Entry] = &[
    ("uts", "a_hostname_set_inside_is_not_visible_outside", host_name, ""),
    ("uts", "the_requested_hostname_is_set_inside", host_name_flag, ""),
    ("uts", "the_namespace_is_new", |room| another(room, "uts"), ""),
    ("ipc", "a_queue_created_outside_is_not_visible_inside", queue, ""),
    ("ipc", "the_namespace_is_new", |room| another(room, "ipc"), ""),
    ("pid", "the_program_is_pid_1", process_1, ""),
    ("pid", "no_process_of_the_container_outlives_pid_1", outlives, ""),
    ("pid", "the_namespace_is_new", |room| another(room, "pid"), ""),
    ("mount", "a_mount_made_inside_is_not_visible_outside", mount_inside, ""),
    ("mount", "the_namespace_is_new", |room| another(room, "mnt"), ""),
    ("user", "an_ordinary_user_is_root_inside", root_inside, ""),
    ("user", "root_inside_is_the_ordinary_user_outside", nobody_outside, ""),
    ("net", "a_device_of_the_host_is_not_visible_inside", device, ""),
    ("net", "a_port_of_the_host_cannot_be_reached_from_inside", port, ""),
    ("net", "the_namespace_is_new", |room| another(room, "net"), ""),
    ("proc", "the_program_sees_only_itself_in_proc", only_itself, ""),
];

fn host_name(room: &mut Room) -> Outcome {
    room.sh("hostname inside && hostname").end()?.prints("inside\n")?;
    let outside = gethostname().expect("gethostname(2)");
    so(
        outside == "outside",
        "the host name outside to be \"outside\" still",
        format!("it is {outside:?}"),
    )
}

fn host_name_flag(room: &mut Room) -> Outcome {
    if room.subject.adapter.hostname.is_empty() {
        return Err(Trouble::skip("the adapter has no words to set a host name"));
    }
    room.run(&["hostname"]).hostname("box").end()?.prints("box\n")
}

/// The number of the namespace differs from that of the host.
fn another(room: &mut Room, kind: &str) -> Outcome {
    let link = format!("/proc/self/ns/{kind}");
    let outside = fs::read_link(&link).expect("readlink(2)");
    let ended = room.run(&["readlink", &link]).end()?;
    ended.succeeds()?;
    let inside = ended.out.trim();
    let holds = inside.starts_with(kind) && inside != outside.to_string_lossy();
    ended.so(holds, &format!("another one than {}", outside.display()))
}

fn queue(room: &mut Room) -> Outcome {
    let id = SystemV::Queue.make().expect("msgget(2)");
    // A line below the heading is a queue.
    let ended = room.run(&["sh", "-c", "wc -l < /proc/sysvipc/msg"]).end();
    SystemV::Queue.remove(id).expect("msgctl(2)");
    ended?.prints("1\n")
}

fn process_1(room: &mut Room) -> Outcome {
    room.sh("echo $$").end()?.prints("1\n")
}

fn outlives(room: &mut Room) -> Outcome {
    let ended = room.sh("sleep 1000 & exit 4").end()?;
    ended.exits(4)?;
    so(room.gone("sleep"), "no process of the container", "sleep runs on")
}

fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("read(2) mountinfo")
}

fn mount_inside(room: &mut Room) -> Outcome {
    let script = format!(
        "mount -t tmpfs grade-inside {GUEST} && echo mounted || exit 8; {WAITS}"
    );
    let mut running = room.sh(&script).start()?;
    running.prints("mounted")?;
    let seen = mount_table().lines().any(|line| line.contains("grade-inside"));
    let pid = Pid::from_raw(running.has("sleep")?);
    let _ = kill(Pid::from_raw(running.pid()), Signal::SIGTERM);
    let _ = kill(Pid::from_raw(running.pid()), Signal::SIGTERM);
    let _ = kill(pid, Signal::SIGKILL);
    for (pid, name) in living() {
        if name == "sh" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    // The exit status does not matter here, but the program must end.
    running.end()?;
    so(!seen, "the mount not to be seen outside", "it is in the host's mount table")
}

fn root_inside(room: &mut Room) -> Outcome {
    room.run(&["id", "-u"]).as_user().end()?.prints("0\n")
}

fn nobody_outside(room: &mut Room) -> Outcome {
    let mut running = room.sh(WAITS).as_user().start()?;
    running.prints("ready")?;
    let pid = running.has("sleep")?;
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids =
        status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
    let ids = ids.replace("Uid:", "").trim().replace('\t', " ");
    for (pid, name) in living() {
        if name == "sh" || name == "sleep" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    running.end()?;
    let own = user().to_string();
    let is = ids.split(' ').all(|id| id == own);
    so(is, &format!("the process to be uid {own}'s outside"), format!("uids {ids}"))
}

fn device(room: &mut Room) -> Outcome {
    bridge_link("grade0", true).expect("a bridge");
    let ended = room.run(&["cat", "/proc/net/dev"]).end();
    bridge_link("grade0", false).expect("no bridge");
    let ended = ended?;
    ended.succeeds()?;
    ended.so(ended.out.contains("lo:"), "a device lo")?;
    ended.so(!ended.out.contains("grade0"), "no device grade0 of the host")
}

fn port(room: &mut Room) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let script = format!("nc 127.0.0.1 {port} && echo reached || echo closed");
    // A client is accepted and immediately disconnected.
    let door = std::thread::spawn(move || {
        listener.set_nonblocking(true).expect("fcntl(2)");
        wait_for(|| listener.accept().ok().map(drop));
    });
    let ended = room.sh(&script).end();
    // This connection ends the wait of the thread.
    let _ = std::net::TcpStream::connect(("127.0.0.1", port));
    let _ = door.join();
    ended?.prints("closed\n")
}

fn only_itself(room: &mut Room) -> Outcome {
    room.sh("echo /proc/[0-9]*").end()?.prints("/proc/1\n")
}
