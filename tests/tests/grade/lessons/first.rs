//! The checks of the stages of chapter 1, and of the domain name of 2.1.

use std::fs;

use crate::Entry;
use crate::outcome::Outcome;
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("fifty", "the_hostname_is_maverick", hostname, ""),
    ("fifty", "the_child_is_pid_1_and_the_command_pid_2", pids, ""),
    ("fifty", "proc_shows_only_the_two_processes", processes, ""),
    ("fifty", "root_is_the_root_directory", root, ""),
    ("domainname", "the_requested_domain_name_is_set_inside", domain_name, ""),
];

fn hostname(room: &mut Room) -> Outcome {
    room.run(&["hostname"]).end()?.prints("maverick\n")
}

fn domain_name(room: &mut Room) -> Outcome {
    let file = "/proc/sys/kernel/domainname";
    let words = ["run", "--domainname", "example.org", "cat", file];
    room.words(&words).end()?.prints("example.org\n")
}

fn pids(room: &mut Room) -> Outcome {
    room.sh("echo $PPID $$").end()?.prints("1 2\n")
}

fn processes(room: &mut Room) -> Outcome {
    room.sh("echo /proc/[0-9]*").end()?.prints("/proc/1 /proc/2\n")
}

fn root(room: &mut Room) -> Outcome {
    let host = room.path("only-on-the-host");
    fs::write(&host, "").expect("write(2)");
    let environment = &mut room.subject.adapter.environment;
    environment.insert("ROOT".to_owned(), "{image}".to_owned());
    let script =
        format!("pwd; test -e {} && echo 'a file of the host'", host.display());
    let ended = room.sh(&format!("{script}; ls /bin/busybox")).end()?;
    ended.prints("/\n/bin/busybox\n")
}
