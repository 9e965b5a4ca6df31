//! The exercises of chapter 2 about namespaces.

use std::fs;
use std::path::Path;

use common::SystemV;

use super::{later_mount, read_only, stop};
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    (
        "ch02-uts-1",
        "by_default_there_is_no_domain_name",
        no_domain,
        "outside.example",
    ),
    (
        "ch02-uts-2",
        "a_name_with_dots_sets_hostname_and_domain_name",
        dotted,
        "box.example.org",
    ),
    (
        "ch02-uts-3",
        "a_variable_contains_the_hosts_hostname",
        hosts_name,
        "\"\\n\", exit code 0",
    ),
    ("ch02-ipc-1", "msgmax_sets_the_longest_message", longest, "'--msgmax'"),
    ("ch02-ipc-2", "share_makes_the_hosts_queue_visible", share_ipc, "'--share'"),
    ("ch02-ipc-3", "remove_all_removes_all_objects", remove_all, "'remove-all'"),
    ("ch02-pid-1", "pidfile_contains_the_pid_outside", pidfile, "'--pidfile'"),
    (
        "ch02-pid-2",
        "proc_mounts_a_proc_with_only_the_container",
        own_proc,
        "'--proc'",
    ),
    ("ch02-pid-3", "with_init_another_process_is_pid_1", init, "'--init'"),
    ("ch02-mount-1", "slave_makes_a_later_mount_visible", slave, "'--slave'"),
    ("ch02-mount-2", "private_tmp_is_empty", private_tmp, "'--private-tmp'"),
    ("ch02-mount-3", "read_only_refuses_writes", read_only, "'--read-only'"),
    ("ch02-user-1", "as_changes_the_user", as_other, "'--as'"),
    ("ch02-user-2", "print_map_prints_the_id_map", print_map, "'--print-map'"),
    ("ch02-user-3", "no_caps_removes_all_capabilities", no_caps, "'--no-caps'"),
    ("ch02-net-1", "lo_sets_the_device_lo_up", lo, "'--lo'"),
    (
        "ch02-net-2",
        "low_ports_lets_every_user_bind_port_80",
        low_ports,
        "'--low-ports'",
    ),
    ("ch02-net-3", "share_uses_the_hosts_network", share_net, "'--share'"),
    ("ch02-setns-1", "list_shows_the_namespaces_for_children", for_children, "KIND"),
    (
        "ch02-setns-2",
        "list_all_shows_namespaces_of_other_processes",
        list_all,
        "'--all'",
    ),
    ("ch02-setns-3", "boottime_moves_the_clock_ahead", clock, "'--boottime'"),
];

const DOMAIN: &str = "/proc/sys/kernel/domainname";

fn no_domain(room: &mut Room) -> Outcome {
    fs::write(DOMAIN, "outside.example").expect("write(2)");
    room.run(&["cat", DOMAIN]).end()?.prints("(none)\n")
}

fn dotted(room: &mut Room) -> Outcome {
    let run = room.sh(&format!("hostname; cat {DOMAIN}"));
    run.flags(&["--hostname", "box.example.org"]).end()?.prints("box\nexample.org\n")
}

fn hosts_name(room: &mut Room) -> Outcome {
    room.sh("echo $HOST_HOSTNAME").end()?.prints("outside\n")
}

fn longest(room: &mut Room) -> Outcome {
    let file = "/proc/sys/kernel/msgmax";
    let before = fs::read_to_string(file).expect("read(2)");
    let ended = room.run(&["cat", file]).flags(&["--msgmax", "4000"]).end()?;
    ended.prints("4000\n")?;
    let after = fs::read_to_string(file).expect("read(2)");
    so(after == before, "the host's as before", after)
}

fn share_ipc(room: &mut Room) -> Outcome {
    let id = SystemV::Queue.make().expect("msgget(2)");
    let run = room.run(&["sh", "-c", "wc -l < /proc/sysvipc/msg"]);
    let ended = run.flags(&["--share"]).end();
    SystemV::Queue.remove(id).expect("msgctl(2)");
    ended?.prints("2\n")
}

fn remove_all(room: &mut Room) -> Outcome {
    let mut made = Vec::new();
    for kind in ["queue", "semaphores", "memory"] {
        let ended = room.words(&["make", kind]).end()?;
        ended.succeeds()?;
        made.push((kind, ended.out.trim().to_owned()));
    }
    let removed = room.words(&["remove-all"]).end();
    let ended = room.words(&["list"]).end()?;
    for (kind, id) in &made {
        // Remove everything that this check created.
        room.words(&["remove", kind, id]).end()?;
    }
    removed?.succeeds()?;
    ended.so(ended.out.lines().count() == 1, "a heading and nothing below it")
}

fn pidfile(room: &mut Room) -> Outcome {
    let file = room.path("pid");
    let file = file.to_string_lossy();
    let mut running = room
        .sh("echo ready; exec sleep 1000")
        .flags(&["--pidfile", &file])
        .start()?;
    running.prints("ready")?;
    let pid = running.has("sleep")?;
    let text = fs::read_to_string(&*file).unwrap_or_default();
    stop(running);
    so(
        text.trim() == pid.to_string(),
        &format!("{pid} in the file"),
        format!("{text:?}"),
    )
}

fn own_proc(room: &mut Room) -> Outcome {
    room.sh("echo /proc/[0-9]*").flags(&["--proc"]).end()?.prints("/proc/1\n")
}

fn init(room: &mut Room) -> Outcome {
    let ended = room.sh("echo $$; exit 5").flags(&["--init"]).end()?;
    ended.exits(5)?;
    let number = ended.out.trim().parse().unwrap_or(0);
    ended.so(number > 1, "a number above 1")
}

fn slave(room: &mut Room) -> Outcome {
    let at = room.directory("later");
    later_mount(room, &at, &at.to_string_lossy(), &["--slave"])
}

fn private_tmp(room: &mut Room) -> Outcome {
    let ended = room
        .sh("ls -A /tmp; touch /tmp/grade-inside")
        .flags(&["--private-tmp"])
        .at("/")
        .end()?;
    ended.prints("")?;
    so(
        !Path::new("/tmp/grade-inside").exists(),
        "nothing in the host's /tmp",
        "a file",
    )
}

fn as_other(room: &mut Room) -> Outcome {
    room.run(&["id", "-u"])
        .flags(&["--as", "1000"])
        .as_user()
        .end()?
        .prints("1000\n")
}

fn print_map(room: &mut Room) -> Outcome {
    let ended = room.run(&["true"]).flags(&["--print-map"]).as_user().end()?;
    ended.succeeds()?;
    let line = format!("uid 0 inside is uid {} outside", blackbox::user());
    ended.so(ended.err.contains(&line), &format!("{line:?} on standard error"))
}

fn no_caps(room: &mut Room) -> Outcome {
    let run = room.run(&["grep", "CapEff", "/proc/self/status"]);
    let none = "CapEff:\t0000000000000000\n";
    run.flags(&["--no-caps"]).as_user().end()?.prints(none)
}

fn lo(room: &mut Room) -> Outcome {
    let run = room.sh("ifconfig lo | grep -o UP");
    run.flags(&["--lo"]).end()?.prints("UP\n")
}

fn low_ports(room: &mut Room) -> Outcome {
    let run = room.run(&["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
    run.flags(&["--low-ports"]).end()?.prints("0\n")
}

fn share_net(room: &mut Room) -> Outcome {
    let outside = fs::read_link("/proc/self/ns/net").expect("readlink(2)");
    let run = room.run(&["readlink", "/proc/self/ns/net"]);
    run.flags(&["--share"]).end()?.prints(&format!("{}\n", outside.display()))
}

fn for_children(room: &mut Room) -> Outcome {
    let ended = room.words(&["list"]).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("pid_for_children"), "a line pid_for_children")
}

fn list_all(room: &mut Room) -> Outcome {
    let mut running = room.words(&["run", "--uts", "sleep", "1000"]).start()?;
    let pid = running.has("sleep")?;
    let link = fs::read_link(format!("/proc/{pid}/ns/uts")).expect("readlink(2)");
    let number = link.to_string_lossy().replace("uts:[", "").replace(']', "");
    let ended = room.words(&["list", "--all"]).end();
    stop(running);
    let ended = ended?;
    ended.succeeds()?;
    ended.so(ended.out.contains(&number), &format!("the namespace {number}"))
}

fn clock(room: &mut Room) -> Outcome {
    let words = [
        "run",
        "--time",
        "--boottime",
        "36000",
        "cut",
        "-d.",
        "-f1",
        "/proc/uptime",
    ];
    let ended = room.words(&words).end()?;
    ended.succeeds()?;
    let seconds: u64 = ended.out.trim().parse().unwrap_or(0);
    ended.so(seconds >= 36000, "36000 seconds or more since boot")
}
